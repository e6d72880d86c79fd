"""Panels of named curves with one legend: validation against training examples, measurements against length."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from arjax.reporting.figures import label_axes, new_figure, row_of_axes, save_figure, whole_ticks


def log_curves(
    path: str | os.PathLike,
    panels: Sequence[tuple[str, str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]],
    xlabel: str,
    log_y: bool = True,
) -> None:
    """Draws panels of named curves over a logarithmic axis, or two, with one legend. `panels`: (title, label of the y
    axis, {name: (x, y)}) of each; a name has the same colour in all panels. `log_y`: whether the other one is, too.
    """
    figure = _panels_of_curves(panels, xlabel)
    for axis in figure.axes:
        axis.set_xscale("log", base=2)
        axis.set_yscale("log" if log_y else "linear")
    save_figure(figure, path)


class Curve(NamedTuple):
    """A curve, and half the height of a band around it; no band where that is empty."""

    x: Sequence[float]
    y: Sequence[float]
    band: Sequence[float] = ()


def learning_curves(path: str | os.PathLike, panels: Sequence[tuple[str, str, Mapping[str, Curve]]]) -> None:
    """Draws the validation curves of several runs, a panel per data set. `panels`: (data set, metric, {run: validation
    scores over the training examples seen}) of each.
    """
    figure = _panels_of_curves(
        [(dataset, f"validation, {_unit(metric)}", curves) for dataset, metric, curves in panels], "training examples"
    )
    for axis, (_, _, curves) in zip(figure.axes, panels, strict=True):
        axis.set_xscale("log")
        whole_ticks(axis.xaxis)
        # The scores of the first steps are far above the rest: the axis shows twice the range of the last scores.
        ends = [min(curve.y) for curve in curves.values()]
        highest = max(max(curve.y) for curve in curves.values())
        span = max(max(ends) - min(ends), 0.03 * abs(min(ends)), 1e-3)
        top = highest if len(curves) == 1 else min(highest, max(ends) + span)
        axis.set_ylim(min(ends) - 0.2 * span, top + 0.05 * span)
    save_figure(figure, path)


def _panels_of_curves(panels: Sequence[tuple[str, str, Mapping[str, Any]]], xlabel: str) -> Any:
    """A figure with a panel of named curves for each (title, label of y, {name: Curve}), and one legend."""
    figure = new_figure(max(3.5 * len(panels), 6.4), 3.9)
    names = list(dict.fromkeys(name for _, _, curves in panels for name in curves))
    for axis, (title, ylabel, curves) in zip(row_of_axes(figure, len(panels)), panels, strict=True):
        for name, (x, y, *bands) in curves.items():
            number = names.index(name)
            color = f"C{number % 10}"
            line = ("o-", "s--", "^:", "d-.")[number // 10 % 4]  # ten colours for each kind of line
            axis.plot(x, y, line, color=color, markersize=3, linewidth=1.3, label=name)
            for band in filter(len, bands):
                axis.fill_between(x, np.subtract(y, band), np.add(y, band), color=color, alpha=0.2, linewidth=0)
        label_axes(axis, xlabel, ylabel, title)
    handles = {h.get_label(): h for axis in figure.axes for h in axis.get_lines()}
    legend = figure.legend(
        [handles[name] for name in names], names, loc="outside lower center", ncols=4, frameon=False, fontsize=9
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # names of users: a $ in them is no formula
    return figure


def _unit(metric: str) -> str:
    """`nll_nats_per_frame` -> `nats per frame`."""
    return metric.removeprefix("nll_").replace("bits_per_dim", "bits/dim").replace("_", " ")
