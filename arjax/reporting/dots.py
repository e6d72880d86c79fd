"""Results as sorted dots with their standard errors, beside the published numbers."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from arjax.core.errors import UserError
from arjax.reporting.figures import ACCENT, INK, SOFT, label_axes, new_figure, save_figure

#: A dot farther from the best than this multiple of the distance of the upper quartile is drawn at the edge.
ZOOM = 4.0
MOST_COLUMNS = 3


@dataclasses.dataclass(frozen=True)
class Dot:
    """One result: a model with its score, the standard error of the score, and the published number; nan for none."""

    label: str
    value: float
    stderr: float = math.nan
    published: float = math.nan


@dataclasses.dataclass(frozen=True)
class Panel:
    """Results that can be compared: those of one data set in one metric."""

    title: str  # the data set
    unit: str  # the metric with its unit
    dots: Sequence[Dot]  # at least one
    lower_is_better: bool = True  # the direction in which the dots are sorted


def sorted_dots(path: str | os.PathLike, panels: Sequence[Panel]) -> None:
    """Draws each panel as a list of models, the best one at the top: a dot with its standard error for each.

    A diamond marks the published number of the same model. The axis zooms to the range where models differ; a result
    far outside is written at the edge. Raises `UserError`: there are no panels.
    """
    if not panels:
        raise UserError("there are no results to draw")
    columns = min(len(panels), MOST_COLUMNS)
    lines = -(-len(panels) // columns)
    heights = [max(len(panel.dots) for panel in panels[i * columns : (i + 1) * columns]) for i in range(lines)]
    inches = [1.3 + 0.2 * height for height in heights]
    figure = new_figure(2.6 + 3.4 * columns if columns == 1 else 4.6 * columns, sum(inches))
    axes = figure.subplots(lines, columns, squeeze=False, height_ratios=inches).ravel()
    for axis in axes[len(panels) :]:
        axis.axis("off")
    for axis, panel in zip(axes, panels, strict=False):
        _draw_panel(axis, panel)
    save_figure(figure, path)


def _draw_panel(axis: Any, panel: Panel) -> None:
    ranked = sorted(panel.dots, key=lambda dot: dot.value, reverse=panel.lower_is_better)
    low, high = _limits(ranked, panel.lower_is_better)
    bars = [dot.value + sign * dot.stderr for dot in ranked for sign in (-1, 1) if low <= dot.value <= high]
    ends = [low, high, *(bar for bar in bars if math.isfinite(bar))]
    left, right = min(ends), max(ends)
    margin = 0.06 * (right - left) or 0.01 * abs(right) or 1.0
    for place, dot in enumerate(ranked):
        if low <= dot.value <= high:
            stderr = None if math.isnan(dot.stderr) else dot.stderr
            axis.errorbar(dot.value, place, xerr=stderr, fmt="o", color=INK, markersize=4.5, capsize=2, linewidth=1.2)
        else:
            above = dot.value > high
            at, side = (right, "right") if above else (left, "left")
            text = f"{dot.value:.5g} >" if above else f"< {dot.value:.5g}"
            axis.text(at, place, text, ha=side, va="center", color=SOFT, fontsize=7)
        if low <= dot.published <= high:
            axis.plot(dot.published, place, "D", color=ACCENT, markersize=4.5, fillstyle="none")
    axis.set_xlim(left - margin, right + margin)
    axis.set_ylim(-0.7, len(ranked) - 0.3)
    axis.set_yticks(range(len(ranked)), [dot.label for dot in ranked], fontsize=7, parse_math=False)
    axis.locator_params(axis="x", nbins=5)
    label_axes(axis, panel.unit, "", panel.title)
    if any(not math.isnan(dot.published) for dot in ranked):
        axis.plot([], [], "o", color=INK, markersize=4.5, label="arjax")
        axis.plot([], [], "D", color=ACCENT, markersize=4.5, fillstyle="none", label="published")
        axis.legend(frameon=False, fontsize=7)


def _limits(dots: Sequence[Dot], lower_is_better: bool) -> tuple[float, float]:
    """The range of results and published numbers, without results far behind the upper quartile of the others."""
    sign = 1.0 if lower_is_better else -1.0
    values = np.sort([sign * dot.value for dot in dots])
    published = [sign * dot.published for dot in dots if not math.isnan(dot.published)]
    reach = values[0] + ZOOM * (np.quantile(values, 0.75) - values[0])
    inside = [value for value in values if value <= reach] if len(values) > 3 else list(values)
    ends = sign * min([*inside, *published]), sign * max([*inside, *published])
    return min(ends), max(ends)
