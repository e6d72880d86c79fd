"""The plots of a sweep: the rows of its table beside published numbers, learning curves, and scores by order."""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arjax.evaluation.summaries import mean_over_runs
from arjax.reporting.curves import Curve, learning_curves
from arjax.reporting.dots import Dot, Panel, sorted_dots
from arjax.reporting.figures import has_matplotlib, label_axes, new_figure, save_figure
from arjax.reporting.writers import read_metrics
from arjax.sweep.derived import common_name, groups_of_seeds
from arjax.sweep.results import lower_is_better, model_of, ordering_of, read_config, read_results, scored_data
from arjax.sweep.runs import Run, all_but_order_and_seed

RESULTS_NAME, CURVES_NAME, ORDERS_NAME = "results.png", "curves.png", "orders.png"
#: Nats that are exact, and those that bound them: both stand in one panel.
EXACT, BOUND = "nll_nats", "negative_elbo_nats"
#: Rows of the largest panel that is still a picture.
MOST_ROWS = 200


def draw_results(path: Path, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Draws the rows of a table, with a panel for each data set and metric that has 2 to 200 rows; returns whether
    there was anything to draw, and matplotlib to draw it with.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["dataset"], row["metric"].replace(BOUND, EXACT)), []).append(row)
    panels = [_panel(*key, group) for key, group in groups.items() if 1 < len(group) <= MOST_ROWS]
    if not panels or not has_matplotlib():
        return False
    sorted_dots(path, panels)
    return True


def _panel(dataset: str, metric: str, rows: Sequence[Mapping[str, Any]]) -> Panel:
    """The rows of one data set and metric; labels name order and seed where the models alone are not distinct."""
    labels = [row["model"] for row in rows]
    if len(set(labels)) == 1:
        dataset = f"{dataset}: {labels[0]}"
        labels = [row["ordering"] for row in rows]
    elif len(set(labels)) < len(labels):
        labels = [f"{row['model']}, {row['ordering']}" for row in rows]
    taken, dots = collections.Counter(labels), []
    for label, row in zip(labels, rows, strict=True):
        label += f", seed {row['seed']}" if taken[label] > 1 else ""
        label += ", a bound" if row["metric"] == BOUND else ""
        numbers = (float(row[name] or math.nan) for name in ("value", "value_stderr", "published"))
        dots.append(Dot(label, *numbers))
    unit = metric.replace("nll_nats", "nats").replace("_per_dim", "/dim").replace("_", " ")
    return Panel(dataset, unit, dots, lower_is_better(metric))


def draw_curves(path: Path, runs: Sequence[Run], workdir: Path) -> bool:
    """Draws the validation curves of the runs, in the metric of their rows, over the examples trained on.

    One panel for each data set and metric. Runs that differ in their seed only are one curve: their mean, in a band of
    one standard error over the seeds. Runs that never validated have no curve. Returns whether there was anything to
    draw, and matplotlib to draw it with.
    """
    panels: dict[tuple[str, str], list[tuple[tuple[str, ...], Curve]]] = {}
    for group in groups_of_seeds(runs):
        curves = {run.name: curve for run in group if (curve := _curve(run, workdir / run.name))}
        mean = _mean(list(curves.values()))
        if not mean.x:
            continue
        first = next(run for run in group if run.name in curves)
        config, results = read_config(workdir / first.name), read_results(workdir / first.name)
        assert config is not None and results is not None
        several = len(curves) > 1
        model, ordering = first.model or model_of(config), first.ordering or ordering_of(config)
        of = f", mean of {len(curves)} seeds" if several else ""
        names = f"{model}{of}", f"{model}, {ordering}{of}", common_name(group) if several else first.name
        panels.setdefault((scored_data(first, results, config), first.metric), []).append((names, mean))
    if not panels or not has_matplotlib():
        return False
    learning_curves(path, [(dataset, metric, _named(curves)) for (dataset, metric), curves in panels.items()])
    return True


def _named(curves: Sequence[tuple[tuple[str, ...], Curve]]) -> dict[str, Curve]:
    """Each curve under the first of its names that no other curve has in its place; the last ones differ."""
    taken = [collections.Counter(names) for names in zip(*(names for names, _ in curves), strict=True)]
    return {
        next((name for name, num in zip(names, taken, strict=True) if num[name] == 1), names[-1]): curve
        for names, curve in curves
    }


def _curve(run: Run, folder: Path) -> Curve | None:
    """The validation scores of a finished run; None when it has none."""
    config, key = read_config(folder), f"validation/{run.metric}"
    lines = [line for line in read_metrics(folder) if line.get(key) is not None]
    if not (config and read_results(folder) and lines):
        return None
    return Curve([line["step"] * config["train"]["batch_size"] for line in lines], [line[key] for line in lines])


def _mean(curves: Sequence[Curve]) -> Curve:
    """The mean of the curves at the steps that all of them have, with its standard error as the band."""
    if len(curves) < 2:
        return curves[0] if curves else Curve([], [])
    by_x = [dict(zip(curve.x, curve.y, strict=True)) for curve in curves]
    x = [x for x in curves[0].x if all(x in values for values in by_x)]
    mean_N, stderr_N = mean_over_runs([[values[place] for place in x] for values in by_x])
    return Curve(x, mean_N.tolist(), stderr_N.tolist())


def draw_orders(path: Path, runs: Sequence[Run], workdir: Path) -> bool:
    """Draws the scores of finished runs under every order: a dot for each seed, a bar at the mean.

    A panel for each config and metric that has runs in two orders or more. Returns whether there was anything to draw,
    and matplotlib to draw it with.
    """
    panels: dict[tuple[str, str], dict[str, list[float]]] = {}
    titles = {}
    for run in runs:
        config, results = read_config(workdir / run.name), read_results(workdir / run.name)
        if config and results and "ordering" in config["model"]:
            key = all_but_order_and_seed(config), run.metric
            ordering = run.ordering or config["model"]["ordering"]
            panels.setdefault(key, {}).setdefault(ordering, []).append(results[run.metric])
            dataset, model = scored_data(run, results, config), run.model or config["network"]["name"]
            titles[key] = f"{results['split']} {run.metric.replace('_', ' ')}", f"{dataset}: {model}"
    panels = {key: by_order for key, by_order in panels.items() if len(by_order) > 1}
    if not panels or not has_matplotlib():
        return False
    most, columns = max(map(len, panels.values())), min(len(panels), 3)
    lines = -(-len(panels) // columns)
    figure = new_figure(4.2 * columns, (1.2 + 0.22 * most) * lines)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes[len(panels) :]:
        axis.axis("off")
    for axis, (key, by_order) in zip(axes, panels.items(), strict=False):
        _draw_panel(axis, by_order, *titles[key])
    save_figure(figure, path)
    return True


def _draw_panel(axis: Any, by_order: Mapping[str, Sequence[float]], xlabel: str, title: str) -> None:
    """A line for each order, the best at the top."""
    ranked = sorted(by_order.items(), key=lambda item: -float(np.mean(item[1])))
    for place, (_, values) in enumerate(ranked):
        axis.plot(values, np.full(len(values), place), "o", color="C0", markersize=4, alpha=0.7)
        axis.plot([np.mean(values)] * 2, [place - 0.3, place + 0.3], color="C1", linewidth=2)
    axis.set_yticks(range(len(ranked)), [order for order, _ in ranked], fontsize=7)
    axis.locator_params(axis="x", nbins=5)
    label_axes(axis, xlabel, "", title)
