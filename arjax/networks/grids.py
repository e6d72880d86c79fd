"""The frame that networks on images share: any of the raster-like orders of a two-dimensional grid, as plain raster.

A raster order read from another corner, or column by column on a square grid, is the raster order of a turned picture.
So a network turns the picture, works row by row, left to right, and turns its features back.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from arjax.errors import UserError
from arjax.factorization import Factorization
from arjax.networks.embedding import flat_sites
from arjax.spec import EventSpec


def raster_like_orders(grid_shape: tuple[int, int]) -> list[np.ndarray]:
    """The orders int[D] that are raster on some turned or mirrored picture of the same shape: 4, or 8 on a square."""
    sites_HW = np.arange(grid_shape[0] * grid_shape[1]).reshape(grid_shape)
    pictures = [sites_HW, sites_HW.T] if grid_shape[0] == grid_shape[1] else [sites_HW]
    return [view.ravel() for p in pictures for view in (p, p[::-1], p[:, ::-1], p[::-1, ::-1])]


def check_raster_like(name: str, event: EventSpec, factorization: Factorization) -> None:
    """Raises `UserError` unless the grid is two-dimensional, with one site per step, in a raster-like order."""
    if len(event.grid_shape) != 2:
        raise UserError(f"{name} needs a grid of two dimensions, not {event.grid_shape}")
    if factorization.block_size > 1:
        raise UserError(f"{name} generates one site per step, so it needs model.partition=sites")
    if not any(np.array_equal(factorization.order, order) for order in raster_like_orders(event.grid_shape)):
        turned = "or column_major " if event.grid_shape[0] == event.grid_shape[1] else ""
        raise UserError(f"{name} needs a raster-like order (raster, reversed {turned}or a mirrored one)")


def to_raster(x: jax.Array, event: EventSpec, factorization: Factorization) -> jax.Array:
    """x[B, H, W, *value] -> the turned picture [B, H, W, value_size], in which the order of the sites is raster."""
    turned = jnp.take(flat_sites(x, event), jnp.asarray(factorization.order), axis=1)
    return turned.reshape(x.shape[0], *event.grid_shape, event.value_size)


def from_raster(features_BHWF: jax.Array, factorization: Factorization) -> jax.Array:
    """Features of the turned picture -> float32 features [B, H, W, F] of the picture."""
    flat = features_BHWF.reshape(features_BHWF.shape[0], factorization.num_sites, -1)
    by_site = jnp.take(flat, jnp.asarray(factorization.rank), axis=1)
    return by_site.reshape(-1, *factorization.grid_shape, flat.shape[-1]).astype(jnp.float32)


def turn_dependencies(dependencies_DD: np.ndarray, factorization: Factorization) -> np.ndarray:
    """bool[D, D] between the sites of the turned picture -> between the sites of the picture."""
    rank_D = np.asarray(factorization.rank)
    return dependencies_DD[np.ix_(rank_D, rank_D)]
