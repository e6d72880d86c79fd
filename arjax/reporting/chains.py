"""Pictures of chains: examples on their way from noise to data, and the graph of the dependencies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from arjax.reporting.figures import ACCENT, INK, SOFT, arrow, new_figure, row_of_axes
from arjax.reporting.plots import tile_images

#: Colour of masked sites: no grey, so that it is no value.
MASK_RGB = (0.96, 0.78, 0.62)
#: A masked character of a text, and a line break in one.
MASK_CHARACTER, LINE_BREAK = "░", "↵"
#: Steps of a chain, and blocks, that are all drawn; of more, the first and the last ones.
MOST_STEPS, MOST_BLOCKS = 4, 3


def path_figure(
    frames: np.ndarray, labels: Sequence[str], masked: np.ndarray | None = None, max_value: float | None = None
) -> Any:
    """Examples along the reverse process, one in each row, from noise on the left to data on the right.

    Args:
      frames: [N, F, H, W] gray or [N, F, H, W, 3] colour.
      labels: F words, above the columns.
      masked: bool[N, F, H, W], the sites that are masked, drawn in a colour of their own; None: there are none.
      max_value: the value drawn as white; by default the largest one of the last frames.
    """
    columns = frames.shape[1]
    top = float(frames[:, -1].max()) if max_value is None else max_value
    images = np.clip(frames.reshape(-1, *frames.shape[2:]) / max(top, 1e-12), 0, 1)
    if images.ndim == 3:
        images = np.repeat(images[..., None], 3, -1)
    if masked is not None:
        images = np.where(masked.reshape(images.shape[:-1])[..., None], MASK_RGB, images)
    sheet = tile_images(images, columns)
    inches = 7.2
    figure = new_figure(inches, inches * sheet.shape[0] / sheet.shape[1] + 0.55)
    (axis,) = row_of_axes(figure, 1)
    axis.imshow(sheet, interpolation="nearest")
    width = (sheet.shape[1] + 1) / columns
    axis.set_xticks([(n + 0.5) * width - 0.5 for n in range(columns)], labels, fontsize=8)
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.set_yticks([])
    of_masks = "" if masked is None else "; masked sites in orange"
    axis.set_xlabel(f"from noise to data, by the rounds that are done{of_masks}", fontsize=10)
    for side in axis.spines.values():
        side.set_visible(False)
    return figure


def path_text(paths: Sequence[Sequence[str]], labels: Sequence[str]) -> str:
    """Texts along the reverse process: a paragraph for each example, a line for each frame; masks are visible."""
    width = max(map(len, labels))
    shown = [[frame.replace("\n", LINE_BREAK) for frame in path] for path in paths]
    lines = [[f"{label:>{width}}  {frame}\n" for label, frame in zip(labels, path, strict=True)] for path in shown]
    return "\n".join("".join(paragraph) for paragraph in lines)


def chain_figure(num_steps: int, num_blocks: int = 1) -> Any:
    """The dependency graph x_T -> ... -> x_1 -> x_0 of a chain, with the fixed forward process dashed.

    With blocks it has a row for each, every step of which also reads the clean blocks above.
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
    """last, ..., 0, or where these are too many the two at each end with None between them."""
    if last <= most:
        return list(range(last, -1, -1))
    return [last, last - 1, None, 1, 0] if most > 2 else [last, None, 0]


def _draw_chain(axis: Any, steps: list[int | None], num_steps: int, y: float, block: str) -> None:
    """One row of nodes with its arrows in both directions."""
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
