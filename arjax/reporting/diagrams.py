"""Diagrams of dependencies: the sites of a factorization, and the steps of a chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from arjax.factorization import Factorization
from arjax.reporting.figures import ACCENT, FIRST_STEP, INK, SOFT, arrow, new_figure, row_of_axes

#: Most sites of a graph, since edges would hide one another; largest grid with numbers in its cells.
MOST_NODES, MOST_NUMBERS = 12, 16
COLOURS = "viridis"
#: The largest chain, and number of blocks, of which all are drawn; otherwise the first and the last ones.
MOST_STEPS, MOST_BLOCKS = 4, 3


def factorization_figure(
    factorization: Factorization, dependencies_DD: np.ndarray | None = None, names: Sequence[str] = ()
) -> Any:
    """Draws the sites coloured by their step, and the dependencies: as a graph of few sites, as a matrix of many. Axes
    of the grid before the last two are drawn below one another. `dependencies_DD` bool[D, D] is true at [i, j] iff site
    i reads site j, by default all that the factorization allows; `names` of the sites are by default their numbers.
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
    right.set_title("dependency matrix: row reads column", fontsize=10)
    for ticks, labels in ((right.set_xticks, right.set_xticklabels), (right.set_yticks, right.set_yticklabels)):
        ticks(range(len(order)) if few else [])
        labels([names[site] for site in order] if few else [])
    return figure


def _draw_graph(axis: Any, step_D: np.ndarray, reads_DD: np.ndarray, names: Sequence[str]) -> None:
    """Sites from left to right by step, those of one step below one another, an edge from each site that is read."""
    import matplotlib

    colours = matplotlib.colormaps[COLOURS](0.25 + 0.65 * step_D / max(step_D.max(), 1))
    height = np.zeros(len(step_D))
    for step in np.unique(step_D):
        members = np.flatnonzero(step_D == step)
        height[members] = (len(members) - 1) / 2 - np.arange(len(members))
    for site, read in np.argwhere(reads_DD):
        ends = (step_D[read], height[read]), (step_D[site], height[site])
        bend = -0.28 if step_D[site] - step_D[read] > 1 else 0
        arrow(axis, *ends, "#777777", shrinkA=13, shrinkB=13, connectionstyle=f"arc3,rad={bend}")
    axis.scatter(step_D, height, s=560, c=colours, zorder=2, edgecolors="white")
    for site, name in enumerate(names):
        axis.text(step_D[site], height[site], name, ha="center", va="center", color="white", zorder=3, fontsize=11)
    reach = max(np.abs(height).max(), 0.35 * step_D.max())
    axis.set_xlim(-0.5, step_D.max() + 0.5)
    axis.set_ylim(-reach - 0.6, reach + 0.6)
    axis.set_title("an arrow from each site that is read", fontsize=10)
    axis.axis("off")


def _draw_grid(axis: Any, order: np.ndarray, step_HW: np.ndarray) -> None:
    """The grid coloured by step, with the numbers of the steps, and the path through the sites."""
    height, width = step_HW.shape
    axis.imshow(step_HW, cmap=COLOURS, interpolation="nearest")
    row, column = np.divmod(order, width)
    axis.plot(column, row, "-", color="white", linewidth=0.8, alpha=0.5)
    axis.plot(column[0], row[0], "o", color="white", markersize=4)
    if max(height, width) <= MOST_NUMBERS:
        for (r, c), step in np.ndenumerate(step_HW):
            axis.text(c, r, str(step + FIRST_STEP), ha="center", va="center", color="white", fontsize=7)
    axis.set_title("step of each site, and the walk", fontsize=10)
    axis.set_xticks([])
    axis.set_yticks([])


def chain_figure(num_steps: int, num_blocks: int = 1) -> Any:
    """Draws the graph x_T -> ... -> x_1 -> x_0 of a chain, with the fixed forward process dashed; with blocks a row for
    each, every step of which also reads the clean blocks above.
    """
    steps = _shown(num_steps, MOST_STEPS)
    rows = _shown(num_blocks - 1, MOST_BLOCKS - 1)[::-1]
    figure = new_figure(7.2, 1.7 + 1.35 * (len(rows) - 1))
    (axis,) = row_of_axes(figure, 1)
    for y, row in enumerate(rows):
        block = "" if num_blocks == 1 or row is None else str(row + 1)
        if row is None:
            axis.text((len(steps) - 1) / 2, -y, "...", ha="center", va="center", rotation=90, color=SOFT, fontsize=14)
            continue
        _draw_chain(axis, steps, num_steps, -y, block)
        for above in (above for above, other in enumerate(rows[:y]) if other is not None):
            for x in range(1, len(steps)):
                if steps[x] is not None:
                    arrow(axis, (len(steps) - 1, -above), (x, -y), ACCENT, alpha=0.45, linewidth=0.9)
    axis.set_xlim(-0.5, len(steps) - 0.5)
    axis.set_ylim(0.55 - len(rows), 0.5)
    of_blocks = "; every step reads the clean blocks above" if num_blocks > 1 else ""
    axis.set_title(f"learned reverse steps (solid), fixed forward steps (dashed){of_blocks}", fontsize=10)
    axis.axis("off")
    return figure


def _shown(last: int, most: int) -> list[int | None]:
    """Returns last, ..., 0, or if these are too many the two at each end with None between them."""
    if last <= most:
        return list(range(last, -1, -1))
    return [last, last - 1, None, 1, 0] if most > 2 else [last, None, 0]


def _draw_chain(axis: Any, steps: list[int | None], num_steps: int, y: float, block: str) -> None:
    import matplotlib

    for x in range(len(steps) - 1):
        arrow(axis, (x, y), (x + 1, y), "#555555", connectionstyle="arc3,rad=-0.2")
        arrow(axis, (x + 1, y), (x, y), SOFT, connectionstyle="arc3,rad=-0.2", linestyle="--")
    upper = f"^{{({block})}}" if block else ""
    for x, step in enumerate(steps):
        if step is None:
            axis.text(x, y, "...", ha="center", va="center", color=SOFT, fontsize=14)
            continue
        colour = INK if step == 0 else matplotlib.colormaps["Blues"](0.75 - 0.45 * step / num_steps)
        axis.scatter([x], [y], s=760, color=[colour], zorder=2, edgecolors="white")
        below = "T" if step == num_steps > 1 else "T-1" if step == num_steps - 1 > 1 else str(step)
        ink = "white" if step < 0.6 * num_steps else INK
        axis.text(x, y, f"$x_{{{below}}}{upper}$", ha="center", va="center", color=ink, zorder=3, fontsize=9)
