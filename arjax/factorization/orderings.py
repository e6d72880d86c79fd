"""Orderings: in which order the sites of a grid are visited. Each returns int64[D], the site visited n-th.

Sites are numbered in raster order (the last axis varies fastest), on grids of any rank. An ordering with a parameter
`data` reads the training examples, or hands them to another that does.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from arjax.core.errors import UserError, refuse
from arjax.core.options import flat_integers, opt, seed_option
from arjax.core.registry import Registry
from arjax.core.values import parse_call
from arjax.factorization.factorization import Factorization, check_permutation

ORDERINGS = Registry("ordering", hidden=("grid_shape", "data"))

Grid = tuple[int, ...]


def make_order(text: str, grid_shape: Grid, data: np.ndarray | None = None) -> np.ndarray:
    """The order of a call string such as `random(seed=3)`, int64[D]; `data` are examples [N, D] or [N, D, value]."""
    ordering = ORDERINGS.read(text)
    takes_data = "data" in _parameters(ordering.name)
    lacks_data = takes_data and data is None and needs_data(text)
    refuse(
        (lacks_data, f"the ordering {ordering.name!r} is read off the training data, and there is none: give `data`")
    )
    order = ordering.build(grid_shape, data) if takes_data else ordering.build(grid_shape)
    return check_permutation(order, math.prod(grid_shape))


def needs_data(text: str) -> bool:
    """Returns whether an ordering, or one that it is made of, is read off the training examples."""
    name, options = parse_call(text)
    parameters = _parameters(name)
    if "of" in parameters:
        of = options.get("of", parameters["of"].default)
        return isinstance(of, str) and needs_data(of)
    return "data" in parameters


def _parameters(name: str) -> Any:
    return inspect.signature(ORDERINGS.get(name)).parameters


def order_name(factorization: Factorization) -> str:
    """`snake order`, `hilbert order, 4 steps`: by the first ordering that gives it at its defaults, else its sites."""
    if isinstance(factorization.order, jax.core.Tracer):
        return "a traced order"
    order_D = np.asarray(factorization.order)
    name = "(" + ", ".join(map(str, order_D[:5])) + (", ...)" if len(order_D) > 5 else ")")
    options = {name: ORDERINGS.options(name) for name in ORDERINGS if not needs_data(name)}
    usual = [name for name, defaults in options.items() if inspect.Parameter.empty not in defaults.values()]
    for known in sorted(usual, key=lambda name: name != "raster"):  # raster first
        try:
            candidate = make_order(known, factorization.grid_shape)
        except Exception:  # an ordering for grids of another kind, perhaps one of a user, which fails in its own way
            continue
        if np.array_equal(candidate, order_D):
            name = f"{known}(seed={options[known]['seed']})" if "seed" in options[known] else known
            break
    steps = f", {factorization.num_steps} steps" if factorization.block_size > 1 else ""
    graph = "" if factorization.parents is None else ", a dependency graph"
    return f"{name} order{steps}{graph}"


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
def spiral(grid_shape: Grid) -> np.ndarray:
    """Clockwise around the last two axes from the outside in; `reversed(of='spiral')` goes from the centre out. Leading
    axes are visited in raster order. On a line it alternates between the two ends.
    """
    *leading, height, width = (1, *grid_shape) if len(grid_shape) == 1 else grid_shape
    left, parts = np.arange(height * width).reshape(height, width), []
    if len(grid_shape) == 1:
        parts = [np.stack([left[0], left[0, ::-1]], 1).ravel()[:width]]
    else:
        while left.size:  # the top row, then the rest turned by a quarter
            parts.append(left[0])
            left = np.rot90(left[1:])
    walk = np.concatenate(parts)
    offsets = np.arange(math.prod(leading)) * height * width
    return (offsets[:, None] + walk).ravel()


@ORDERINGS.register("tiles")
def tiles(grid_shape: Grid, height: int = 4, width: int = 4) -> np.ndarray:
    """Rectangles of `height` x `width` in raster order, raster order within each (Parmar et al., "Image Transformer",
    2018, section 3.3), on the last two axes; tiles at the far edges may be smaller.
    """
    *leading, row, column = np.unravel_index(raster(grid_shape), (1, *grid_shape))
    keys = (*leading, row // height, column // width, row % height, column % width)
    return np.lexsort(keys[::-1])


@ORDERINGS.register("multiscale")
def multiscale(grid_shape: Grid, factor: int = opt(2, least=2), levels: int = 1, interleave: int = 1) -> np.ndarray:
    """From coarse to fine: first the sites with all coordinates multiples of factor^levels, then multiples of
    factor^(levels-1), and so on to all sites; raster order within a scale.

    With `interleave` above 1, a scale but the coarsest comes set by set: the sites whose coordinates, counted in sites
    of the scale, have the same remainders by `interleave` are a set (Reed et al., "Parallel Multiscale Autoregressive
    Density Estimation", 2017, section 3.1, with 2). The partition `scales` draws each set in one step.
    """
    scale_D, set_D = sets_of_scales(grid_shape, factor, levels, interleave)
    return np.lexsort((set_D, -scale_D))


@ORDERINGS.register("subscale")
def subscale(grid_shape: Grid, factor: int = opt(2, least=2)) -> np.ndarray:
    """Interleaved slices of sites whose coordinates have the same remainders by `factor`, one after another, in raster
    order (Menick & Kalchbrenner, "Generating High Fidelity Images with Subscale Pixel Networks", 2019, section 3.1).
    """
    coordinates = np.unravel_index(raster(grid_shape), grid_shape)
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


def sets_of_scales(grid_shape: Grid, factor: int, levels: int, interleave: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each site the scale, as `scales`, and the number of its set there, int[D] each; the coarsest is one set."""
    scale_D, most = scales(grid_shape, factor, levels), max(grid_shape)  # larger options make no difference
    spacing_D = np.array([min(factor**level, most) for level in range(levels + 1)])[scale_D]
    interleave = min(interleave, most)
    set_D = np.zeros(len(scale_D), np.int64)
    for coordinate_D in np.indices(grid_shape).reshape(len(grid_shape), -1):
        set_D = set_D * interleave + coordinate_D // spacing_D % interleave
    return scale_D, np.where(scale_D == levels, 0, set_D)


@ORDERINGS.register("random")
def random(grid_shape: Grid, seed: int = seed_option()) -> np.ndarray:
    """A uniformly random permutation, a pure function of the seed."""
    return np.random.default_rng(seed).permutation(math.prod(grid_shape))


@ORDERINGS.register("list")
def listed(grid_shape: Grid, order: tuple[int, ...]) -> np.ndarray:
    """The given permutation of the sites."""
    return check_permutation(order, math.prod(grid_shape))


@ORDERINGS.register("hilbert")
def hilbert(grid_shape: Grid) -> np.ndarray:
    """A space-filling curve on the last two axes, from the first corner; leading axes in raster order. On a square with
    a side of 2^n it is Hilbert's (1891), elsewhere Cerveny's generalisation, in which one step may be diagonal.
    """
    *leading, height, width = (1, *grid_shape) if len(grid_shape) == 1 else grid_shape
    # Points of the plane are complex numbers, column + i row; the walk goes along the longer side.
    sides = (complex(width), height * 1j) if width >= height else (height * 1j, complex(width))
    walk = np.array([int(point.imag) * width + int(point.real) for point in _curve(0j, *sides)])
    return (np.arange(math.prod(leading))[:, None] * height * width + walk).ravel()


def _curve(corner: complex, along: complex, across: complex) -> Iterator[complex]:
    """Returns the sites of a rectangle, from a corner to the other end of the side `along`."""
    length, depth = round(abs(along)), round(abs(across))
    forward, sideways = along / length, across / depth
    if depth == 1 or length == 1:
        yield from (corner + n * (forward if depth == 1 else sideways) for n in range(max(length, depth)))
        return
    half = _even(length // 2, length) * forward
    if 2 * length > 3 * depth:  # too long: two rectangles in a row
        yield from _curve(corner, half, across)
        yield from _curve(corner + half, along - half, across)
        return
    deep = _even(depth // 2, depth) * sideways
    half = (length // 2) * forward
    yield from _curve(corner, deep, half)
    yield from _curve(corner + deep, along, across - deep)
    yield from _curve(corner + (along - forward) + (deep - sideways), -deep, half - along)


def _even(half: int, whole: int) -> int:
    """Returns an even part of a side, so that the walk through it ends on the right side; 1 where there is no other."""
    return half + half % 2 if whole > 2 else half


@ORDERINGS.register("reversed")
def reverse(grid_shape: Grid, data: np.ndarray | None = None, of: str = "raster") -> np.ndarray:
    """Another order read backwards, from the last site to the first."""
    return make_order(of, grid_shape, data)[::-1].copy()


@ORDERINGS.register("symmetry")
def symmetry(
    grid_shape: Grid,
    data: np.ndarray | None = None,
    of: str = "raster",
    axes: tuple[int, ...] = (),
    flip: tuple[int, ...] = (),
) -> np.ndarray:
    """Another order on the grid flipped and transposed: with raster order on a plane, the 8 rasters of its symmetries.

    `of` is the order, on a grid with the axes `axes` of this one, () for the same; `flip` are axes of this grid along
    which sites are counted from the end.
    """
    rank = len(grid_shape)
    axes_R = np.arange(rank) if axes == () else flat_integers(axes)
    if axes_R is None or sorted(axes_R) != list(range(rank)):
        raise UserError(f"the axes of a symmetry must be a permutation of {tuple(range(rank))}, not {axes!r}")
    flip_F = np.zeros(0, int) if flip == () else flat_integers(flip)
    if flip_F is None or len(set(flip_F)) < len(flip_F) or not set(flip_F) <= set(range(rank)):
        raise UserError(f"flip of a symmetry must name axes of the grid, 0 to {rank - 1}, once each, not {flip!r}")
    sites = np.flip(np.arange(math.prod(grid_shape)).reshape(grid_shape), tuple(flip_F)).transpose(axes_R)
    return sites.ravel()[make_order(of, sites.shape, None if data is None else data[:, sites.ravel()])]


@ORDERINGS.register("shuffled_within")
def shuffled_within(
    grid_shape: Grid, data: np.ndarray | None = None, of: str = "raster", size: int = 5, seed: int = seed_option()
) -> np.ndarray:
    """Another order in which every `size` sites in a row come in a random sequence: letters within a word's length.
    Compared with `of`, it shows the local part of the effect of an order.
    """
    order_D, rng = make_order(of, grid_shape, data), np.random.default_rng(seed)
    return np.concatenate([rng.permutation(order_D[i : i + size]) for i in range(0, len(order_D), size)])
