"""Hilbert's curve on rectangles: sites that are near in the order are near on the grid."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from arjax.factorization.orderings import ORDERINGS, Grid


@ORDERINGS.register("hilbert")
def hilbert(grid_shape: Grid) -> np.ndarray:
    """A space-filling curve on the last two axes, from the first corner; leading axes in raster order.

    On a square with a side of 2^n it is Hilbert's (1891). On other rectangles the pieces are unequal, as in Cerveny's
    generalisation, and one step may be diagonal where the longer side is odd and the shorter even.
    """
    *leading, height, width = (1, *grid_shape) if len(grid_shape) == 1 else grid_shape
    # Points of the plane are complex numbers, column + i row; the walk goes along the longer side.
    sides = (complex(width), height * 1j) if width >= height else (height * 1j, complex(width))
    walk = np.array([int(point.imag) * width + int(point.real) for point in _curve(0j, *sides)])
    return (np.arange(math.prod(leading))[:, None] * height * width + walk).ravel()


def _curve(corner: complex, along: complex, across: complex) -> Iterator[complex]:
    """The sites of a rectangle, from a corner to the other end of the side `along`."""
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
    """An even part of a side, so that the walk through it ends on the right side; 1 where there is no other."""
    return half + half % 2 if whole > 2 else half
