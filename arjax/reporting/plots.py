"""Plots of a run. Matplotlib is optional and imported when the first plot is drawn."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from arjax.core.errors import refuse
from arjax.core.files import replacing
from arjax.evaluation.exposure import Z
from arjax.reporting import figures

MAX_IMAGES = 64
#: The colour of hidden sites.
_VEIL = (0.55, 0.70, 0.85)
#: Colour of masked sites: no grey, so that it is no value.
MASK_RGB = (0.96, 0.78, 0.62)
#: A masked character of a text, and a line break in one.
MASK_CHARACTER, LINE_BREAK = "░", "↵"
#: The files of the curves of exposure bias of a run, without their endings.
EXPOSURE = "exposure"


def sample_figure(samples: np.ndarray, real: np.ndarray | None = None, max_value: float | None = None) -> Any:
    """Draws samples, beside real examples if there are any, as crisp tiles.

    Args:
      samples: [N, H, W] gray or [N, H, W, 3] colour; the first 64 are drawn.
      real: the same for data; as many as there are samples are drawn.
      max_value: the value drawn as white (colour: full light); by default the largest one present.
    """
    samples = np.asarray(samples)[:MAX_IMAGES]
    panels = [("samples", samples)]
    if real is not None:
        panels.insert(0, ("data", np.asarray(real)[: len(samples)]))
    return tiles_figure(panels, _columns(len(samples)), 3.6, max_value)


def _columns(count: int) -> int:
    """Images per row: about a square, and full rows where a number near it allows them."""
    root = math.ceil(math.sqrt(count))
    return next((n for n in range(root, 2 * root) if count % n == 0), root)


def tiles_figure(
    panels: Sequence[tuple[str, np.ndarray]], columns: int, inches: float, max_value: float | None = None
) -> Any:
    """Panels of so many inches side by side: a title, and images [N, H, W] or [N, H, W, 3], `columns` in a row."""
    top = max(float(images.max()) for _, images in panels) if max_value is None else max_value
    tiles = [(title, tile_images(images / max(top, 1e-12), columns)) for title, images in panels]
    height, width = tiles[0][1].shape[:2]
    figure = figures.new_figure(len(tiles) * inches, inches * height / width + 0.35)
    figure.get_layout_engine().set(wspace=0.05)
    for axis, (title, tile) in zip(figures.row_of_axes(figure, len(tiles)), tiles, strict=True):
        axis.imshow(tile, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(title, fontsize=11)
        axis.axis("off")
    return figure


def tile_images(images: np.ndarray, columns: int) -> np.ndarray:
    """Puts [N, H, W(, C)] images in 0..1 on a white sheet with `columns` images a row and gaps between them."""
    images = np.clip(images, 0.0, 1.0)
    count, height, width = images.shape[:3]
    gap = max(1, round(height / 12))
    rows = math.ceil(count / columns)
    # Whole pixels per image keep tiny images (8x8) crisp when the file is scaled.
    tiles = np.ones((rows, columns, height + gap, width + gap, *images.shape[3:]), np.float32)
    tiles.reshape(-1, *tiles.shape[2:])[:count, :height, :width] = images
    sheet = tiles.swapaxes(1, 2).reshape(rows * (height + gap), columns * (width + gap), *images.shape[3:])
    return sheet[:-gap, :-gap]


def draw_completions(
    path: str | os.PathLike,
    truth: np.ndarray,
    hidden: np.ndarray,
    drawn: np.ndarray,
    log_prob: np.ndarray,
    log_prob_truth: np.ndarray,
    max_value: float,
) -> None:
    """Draws a row for each of N images [N, H, W(, 3)]: the visible sites, the truth, and K completions [N, K, H, W(,
    3)], with log-probabilities in nats, [N] and [N, K].
    """
    num, num_completions = drawn.shape[:2]
    figure = figures.new_figure(1.0 * (num_completions + 2), 1.18 * num)
    axes = figure.subplots(num, num_completions + 2, squeeze=False)
    for row, (image, completions) in enumerate(zip(truth, drawn, strict=True)):
        seen = _colour(image, max_value)
        seen[hidden] = _VEIL
        cells = [("seen", seen), (f"truth {log_prob_truth[row]:.1f}", _colour(image, max_value))]
        cells += [(f"{p:.1f}", _colour(c, max_value)) for p, c in zip(log_prob[row], completions, strict=True)]
        for axis, (title, tile) in zip(axes[row], cells, strict=True):
            axis.imshow(tile, interpolation="nearest")
            axis.set_title(title, fontsize=8, pad=2)
            axis.axis("off")
    figures.save_figure(figure, path)


def _colour(image: np.ndarray, max_value: float) -> np.ndarray:
    """[H, W(, 3)] as colours in 0..1, [H, W, 3]."""
    scaled = np.clip(np.asarray(image, float) / max_value, 0, 1)
    return np.repeat(scaled[..., None], 3, axis=-1) if scaled.ndim == 2 else scaled


def codes_figure(counts_K: np.ndarray) -> Any:
    """The share of each code in all uses, the most frequent first; codes without a use are the gap at the end."""
    figure = figures.new_figure(6.4, 3.4)
    (axis,) = figures.row_of_axes(figure, 1)
    share_K, used = np.sort(counts_K / counts_K.sum())[::-1], int((counts_K > 0).sum())
    axis.bar(np.arange(len(share_K)) + figures.FIRST_STEP, share_K, width=1.0, color=figures.INK)
    axis.axhline(1 / len(share_K), color=figures.ACCENT, linewidth=1, label="all codes alike")
    figures.label_axes(axis, "code, the most frequent first", "share", f"{used:,} of {len(share_K):,} codes in use")
    axis.legend(frameon=False, fontsize=9)
    return figure


def entropy_figure(
    nats_S: np.ndarray, stderr: np.ndarray, measured: np.ndarray | None = None, over_grid: np.ndarray | None = None
) -> Any:
    """Draws the uncertainty of a model along its order.

    Args:
      nats_S, stderr: [S] mean entropy of the conditionals of each step in nats, and its standard error.
      measured: [S] mean of -log p of the data in each step, in nats; above the entropy, the model is overconfident.
      over_grid: [H, W] mean entropy of each site, drawn as an image beside the curve.
    """
    panels = 1 if over_grid is None else 2
    figure = figures.new_figure(6.4 if panels == 1 else 9.6, 3.4)
    axes = figures.row_of_axes(figure, panels, widths=(1,) if panels == 1 else (2, 1))
    steps = np.arange(len(nats_S)) + figures.FIRST_STEP
    low, high = nats_S - stderr, nats_S + stderr
    axes[0].fill_between(steps, low, high, color=figures.INK, alpha=0.25, linewidth=0, label="± 1 std. error")
    axes[0].plot(steps, nats_S, color=figures.INK, linewidth=1.4, label="entropy of the conditional")
    if measured is not None:
        size = 4 if len(steps) <= 150 else 1.5  # hundreds of large dots would cover the curve
        axes[0].plot(steps, measured, ".", color=figures.ACCENT, markersize=size, zorder=1, label="-log p of the data")
    figures.label_axes(axes[0], "step of the order", "nats", "Uncertainty along the order")
    axes[0].set_ylim(bottom=0 if np.min(nats_S) >= 0 else None)
    axes[0].legend(frameon=False, fontsize=9, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.17))
    if over_grid is not None:
        image = axes[1].imshow(over_grid, cmap="viridis", interpolation="nearest")
        axes[1].set_title("Entropy of each site (nats)", fontsize=11)
        axes[1].set_xticks([])
        axes[1].set_yticks([])
        figure.colorbar(image, ax=axes[1], fraction=0.046, pad=0.03).outline.set_visible(False)
    return figure


def loss_figure(history: Mapping[str, tuple[np.ndarray, np.ndarray]], name: str = "bits_per_dim") -> Any:
    """Draws the loss over steps: `train/<name>` and `validation/<name>` of a history."""
    figure = figures.new_figure(6.4, 3.4)
    (axis,) = figures.row_of_axes(figure, 1)
    drawn: list[float] = []
    train, validation = {"color": figures.SOFT, "linewidth": 1.2}, {"color": figures.INK, "marker": "o"}
    for split, style in (("train", train), ("validation", validation)):
        steps, values = map(np.asarray, history.get(f"{split}/{name}", (np.zeros(0), np.zeros(0))))
        steps, values = steps[~np.isnan(values)], values[~np.isnan(values)]
        if len(values):
            axis.plot(steps, values, label=split, markersize=3, **style)
            drawn.extend(values.tolist())
            if split == "validation":
                best = int(np.argmin(values))
                axis.plot(steps[best], values[best], "o", color=figures.ACCENT, label=f"best: {values[best]:.3f}")
    refuse((not drawn, f"the metrics hold no line with {name!r} to draw"))
    # The losses of the first steps are far above the rest; they would flatten the curve.
    low, high = min(drawn), float(np.quantile(drawn, 0.95)) if len(drawn) > 20 else max(drawn)
    axis.set_ylim(low - 0.05 * (high - low) - 1e-3, high + 0.1 * (high - low) + 1e-3)
    figures.label_axes(axis, "step", name.replace("bits_per_dim", "bits/dim").replace("_", " "), "Loss")
    axis.legend(frameon=False, fontsize=9)
    return figure


def path_figure(
    frames: np.ndarray, labels: Sequence[str], masked: np.ndarray | None = None, max_value: float | None = None
) -> Any:
    """Draws examples along the reverse process, one in each row, from noise on the left to data on the right.

    Args:
      frames: [N, F, H, W] gray or [N, F, H, W, 3] colour.
      labels: F words, above the columns.
      masked: bool[N, F, H, W], the sites that are drawn in the colour of masks.
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
    figure = figures.new_figure(inches, inches * sheet.shape[0] / sheet.shape[1] + 0.55)
    (axis,) = figures.row_of_axes(figure, 1)
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


