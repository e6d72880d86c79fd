"""Raster-like orders of images as plain raster order. A raster order from another corner, or column by column on a
square grid, is the raster order of a flipped or transposed image: a network works on this image, and maps its features
back. Where each colour channel of a pixel is a site, the grid is (H, W, C) and the channels are generated one by one.
"""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from arjax.core.arrays import Array
from arjax.core.errors import UserError, refuse
from arjax.core.spec import EventSpec
from arjax.factorization import Factorization, make_order
from arjax.networks.base import Context, Network, name_of
from arjax.networks.layers.embedding import flat_sites, pixel_inputs, pixel_size

#: Orderings that are raster-like on some grids.
NAMED = ("raster", "reversed", "column_major")


def raster_like_orders(grid_shape: tuple[int, ...]) -> list[np.ndarray]:
    """Returns the orders int[D] that are raster on some flipped or transposed image of the same shape: 4, or 8 on a
    square. Colour channels, the last of three dimensions, may come in either direction.
    """
    sites = np.arange(np.prod(grid_shape)).reshape(grid_shape)
    images = [sites, np.swapaxes(sites, 0, 1)] if grid_shape[0] == grid_shape[1] else [sites]
    flipped = [view for p in images for view in (p, p[::-1], p[:, ::-1], p[::-1, ::-1])]
    return [view.ravel() for p in flipped for view in ([p] if p.ndim == 2 else [p, p[..., ::-1]])]


def check_image(name: str, factorization: Factorization, *, channels: bool = False) -> None:
    """Raises `UserError` unless a step generates one site on a grid of two dimensions; `channels` allows colour
    channels as a third dimension, which are generated one after the other.
    """
    grid_shape, also = factorization.grid_shape, " (rows and columns, or with colour channels as a third)" * channels
    is_image = len(grid_shape) == 2 or (channels and len(grid_shape) == 3)
    refuse(
        (not is_image, f"{name} needs a grid of two dimensions{also}, not {grid_shape}"),
        (factorization.block_size > 1, f"{name} generates one site per step, so it needs model.partition=sites"),
    )


def check_odd(network: Network, *names: str) -> None:
    """Raises `UserError` unless these options, the sizes of kernels, are odd."""
    for name in names:
        if getattr(network, name) % 2 == 0:
            raise UserError(f"network.{name} must be an odd number, not {getattr(network, name)}")


class RasterNetwork(Network):
    """A network on images in a raster-like order, one site per step."""

    #: Whether colour channels may be sites, as the third axis of a grid.
    CHANNELS: ClassVar[bool] = False

    def check(self, factorization):
        name, grid_shape = name_of(self), factorization.grid_shape
        check_image(name, factorization, channels=self.CHANNELS)
        orders = raster_like_orders(grid_shape)

        def fits(walk: Array) -> bool:
            return any(np.array_equal(walk, order) for order in orders)

        if not fits(factorization.order):
            # column_major takes all of one colour channel before the next, and transposes only square images.
            named = ", ".join(text for text in NAMED if fits(make_order(text, grid_shape)))
            raise UserError(f"{name} needs a raster-like order ({named} or a mirrored one)")

    def _encoded(self, context: Context | None, factorization: Factorization) -> jax.Array | None:
        """The encoded context of the flipped or transposed image."""
        return None if context is None else raster_context(self.context(context), factorization)

    def _of_channel(self, features: jax.Array, t: jax.Array) -> jax.Array:
        """Features [B, C * F] of all channels of a pixel -> float32[B, 1, F] of the channel of step t."""
        channels = num_channels(self.event)
        features_BCF = features.reshape(features.shape[0], channels, self.num_features).astype(jnp.float32)
        return jax.lax.dynamic_slice_in_dim(features_BCF, t % channels, 1, axis=1)


def to_raster(x: jax.Array, event: EventSpec, factorization: Factorization) -> jax.Array:
    """x[B, *grid, *value] -> [B, *grid, value_size], flipped or transposed so that the order of the sites is raster."""
    raster = jnp.take(flat_sites(x, event), jnp.asarray(factorization.order), axis=1)
    return raster.reshape(x.shape[0], *event.grid_shape, event.value_size)


def raster_context(e: jax.Array, factorization: Factorization) -> jax.Array:
    """An encoded context e (see `layers.local_context`) with its pixels flipped or transposed as the image."""
    if e.ndim == 2:
        return e
    channels = factorization.num_sites // (e.shape[1] * e.shape[2])
    order_K = jnp.asarray(factorization.order)[::channels] // channels
    return jnp.take(e.reshape(len(e), -1, e.shape[-1]), order_K, axis=1).reshape(e.shape)


def flip_dependencies(dependencies_DD: np.ndarray, factorization: Factorization) -> np.ndarray:
    """bool[D, D] between the sites of the flipped or transposed image -> between the sites of the image as given."""
    rank_D = np.asarray(factorization.rank)
    return dependencies_DD[np.ix_(rank_D, rank_D)]


def num_channels(event: EventSpec) -> int:
    """C, the number of sites of a pixel: 1 on grids of two dimensions."""
    return event.grid_shape[2] if len(event.grid_shape) == 3 else 1


def image_inputs(x: jax.Array, event: EventSpec, factorization: Factorization, dtype: str) -> jax.Array:
    """The flipped or transposed image as input of a convolution, [B, H, W, C * n]."""
    inputs = pixel_inputs(to_raster(x, event, factorization), event, dtype)
    return inputs.reshape(x.shape[0], *event.grid_shape[:2], -1)


def input_size(event: EventSpec) -> int:
    """C * n, the number of inputs of a pixel."""
    return num_channels(event) * pixel_size(event)


def previous_inputs(
    canvas: jax.Array, t: jax.Array, event: EventSpec, factorization: Factorization, dtype: DTypeLike
) -> jax.Array:
    """The value of the site before step t as inputs, [B, n]; zeros at step 0."""
    site = jnp.asarray(factorization.order)[jnp.maximum(t - 1, 0)]
    value_Bv = jnp.take(flat_sites(canvas, event), site, axis=1)
    return jnp.where(t > 0, pixel_inputs(value_Bv, event, dtype), 0)


def put_previous(
    plane_BHWC: jax.Array, canvas: jax.Array, t: jax.Array, event: EventSpec, factorization: Factorization
) -> jax.Array:
    """Adds the value of the site before step t to the inputs of the flipped or transposed image; nothing at step 0. A
    plane of one row is the row of that site.
    """
    inputs_Bn = previous_inputs(canvas, t, event, factorization, plane_BHWC.dtype)
    place, channel = jnp.divmod(jnp.maximum(t - 1, 0), num_channels(event))
    r, c = jnp.divmod(place, event.grid_shape[1])
    r = jnp.minimum(r, plane_BHWC.shape[1] - 1)
    return jax.lax.dynamic_update_slice(plane_BHWC, inputs_Bn[:, None, None], (0, r, c, channel * inputs_Bn.shape[-1]))
