"""Partitions: how an ordering is cut into blocks, each generated in one step. Each returns the S block sizes."""

from __future__ import annotations

import numpy as np

from arjax.core.errors import UserError
from arjax.core.options import opt
from arjax.core.registry import Registry
from arjax.factorization.orderings import Grid, multiscale, sets_of_scales

PARTITIONS = Registry("partition", hidden=("order", "grid_shape"))


@PARTITIONS.register("sites")
def sites(order: np.ndarray, grid_shape: Grid) -> list[int]:
    """One site per step: the finest partition, an exact product of one-site conditionals."""
    return [1] * len(order)


@PARTITIONS.register("whole")
def whole(order: np.ndarray, grid_shape: Grid) -> list[int]:
    """All sites in one step: for networks that read no site, such as the decoder of an autoencoder."""
    return [len(order)]


@PARTITIONS.register("rows")
def rows(order: np.ndarray, grid_shape: Grid) -> list[int]:
    """One row (all sites along the last axis) per step; needs an ordering that finishes a row before the next."""
    width = grid_shape[-1]
    row_of_site = order.reshape(-1, width) // width
    if (row_of_site != row_of_site[:, :1]).any():
        raise UserError(
            "the partition 'rows' needs an ordering that goes row by row, such as raster, reversed or snake"
        )
    return [width] * (len(order) // width)


@PARTITIONS.register("scales")
def by_scale(
    order: np.ndarray,
    grid_shape: Grid,
    factor: int = opt(2, least=2),
    levels: int = 1,
    interleave: int = 1,
    by_site: int = 0,
) -> list[int]:
    """One scale per step, from coarse to fine, or one set of a scale per step with `interleave` above 1 (Reed et al.,
    "Parallel Multiscale Autoregressive Density Estimation", 2017). The `by_site` coarsest scales are drawn site by
    site. Needs the ordering `multiscale` of the same factor, levels and interleave, of which `subscale(factor=f)` is
    the case levels=1 and interleave=f.
    """
    if not np.array_equal(order, multiscale(grid_shape, factor, levels, interleave)):
        more = f", interleave={interleave}" if interleave != 1 else ""
        raise UserError(
            f"the partition 'scales' needs model.ordering=multiscale(factor={factor}, levels={levels}{more})"
        )
    if by_site > levels + 1:
        raise UserError(f"by_site of the partition 'scales' must be from 0 to {levels + 1}, not {by_site}")
    scale_D, set_D = (each[order] for each in sets_of_scales(grid_shape, factor, levels, interleave))
    starts = (np.diff(scale_D) != 0) | (np.diff(set_D) != 0) | (scale_D[1:] > levels - by_site)
    bounds = np.concatenate([[0], np.flatnonzero(starts) + 1, [len(order)]])
    return np.diff(bounds).tolist()


@PARTITIONS.register("blocks")
def blocks(order: np.ndarray, grid_shape: Grid, size: int) -> list[int]:
    """Consecutive blocks of `size` sites; the size must divide the number of sites."""
    if len(order) % size:
        raise UserError(
            f"blocks of {size} do not divide {len(order)} sites; give unequal blocks with sizes(sizes=(...))"
        )
    return [size] * (len(order) // size)


@PARTITIONS.register("sizes")
def explicit(order: np.ndarray, grid_shape: Grid, sizes: tuple[int, ...]) -> list[int]:
    """Consecutive blocks of the given sizes, which must add up to the number of sites."""
    return list(sizes)
