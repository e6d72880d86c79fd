"""Densities of the plane as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from arjax.core.errors import UserError
from arjax.reporting.figures import new_figure


def density_figure(
    rows: Sequence[Sequence[tuple[str, np.ndarray]]], extents: Sequence[tuple[float, float, float, float]]
) -> Any:
    """Densities on grids of the plane, those of one row in the same colours: dark is high, 0 is white. Raises
    `UserError`: rows without panels or of different lengths, or an extent too few or too many.

    Args:
      rows: of each row its panels, (title, density [H, W]): the first axis of an array is that of the second
        coordinate, upwards.
      extents: of each row the ends of the grid, (left, right, bottom, top).
    """
    lengths = {len(row) for row in rows}
    if not rows or len(lengths) > 1 or 0 in lengths or len(extents) != len(rows):
        raise UserError("densities are drawn in rows of equally many panels, with an extent for each row")
    figure = new_figure(3.2 * len(rows[0]), 3.2 * len(rows))
    axes = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for of_row, row, extent in zip(axes, rows, extents, strict=True):
        top = max(float(density.max()) for _, density in row)
        for axis, (title, density) in zip(of_row, row, strict=True):
            axis.imshow(density, origin="lower", extent=extent, cmap="Blues", vmin=0, vmax=top, interpolation="nearest")
            axis.set_title(title, fontsize=11, parse_math=False)
            axis.set_xticks([])
            axis.set_yticks([])
    return figure


def plane_grid(extent: tuple[float, float, float, float], num: int) -> np.ndarray:
    """The centres of num x num cells of a part of the plane, float32[num * num, 2], row by row from the bottom."""
    left, right, bottom, top = extent
    part = (np.arange(num) + 0.5) / num
    x, y = np.meshgrid(left + part * (right - left), bottom + part * (top - bottom))
    return np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)