def text_of_path(paths: Sequence[Sequence[str]], labels: Sequence[str]) -> str:
    """Texts along the reverse process: a paragraph for each example, a line for each frame; masks are visible."""
    width = max(map(len, labels))
    shown = [[frame.replace("\n", LINE_BREAK) for frame in path] for path in paths]
    lines = [[f"{label:>{width}}  {frame}\n" for label, frame in zip(labels, path, strict=True)] for path in shown]
    return "\n".join("".join(paragraph) for paragraph in lines)


def exposure_figure(curves: Mapping[str, np.ndarray]) -> Any:
    """Draws the accumulated errors in nats, `forward_own` and `forward_data` [S], and their `excess` [S] in per cent,
    with bands that cover 95 % from the standard errors `NAME_stderr`.
    """
    figure = figures.new_figure(9.2, 3.4)
    errors, excess = figures.row_of_axes(figure, 2)
    steps = np.arange(len(curves["excess"])) + figures.FIRST_STEP
    for axis, name, color, label in (
        (errors, "forward_own", figures.ACCENT, "own prefixes"),
        (errors, "forward_data", figures.INK, "prefixes of the data"),
        (excess, "excess", figures.ACCENT, ""),
    ):
        y, half = curves[name], Z * curves[f"{name}_stderr"]
        axis.fill_between(steps, y - half, y + half, color=color, alpha=0.22, linewidth=0)
        axis.plot(steps, y, color=color, linewidth=1.4, label=label)
    figures.label_axes(errors, "length", "accumulated KL(truth || model), nats", "Errors up to a length")
    errors.legend(frameon=False, fontsize=9)
    excess.axhline(0, color=figures.SOFT, linewidth=0.8)
    figures.label_axes(excess, "length", "per cent", "Excess under own prefixes")
    return figure


def write_exposure(path: str | os.PathLike, curves: Mapping[str, np.ndarray]) -> None:
    """Writes curves to `PATH.npz`, and their picture to `PATH.png`, by the first process."""
    if not curves or jax.process_index() > 0:
        return
    with replacing(f"{path}.npz") as replacement, replacement.open("wb") as file:
        named: dict[str, Any] = dict(curves)
        np.savez(file, **named)
    if figures.has_matplotlib():
        figures.save_figure(exposure_figure(curves), f"{path}.png")
