"""Results over their cost: points with standard errors, each with its name beside it."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from arjax.reporting.figures import ACCENT, INK, SOFT, label_axes, new_figure, save_figure, whole_ticks

MOST_COLUMNS = 2
#: Kind of a number -> marker and colour. The triangle of a bound points to where the exact number may be.
MARKERS = {"exact": ("o", INK), "bound": ("v", ACCENT), "estimate": ("s", "#3c8d5a"), "none": ("x", SOFT)}
FONT_SIZE = 7
#: Where a label may be: directions from its point, the best first, and distances in units of 1/72 inch.
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
DISTANCES = (5, 9, 15, 23, 33, 46, 62)
#: From this distance on, a line connects a label with its point.
FAR = 9
#: Each label is placed anew so often, beside the places of all others.
ROUNDS = 4


@dataclasses.dataclass(frozen=True)
class Point:
    """One result: a model with its cost and its score."""

    label: str
    x: float  # the cost; a positive number, or 0
    y: float  # the score
    stderr: float = math.nan  # of the score; nan for none
    kind: str = "exact"  # of the score, one of `MARKERS`


def labelled_points(path: str | os.PathLike, panels: Mapping[str, Sequence[Point]], xlabel: str, ylabel: str) -> None:
    """Draws the points of each panel over a logarithmic axis, with error bars of one standard error.

    Args:
      panels: title -> its points, at least one.
      ylabel: the score with its unit.
    """
    columns = min(len(panels), MOST_COLUMNS)
    lines = math.ceil(len(panels) / columns)
    most = max(map(len, panels.values()))
    figure = new_figure(8.5 if columns == 1 else 6.4 * columns, lines * (3.4 + 0.1 * most) + 0.3)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes[len(panels) :]:
        axis.axis("off")
    for axis, (title, points) in zip(axes, panels.items(), strict=False):
        _draw_points(axis, points)
        label_axes(axis, xlabel, ylabel, title)
    kinds = {point.kind for points in panels.values() for point in points}
    handles = [
        axes[0].plot([], [], marker, color=color, markersize=5, label=kind)[0]
        for kind, (marker, color) in MARKERS.items()
        if kind in kinds
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.draw_without_rendering()  # labels need panels of their final size
    for axis, points in zip(axes, panels.values(), strict=False):
        _write_labels(axis, points)
    save_figure(figure, path)


def _draw_points(axis: Any, points: Sequence[Point]) -> None:
    """Markers and error bars; a cost of 0 has its place left of 1."""
    for point in points:
        marker, color = MARKERS[point.kind]
        stderr = None if math.isnan(point.stderr) else point.stderr
        axis.errorbar(point.x, point.y, stderr, fmt=marker, color=color, markersize=5, capsize=2, linewidth=1)
    if all(point.x for point in points):
        axis.set_xscale("log")
        whole_ticks(axis.xaxis)
    else:
        axis.set_xscale("symlog", linthresh=1)
    axis.margins(x=0.16, y=0.1)


def _write_labels(axis: Any, points: Sequence[Point]) -> None:
    """Writes each label near its point, where it covers the least of other labels, of points and of their bars."""
    scale = axis.figure.dpi / 72
    at_P2 = axis.transData.transform([(point.x, point.y) for point in points])
    bars_P = [0.0 if math.isnan(point.stderr) else point.stderr for point in points]
    low_P2, high_P2 = (
        axis.transData.transform([(point.x, point.y + sign * bar) for point, bar in zip(points, bars_P, strict=True)])
        for sign in (-1, 1)
    )
    marks_P4 = np.concatenate([low_P2 - 3 * scale, high_P2 + 3 * scale], axis=1)
    texts = [axis.annotate(point.label, (point.x, point.y), fontsize=FONT_SIZE, parse_math=False) for point in points]
    sizes_P2 = [text.get_window_extent().size for text in texts]
    frame = axis.get_window_extent()
    inside = np.array([frame.x0, frame.y0, frame.x1, frame.y1])
    places = _places(at_P2 / scale, np.array(sizes_P2) / scale, marks_P4 / scale, inside / scale)
    for text, (x, y, distance), size, at in zip(texts, places, sizes_P2, at_P2, strict=True):
        text.set_in_layout(False)
        text.xyann = (x - at[0] / scale, y - at[1] / scale)
        text.anncoords = "offset points"
        if distance >= FAR:
            near = np.clip(at / scale, (x, y), np.array((x, y)) + size / scale)
            ends = axis.transData.inverted().transform([near * scale, at])
            axis.plot(*ends.T, color=SOFT, linewidth=0.5, zorder=1, scalex=False, scaley=False)


def _places(
    at_P2: np.ndarray, sizes_P2: np.ndarray, marks_P4: np.ndarray, inside_4: np.ndarray
) -> list[tuple[float, float, float]]:
    """Lower left corners of the labels of points, and their distances from these.

    Args:
      sizes_P2: widths and heights of their labels.
      marks_P4: boxes (left, bottom, right, top) of markers and bars, which labels leave free where they can.
      inside_4: the box of the panel.
    """
    boxes_P4 = np.full((len(at_P2), 4), np.nan)
    distances = np.zeros(len(at_P2))
    for _ in range(ROUNDS):
        for p, (at, size) in enumerate(zip(at_P2, sizes_P2, strict=True)):
            options = [(_box(at, size, direction, far), far) for far in DISTANCES for direction in DIRECTIONS]
            others_N4 = np.concatenate([np.delete(boxes_P4, p, axis=0), marks_P4])
            covered = [
                np.nansum(_overlap(box, others_N4)) + 2 * (size.prod() - _overlap(box, inside_4[None])[0])
                for box, _ in options
            ]
            rivals_P2 = np.delete(at_P2, p, axis=0)
            unclear = [far < FAR and (_gaps(box, rivals_P2) < 1.3 * _gaps(box, at[None])).any() for box, far in options]
            # A far label, or one that seems to be that of another point, costs as much as one that covers letters.
            cost = np.array(covered) / size[1] + 15 * np.array(unclear) + [0.5 * far for _, far in options]
            boxes_P4[p], distances[p] = options[int(np.argmin(cost))]
    return [(box[0], box[1], distance) for box, distance in zip(boxes_P4, distances, strict=True)]


def _box(at: np.ndarray, size: np.ndarray, direction: tuple[int, int], distance: float) -> np.ndarray:
    """The box (left, bottom, right, top) of a label beside a point: left of it, at the same height, right of it, ..."""
    toward = np.array(direction)
    corner = at + toward * distance * (0.7 if toward.all() else 1.0) + (toward - 1) / 2 * size
    return np.concatenate([corner, corner + size])


def _overlap(box_4: np.ndarray, others_N4: np.ndarray) -> np.ndarray:
    """The areas that boxes (left, bottom, right, top) share with one of them."""
    sides_N2 = np.minimum(box_4[2:], others_N4[:, 2:]) - np.maximum(box_4[:2], others_N4[:, :2])
    return np.clip(sides_N2, 0, None).prod(axis=1)


def _gaps(box_4: np.ndarray, at_N2: np.ndarray) -> np.ndarray:
    """The distances of points from a box (left, bottom, right, top)."""
    return np.linalg.norm(at_N2 - np.clip(at_N2, box_4[:2], box_4[2:]), axis=1)
