"""The plots of a sweep: the rows of its table beside published numbers, learning curves, and scores by order."""

from __future__ import annotations

import collections
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from arjax.evaluation.summaries import grouped, mean_over_runs
from arjax.reporting import figures
from arjax.reporting.writers import read_metrics
from arjax.sweep.results import Finished, lower_is_better
from arjax.sweep.rows import common_name, groups_of_seeds
from arjax.sweep.runs import all_but_order_and_seed

RESULTS_NAME, CURVES_NAME, ORDERS_NAME = "results.png", "curves.png", "orders.png"
#: Nats that are exact, and those that bound them: both stand in one panel.
NLL, BOUND = "nll_nats", "negative_elbo_nats"
#: Rows of the largest panel that is still a picture.
MOST_DOTS = 200
#: A dot farther from the best than this multiple of the distance of the upper quartile is drawn at the edge.
ZOOM = 4.0
MOST_COLUMNS = 3


class Dot(NamedTuple):
    """One result: a model with its score, the standard error of the score, and the published number; nan for none."""

    label: str
    value: float
    stderr: float = math.nan
    published: float = math.nan


def draw_results(path: str | os.PathLike, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Draws the rows of a table, the best at the top, as dots with standard errors, and published numbers as diamonds,
    in a panel for each data set and metric that has 2 to 200 rows. Returns whether a picture was drawn.
    """
    groups = grouped(((row["dataset"], row["metric"].replace(BOUND, NLL)), row) for row in rows)
    groups = {key: group for key, group in groups.items() if 1 < len(group) <= MOST_DOTS}
    if not groups or not figures.has_matplotlib():
        return False
    figure, axes = panels_of_lines([len(group) for group in groups.values()])
    for axis, ((dataset, metric), group) in zip(axes, groups.items(), strict=True):
        labels = [row["model"] for row in group]
        if len(set(labels)) == 1:
            dataset = f"{dataset}: {labels[0]}"
            labels = [row["ordering"] for row in group]
        elif len(set(labels)) < len(labels):
            labels = [f"{row['model']}, {row['ordering']}" for row in group]
        unit = metric.replace("nll_nats", "nats").replace("_per_dim", "/dim").replace("_", " ")
        _draw_dots(axis, _dots(labels, group), lower_is_better(metric))
        figures.label_axes(axis, unit, "", dataset)
    figures.save_figure(figure, path)
    return True


def _dots(labels: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Dot]:
    taken, dots = collections.Counter(labels), []
    for label, row in zip(labels, rows, strict=True):
        label += f", seed {row['seed']}" if taken[label] > 1 else ""
        label += ", a bound" if row["metric"] == BOUND else ""
        numbers = (float(row[name] or math.nan) for name in ("value", "value_stderr", "published"))
        dots.append(Dot(label, *numbers))
    return dots


def panels_of_lines(sizes: Sequence[int]) -> tuple[Any, list[Any]]:
    """Returns a figure, and a panel for each number of lines, at most three beside one another."""
    columns = min(len(sizes), MOST_COLUMNS)
    inches = [1.3 + 0.2 * max(sizes[start : start + columns]) for start in range(0, len(sizes), columns)]
    figure = figures.new_figure(6.0 if columns == 1 else 4.6 * columns, sum(inches))
    axes = list(figure.subplots(len(inches), columns, squeeze=False, height_ratios=inches).ravel())
    for axis in axes[len(sizes) :]:
        axis.axis("off")
    return figure, axes[: len(sizes)]


def draw_curves(path: Path, finished: Sequence[Finished]) -> bool:
    """Draws the validation curves of runs, in the metric of their rows, over the examples trained on, in a panel for
    each data set and metric. Runs that differ in their seed only are one curve: their mean, in a band of one standard
    error. Runs that never validated are left out. Returns whether a picture was drawn.
    """
    by_name = {ended.run.name: ended for ended in finished if _curve(ended).x}
    panels: dict[tuple[str, str], list[tuple[tuple[str, ...], BandedCurve]]] = {}
    for group in groups_of_seeds([ended.run for ended in by_name.values()]):
        first, mean = by_name[group[0].name], _mean([_curve(by_name[run.name]) for run in group])
        if mean.x:
            of = f", mean of {len(group)} seeds" if len(group) > 1 else ""
            name = common_name(group) if len(group) > 1 else first.run.name
            names = f"{first.model}{of}", f"{first.model}, {first.ordering}{of}", name
            panels.setdefault((first.data, first.run.metric), []).append((names, mean))
    if not panels or not figures.has_matplotlib():
        return False
    learning_curves(path, [(dataset, metric, _named(curves)) for (dataset, metric), curves in panels.items()])
    return True


def _named(curves: Sequence[tuple[tuple[str, ...], BandedCurve]]) -> dict[str, BandedCurve]:
    """Each curve under the first of its names that no other curve has in its place; the last ones differ."""
    taken = [collections.Counter(names) for names in zip(*(names for names, _ in curves), strict=True)]
    return {
        next((name for name, num in zip(names, taken, strict=True) if num[name] == 1), names[-1]): curve
        for names, curve in curves
    }


def _curve(ended: Finished) -> BandedCurve:
    key, batch_size = f"validation/{ended.run.metric}", ended.config["train"]["batch_size"]
    lines = [line for line in read_metrics(ended.folder) if line.get(key) is not None]
    return BandedCurve([line["step"] * batch_size for line in lines], [line[key] for line in lines])


def _mean(curves: Sequence[BandedCurve]) -> BandedCurve:
    """The mean of the curves at the steps that all of them have, with its standard error as the band."""
    if len(curves) < 2:
        return curves[0]
    by_x = [dict(zip(curve.x, curve.y, strict=True)) for curve in curves]
    x = [x for x in curves[0].x if all(x in values for values in by_x)]
    mean_N, stderr_N = mean_over_runs([[values[place] for place in x] for values in by_x])
    return BandedCurve(x, mean_N.tolist(), stderr_N.tolist())


def draw_orders(path: Path, finished: Sequence[Finished]) -> bool:
    """Draws the scores of runs under every order, a dot for each seed and a bar at the mean, in a panel for each config
    and metric that has runs in two orders or more. Returns whether a picture was drawn.
    """
    panels: dict[tuple[str, str], dict[str, list[float]]] = {}
    titles = {}
    for ended in finished:
        if ended.ordering:
            key, metric = (all_but_order_and_seed(ended.config), ended.run.metric), ended.run.metric
            panels.setdefault(key, {}).setdefault(ended.ordering, []).append(ended.report[metric])
            titles[key] = f"{ended.report['split']} {metric.replace('_', ' ')}", f"{ended.data}: {ended.model}"
    panels = {key: by_order for key, by_order in panels.items() if len(by_order) > 1}
    if not panels or not figures.has_matplotlib():
        return False
    figure, axes = panels_of_lines([len(by_order) for by_order in panels.values()])
    for axis, (key, by_order) in zip(axes, panels.items(), strict=True):
        _draw_panel(axis, by_order, *titles[key])
    figures.save_figure(figure, path)
    return True


def _draw_panel(axis: Any, by_order: Mapping[str, Sequence[float]], xlabel: str, title: str) -> None:
    ranked = sorted(by_order.items(), key=lambda item: -float(np.mean(item[1])))
    for place, (_, values) in enumerate(ranked):
        axis.plot(values, np.full(len(values), place), "o", color="C0", markersize=4, alpha=0.7)
        axis.plot([np.mean(values)] * 2, [place - 0.3, place + 0.3], color="C1", linewidth=2)
    axis.set_yticks(range(len(ranked)), [order for order, _ in ranked], fontsize=7)
    axis.locator_params(axis="x", nbins=5)
    figures.label_axes(axis, xlabel, "", title)


def _draw_dots(axis: Any, dots: Sequence[Dot], lower_is_better: bool) -> None:
    """Draws dots on an axis that zooms to where models differ; a result far outside is written at the edge."""
    ranked = sorted(dots, key=lambda dot: dot.value, reverse=lower_is_better)
    low, high = _limits(ranked, lower_is_better)
    bars = [dot.value + sign * dot.stderr for dot in ranked for sign in (-1, 1) if low <= dot.value <= high]
    left, right = (choose([low, high, *filter(math.isfinite, bars)]) for choose in (min, max))
    margin = 0.06 * (right - left) or 0.01 * abs(right) or 1.0
    for place, dot in enumerate(ranked):
        if low <= dot.value <= high:
            stderr = None if math.isnan(dot.stderr) else dot.stderr
            how = {"color": figures.INK, "markersize": 4.5, "capsize": 2, "linewidth": 1.2}
            axis.errorbar(dot.value, place, xerr=stderr, fmt="o", **how)
        else:
            above = dot.value > high
            at, side = (right, "right") if above else (left, "left")
            text = f"{dot.value:.5g} >" if above else f"< {dot.value:.5g}"
            axis.text(at, place, text, ha=side, va="center", color=figures.SOFT, fontsize=7)
        if low <= dot.published <= high:
            axis.plot(dot.published, place, "D", color=figures.ACCENT, markersize=4.5, fillstyle="none")
    axis.set_xlim(left - margin, right + margin)
    axis.set_ylim(-0.7, len(ranked) - 0.3)
    axis.set_yticks(range(len(ranked)), [dot.label for dot in ranked], fontsize=7, parse_math=False)
    axis.locator_params(axis="x", nbins=5)
    if any(not math.isnan(dot.published) for dot in ranked):
        axis.plot([], [], "o", color=figures.INK, markersize=4.5, label="arjax")
        axis.plot([], [], "D", color=figures.ACCENT, markersize=4.5, fillstyle="none", label="published")
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


class BandedCurve(NamedTuple):
    """A curve, and half the height of a band around it; no band where that is empty."""

    x: Sequence[float]
    y: Sequence[float]
    band: Sequence[float] = ()


def learning_curves(path: str | os.PathLike, panels: Sequence[tuple[str, str, Mapping[str, BandedCurve]]]) -> None:
    """Draws validation curves, a panel for each (data set, metric, {run: validation scores over training examples})."""
    units = [panel[1].removeprefix("nll_").replace("bits_per_dim", "bits/dim").replace("_", " ") for panel in panels]
    labelled = [(panel[0], f"validation, {unit}", panel[2]) for panel, unit in zip(panels, units, strict=True)]
    figure = panels_of_curves(labelled, "training examples")
    for axis, (_, _, curves) in zip(figure.axes, panels, strict=True):
        axis.set_xscale("log")
        figures.whole_ticks(axis.xaxis)
        # The scores of the first steps are far above the rest: the axis shows twice the range of the last scores.
        ends = [min(curve.y) for curve in curves.values()]
        highest = max(max(curve.y) for curve in curves.values())
        span = max(max(ends) - min(ends), 0.03 * abs(min(ends)), 1e-3)
        top = highest if len(curves) == 1 else min(highest, max(ends) + span)
        axis.set_ylim(min(ends) - 0.2 * span, top + 0.05 * span)
    figures.save_figure(figure, path)


def panels_of_curves(panels: Sequence[tuple[str, str, Mapping[str, Any]]], xlabel: str) -> Any:
    """A figure with a panel of named curves for each (title, label of y, {name: Curve}), and one legend."""
    figure = figures.new_figure(max(3.5 * len(panels), 6.4), 3.9)
    names = list(dict.fromkeys(name for _, _, curves in panels for name in curves))
    for axis, (title, ylabel, curves) in zip(figures.row_of_axes(figure, len(panels)), panels, strict=True):
        for name, (x, y, *bands) in curves.items():
            number = names.index(name)
            color = f"C{number % 10}"
            line = ("o-", "s--", "^:", "d-.")[number // 10 % 4]  # ten colours for each kind of line
            axis.plot(x, y, line, color=color, markersize=3, linewidth=1.3, label=name)
            for band in filter(len, bands):
                axis.fill_between(x, np.subtract(y, band), np.add(y, band), color=color, alpha=0.2, linewidth=0)
        figures.label_axes(axis, xlabel, ylabel, title)
    handles = {h.get_label(): h for axis in figure.axes for h in axis.get_lines()}
    legend = figure.legend(
        [handles[name] for name in names], names, loc="outside lower center", ncols=4, frameon=False, fontsize=9
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # names of users: a $ in them is no formula
    return figure
