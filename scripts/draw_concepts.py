"""Draws the picture of docs/concepts.md: an image of 3 x 3 sites, an order, two blocks, and the dependencies.

python scripts/draw_concepts.py docs/images/concepts.png
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np

from arjax.factorization import make_factorization
from arjax.reporting.figures import ACCENT, FIRST_STEP, new_figure, row_of_axes, save_figure

#: The example of the page: nine binary pixels, visited along a spiral; the first three in one step, then the rest.
IMAGE = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
ORDERING, SIZES = "spiral", (3, 6)
COLOURS = ("#c6dbef", "#fdd0a2")


def _grid(axis: Any, title: str, colours_HW: np.ndarray, texts_HW: np.ndarray) -> None:
    """Nine coloured cells with a text in each."""
    for (row, column), colour in np.ndenumerate(colours_HW):
        axis.add_patch(_square(row, column, colour))
        dark = colour == "#333333"
        axis.text(column, row, texts_HW[row, column], ha="center", va="center", color="white" if dark else "black")
    axis.set_xlim(-0.6, 2.6)
    axis.set_ylim(2.6, -0.6)
    axis.set_aspect("equal")
    axis.set_title(title, fontsize=10)
    axis.axis("off")


def _square(row: int, column: int, colour: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, edgecolor="#777777")


def _walk(axis: Any, order_D: np.ndarray) -> None:
    """An arrow from each site to the one that is visited next."""
    place = [(site % 3, site // 3) for site in order_D]
    for here, there in itertools.pairwise(place):
        style = {"arrowstyle": "-|>", "color": ACCENT, "shrinkA": 9, "shrinkB": 9}
        axis.annotate("", there, here, arrowprops=style)


def _matrix(axis: Any, order_D: np.ndarray, mask_DD: np.ndarray, step_D: np.ndarray) -> None:
    """Rows depend on columns; both in the order of the visits."""
    axis.imshow(mask_DD[np.ix_(order_D, order_D)], cmap="Greys", vmin=0, vmax=2, interpolation="nearest")
    cut = int((step_D == 0).sum()) - 0.5
    axis.axhline(cut, color=ACCENT, linewidth=1)
    axis.axvline(cut, color=ACCENT, linewidth=1)
    for set_ticks in (axis.set_xticks, axis.set_yticks):
        set_ticks(range(len(order_D)), [str(site) for site in order_D], fontsize=9)
    axis.set_title("a row depends\non its grey columns", fontsize=10)


def main(path: str) -> None:
    """Draws the four panels."""
    one_by_one = make_factorization((3, 3), ORDERING)
    in_blocks = make_factorization((3, 3), ORDERING, f"sizes(sizes={SIZES})")
    order_D = np.asarray(one_by_one.order)
    sites = np.arange(9).reshape(3, 3)
    step_HW = np.asarray(in_blocks.step).reshape(3, 3)
    figure = new_figure(10.5, 2.9)
    values, order, blocks, matrix = row_of_axes(figure, 4)
    shades = np.where(IMAGE == 1, "#333333", "#ffffff")
    _grid(values, "9 sites and their values:\nsite number, black = 1", shades, sites.astype(str))
    _grid(order, "an order: the spiral,\nrank of each site", np.full((3, 3), "#eeeeee"), _visits(one_by_one))
    _walk(order, order_D)
    names = np.char.add("step ", (step_HW + FIRST_STEP).astype(str))
    _grid(blocks, "a partition: two blocks,\neach generated in one step", np.array(COLOURS)[step_HW], names)
    _matrix(matrix, order_D, np.asarray(in_blocks.mask()), np.asarray(in_blocks.step))
    save_figure(figure, path)


def _visits(factorization: Any) -> np.ndarray:
    return np.asarray(factorization.rank).reshape(3, 3).astype(str)


if __name__ == "__main__":
    main(sys.argv[1])
