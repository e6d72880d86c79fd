"""Orderings: in which order the sites of a grid are visited. Each returns int64[D], the site visited n-th.

Sites are numbered in raster order (the last axis varies fastest), on grids of any rank. An ordering with a parameter
`data` reads the training examples, or hands them to another that does.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np

from arjax.core.errors import UserError
from arjax.core.integers import is_integer
from arjax.core.registry import Registry, parse_call
from arjax.factorization.factorization import check_permutation

ORDERINGS = Registry("ordering", hidden=("grid_shape", "data"))

Grid = tuple[int, ...]


def make_order(text: str, grid_shape: Grid, data: np.ndarray | None = None) -> np.ndarray:
    """The order named by a call string such as `random(seed=3)`, int64[D].

    Args:
      text: the call string.
      grid_shape: shape of the grid with D sites.
      data: training examples [N, D] or [N, D, value], for orderings that are read off them.

    Raises:
      UserError: an unknown name or option, not a permutation, or an order that needs data and gets none.
    """
    name, _ = parse_call(text)
    if "data" not in _parameters(name):
        return check_permutation(ORDERINGS.call(text, grid_shape), math.prod(grid_shape))
    if data is None and needs_data(text):
        raise UserError(f"the ordering {name!r} is read off the training data, and there is none: give `data`")
    return check_permutation(ORDERINGS.call(text, grid_shape, data), math.prod(grid_shape))


def needs_data(text: str) -> bool:
    """Whether an ordering, or that which it is made of, is read off the training examples."""
    name, options = parse_call(text)
    parameters = _parameters(name)
    if "of" in parameters:
        of = options.get("of", parameters["of"].default)
        return isinstance(of, str) and needs_data(of)
    return "data" in parameters


def _parameters(name: str) -> Any:
    return inspect.signature(ORDERINGS.get(name)).parameters


@ORDERINGS.register("raster")
def raster(grid_shape: Grid) -> np.ndarray:
    """Row by row: the last axis varies fastest."""
    return np.arange(math.prod(grid_shape))


@ORDERINGS.register("column_major")
def column_major(grid_shape: Grid) -> np.ndarray:
    """Column by column: the first axis varies fastest."""
    return raster(grid_shape).reshape(grid_shape).T.ravel()


@ORDERINGS.register("snake")
def snake(grid_shape: Grid) -> np.ndarray:
    """Row by row, every other row backwards, so that each site neighbours the one before (a reflected Gray code)."""
    first, *rest = grid_shape
    if not rest:
        return np.arange(first)
    inner = snake(tuple(rest))
    return np.concatenate([i * len(inner) + (inner if i % 2 == 0 else inner[::-1]) for i in range(first)])


@ORDERINGS.register("diagonal")
def diagonal(grid_shape: Grid) -> np.ndarray:
    """By the sum of the coordinates (anti-diagonals from the first corner to the last), raster order within one sum."""
    return np.argsort(np.indices(grid_shape).sum(0).ravel(), kind="stable")


@ORDERINGS.register("spiral")
def spiral(grid_shape: Grid, inward: bool = True) -> np.ndarray:
    """Clockwise around the last two axes from the outside in (`inward=False`: from the centre out).

    Leading axes are visited in raster order, one spiral after another. On a line it alternates between the two ends.
    """
    if not isinstance(inward, bool):
        raise UserError(f"inward of a spiral ordering must be True or False, not {inward!r}")
    *leading, height, width = (1, *grid_shape) if len(grid_shape) == 1 else grid_shape
    plane = np.arange(height * width).reshape(height, width)
    if len(grid_shape) == 1:
        walk = np.stack([plane[0], plane[0, ::-1]], 1).ravel()[:width]
    else:
        walk = _peel(plane)
    walk = walk if inward else walk[::-1]
    offsets = np.arange(math.prod(leading)) * height * width
    return (offsets[:, None] + walk).ravel()


def _peel(plane: np.ndarray) -> np.ndarray:
    """Removes the top row of a plane and rotates the rest by a quarter, until nothing is left."""
    parts = []
    while plane.size:
        parts.append(plane[0])
        plane = np.rot90(plane[1:])
    return np.concatenate(parts)


@ORDERINGS.register("tiles")
def tiles(grid_shape: Grid, height: int = 4, width: int = 4) -> np.ndarray:
    """Rectangles of `height` x `width` in raster order, raster order within each (Parmar et al., "Image Transformer",
    2018, section 3.3); tiles at the far edges may be smaller. On the last two axes; a line is a row.
    """
    if not (is_integer(height) and is_integer(width)) or min(height, width) < 1:
        raise UserError(f"the tiles of an ordering must be whole numbers of at least 1, not {height!r} x {width!r}")
    *leading, row, column = np.unravel_index(raster(grid_shape), (1, *grid_shape))
    keys = (*leading, row // height, column // width, row % height, column % width)
    return np.lexsort(keys[::-1])


@ORDERINGS.register("multiscale")
def multiscale(grid_shape: Grid, factor: int = 2, levels: int = 1) -> np.ndarray:
    """From coarse to fine: first the sites with all coordinates multiples of factor^levels, then multiples of
    factor^(levels-1), and so on to all sites; raster order within a scale.
    """
    for name, value, least in (("factor", factor, 2), ("levels", levels, 1)):
        if not is_integer(value) or value < least:
            raise UserError(
                f"the {name} of a multiscale ordering must be an integer of at least {least}, not {value!r}"
            )
    return np.argsort(-scales(grid_shape, factor, levels), kind="stable")


@ORDERINGS.register("subscale")
def subscale(grid_shape: Grid, factor: int = 2) -> np.ndarray:
    """Interleaved slices, one after another: sites with coordinates of the same remainders by `factor` are a slice,
    a small image of the whole (Menick & Kalchbrenner, "Generating High Fidelity Images with Subscale Pixel
    Networks", 2019, section 3.1). Slices and sites within a slice in raster order.
    """
    if not is_integer(factor) or factor < 2:
        raise UserError(f"the factor of a subscale ordering must be an integer of at least 2, not {factor!r}")
    coordinates = np.unravel_index(raster(grid_shape), grid_shape)
    factor = min(factor, max(grid_shape))  # more makes no difference
    keys = (*(c % factor for c in coordinates), *coordinates)
    return np.lexsort(keys[::-1])


def scales(grid_shape: Grid, factor: int, levels: int) -> np.ndarray:
    """int[D]: of each site the coarsest of the scales 0 (all sites) to `levels` that it belongs to."""
    coordinates = np.indices(grid_shape).reshape(len(grid_shape), -1)
    scale_D = np.zeros(coordinates.shape[1], np.int64)
    for level in range(1, levels + 1):
        spacing = min(factor**level, max(grid_shape))  # more would leave the first site alone too
        scale_D += (coordinates % spacing == 0).all(0)
    return scale_D


@ORDERINGS.register("random")
def random(grid_shape: Grid, seed: int = 0) -> np.ndarray:
    """A uniformly random permutation, a pure function of the seed."""
    if not is_integer(seed) or seed < 0:
        raise UserError(f"the seed of a random ordering must be a non-negative integer, not {seed!r}")
    return np.random.default_rng(seed).permutation(math.prod(grid_shape))


@ORDERINGS.register("list")
def listed(grid_shape: Grid, order: tuple[int, ...]) -> np.ndarray:
    """The given permutation of the sites."""
    return check_permutation(order, math.prod(grid_shape))
