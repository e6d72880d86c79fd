"""Diagrams of the dependencies of sites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from arjax.factorization import Factorization
from arjax.reporting.figures import FIRST_STEP, arrow, new_figure, row_of_axes

#: Most sites of a graph, since edges would hide one another; largest grid with numbers in its cells.
MOST_NODES, MOST_NUMBERS = 12, 16
COLOURS = "viridis"


def factorization_figure(
    factorization: Factorization, dependencies_DD: np.ndarray | None = None, names: Sequence[str] = ()
) -> Any:
    """Draws the sites coloured by their step, and the dependencies: as a graph of few sites, as a matrix of many. Axes
    of the grid before the last two are drawn below one another. `dependencies_DD` bool[D, D] is true at [i, j] iff site
    i depends on site j, by default all that the factorization allows; `names` of the sites default to their numbers.
    """
    step_D = np.asarray(factorization.step)
    reads_DD = np.asarray(factorization.mask() if dependencies_DD is None else dependencies_DD)
    names = list(names) or [str(site) for site in range(len(step_D))]
    few = len(step_D) <= MOST_NODES
    width = factorization.grid_shape[-1]
    rows = len(step_D) // width
    figure = new_figure(7.2, 3.4)
    left, right = row_of_axes(figure, 2, widths=(1.15, 1))
    if few:
        _draw_graph(left, step_D, reads_DD, names)
    else:
        _draw_grid(left, np.asarray(factorization.order), step_D.reshape(rows, width))
    order = np.asarray(factorization.order)
    right.imshow(reads_DD[np.ix_(order, order)], cmap="Blues", vmin=0, vmax=1.4, interpolation="nearest")
    right.set_title("a row depends on its blue columns", fontsize=10)
    for ticks, labels in ((right.set_xticks, right.set_xticklabels), (right.set_yticks, right.set_yticklabels)):
        ticks(range(len(order)) if few else [])
        labels([names[site] for site in order] if few else [])
    return figure


def _draw_graph(axis: Any, step_D: np.ndarray, reads_DD: np.ndarray, names: Sequence[str]) -> None:
    """Sites from left to right by the longest path that ends there, with an arrow from each site that is read."""
    depth, height = np.zeros(len(step_D), int), np.zeros(len(step_D))
    for site in np.argsort(step_D, kind="stable"):
        depth[site] = max(depth[reads_DD[site]] + 1, default=0)
    for column in np.unique(depth):
        members = np.flatnonzero(depth == column)
        height[members] = (len(members) - 1) / 2 - np.arange(len(members))
    for site, read in np.argwhere(reads_DD):
        ends = (depth[read], height[read]), (depth[site], height[site])
        bend = -0.28 if depth[site] - depth[read] > 1 else 0
        arrow(axis, *ends, "#777777", shrinkA=15, shrinkB=15, connectionstyle=f"arc3,rad={bend}")
    axis.scatter(depth, height, s=720, c=step_D, cmap=COLOURS, zorder=2, edgecolors="white")
    for site, name in enumerate(names):
        look = {"color": _on_colour(step_D[site], step_D.max()), "fontsize": 13}
        axis.text(depth[site], height[site], name, ha="center", va="center", zorder=3, **look)
    reach = max(np.abs(height).max(), 0.35 * depth.max())
    axis.set_xlim(-0.5, depth.max() + 0.5)
    axis.set_ylim(-reach - 0.6, reach + 0.6)
    axis.set_title("arrows point to the dependent site", fontsize=10)
    axis.axis("off")


def _draw_grid(axis: Any, order: np.ndarray, step_HW: np.ndarray) -> None:
    """The grid coloured by step, with the numbers of the steps, and the path through the sites."""
    height, width = step_HW.shape
    image = axis.imshow(step_HW, cmap=COLOURS, interpolation="nearest")
    row, column = np.divmod(order, width)
    axis.plot(column, row, "-", color="white", linewidth=0.8, alpha=0.5)
    if max(height, width) <= MOST_NUMBERS:
        for (r, c), step in np.ndenumerate(step_HW):
            look = {"color": _on_colour(step, step_HW.max()), "fontsize": 8}
            # A box, so that the path does not cross the number.
            box = {"facecolor": image.to_rgba(step), "edgecolor": "none", "pad": 1.5}
            axis.text(c, r, str(step + FIRST_STEP), ha="center", va="center", bbox=box, **look)
    axis.set_title("step of each site, and the walk", fontsize=10)
    axis.set_xticks([])
    axis.set_yticks([])


def _on_colour(step: int, last: int) -> str:
    """The colour of text that is legible on the colour of a step: the first steps are dark."""
    return "black" if step > last / 2 else "white"
