"""Orderings made of other orderings, by call string: `reversed(of='spiral')`, `channel_last(of='hilbert')`."""

from __future__ import annotations

import math

import numpy as np

from arjax.core.errors import UserError
from arjax.core.integers import flat_integers, is_integer
from arjax.factorization.orderings import ORDERINGS, Grid, make_order


def inner(of: str, grid_shape: Grid, data: np.ndarray | None) -> np.ndarray:
    """The ordering that an option `of` names, int64[D]."""
    if not isinstance(of, str):
        raise UserError(f"the option 'of' names an ordering in quotes, such as of='snake', not {of!r}")
    return make_order(of, grid_shape, data)


@ORDERINGS.register("reversed")
def reverse(grid_shape: Grid, data: np.ndarray | None = None, of: str = "raster") -> np.ndarray:
    """Another order read backwards, from the last site to the first."""
    return inner(of, grid_shape, data)[::-1].copy()


@ORDERINGS.register("symmetry")
def symmetry(
    grid_shape: Grid,
    data: np.ndarray | None = None,
    of: str = "raster",
    axes: tuple[int, ...] = (),
    flip: tuple[int, ...] = (),
) -> np.ndarray:
    """Another order on the grid flipped and transposed: with raster order on a plane, the 8 rasters of its symmetries.

    Args:
      grid_shape: shape of the grid.
      data: training examples, for `of`.
      of: the order, on a grid with the axes `axes` of this one.
      axes: a permutation of the axes; () leaves them as they are.
      flip: axes of this grid along which sites are counted from the end.
    """
    rank = len(grid_shape)
    axes_R = np.arange(rank) if axes == () else flat_integers(axes)
    if axes_R is None or sorted(axes_R) != list(range(rank)):
        raise UserError(f"the axes of a symmetry must be a permutation of {tuple(range(rank))}, not {axes!r}")
    flip_F = np.zeros(0, int) if flip == () else flat_integers(flip)
    if flip_F is None or len(set(flip_F)) < len(flip_F) or not set(flip_F) <= set(range(rank)):
        raise UserError(f"flip of a symmetry must name axes of the grid, 0 to {rank - 1}, once each, not {flip!r}")
    sites = np.flip(np.arange(math.prod(grid_shape)).reshape(grid_shape), tuple(flip_F)).transpose(axes_R)
    return sites.ravel()[inner(of, sites.shape, None if data is None else data[:, sites.ravel()])]


@ORDERINGS.register("shuffled_within")
def shuffled_within(
    grid_shape: Grid, data: np.ndarray | None = None, of: str = "raster", size: int = 5, seed: int = 0
) -> np.ndarray:
    """Another order in which every `size` sites in a row come in a random sequence: letters within a word's length.

    Neighbours stay close: the comparison with `of` shows the local part of the effect of an order.
    """
    for name, value, least in (("size", size, 1), ("seed", seed, 0)):
        if not is_integer(value) or value < least:
            raise UserError(f"the {name} of shuffled_within must be a whole number, at least {least}, not {value!r}")
    order_D, rng = inner(of, grid_shape, data), np.random.default_rng(seed)
    return np.concatenate([rng.permutation(order_D[i : i + size]) for i in range(0, len(order_D), size)])


@ORDERINGS.register("channel_first")
def channel_first(grid_shape: Grid, data: np.ndarray | None = None, of: str = "raster") -> np.ndarray:
    """One index of the last axis after another (all of red, then green, ...), each in an order `of` the other axes."""
    *outer, channels = _with_channels("channel_first", grid_shape)
    return (np.arange(channels)[:, None] + channels * inner(of, tuple(outer), _over_channels(data, channels))).ravel()


@ORDERINGS.register("channel_last")
def channel_last(grid_shape: Grid, data: np.ndarray | None = None, of: str = "raster") -> np.ndarray:
    """Pixel by pixel in an order `of` all axes but the last, along which each pixel is finished before the next."""
    *outer, channels = _with_channels("channel_last", grid_shape)
    return (channels * inner(of, tuple(outer), _over_channels(data, channels))[:, None] + np.arange(channels)).ravel()


def _over_channels(data: np.ndarray | None, channels: int) -> np.ndarray | None:
    """The mean over the channels of each pixel, [N, D] -> [N, D / channels]."""
    return None if data is None else data.reshape(len(data), -1, channels, *data.shape[2:]).mean(2)


def _with_channels(name: str, grid_shape: Grid) -> Grid:
    if len(grid_shape) < 2:
        raise UserError(f"the ordering {name!r} needs a grid of at least two axes, the last of them the channels")
    return grid_shape
