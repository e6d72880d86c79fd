"""Runs that differ in order and seed only: finding them, and a plot of their scores."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arjax.reporting.figures import has_matplotlib, label_axes, new_figure, save_figure
from arjax.sweep.results import read_config, read_results
from arjax.sweep.runs import Run

FILE_NAME = "orders.png"


def all_but_order_and_seed(config: Mapping[str, Any]) -> str:
    """The fields of a run's config, but for `model.ordering` and `seed`: runs that agree in it share one program."""
    model = {name: value for name, value in config["model"].items() if name != "ordering"}
    return json.dumps({**config, "model": model, "seed": 0}, sort_keys=True)


def draw_orders(path: Path, runs: Sequence[Run], folders: Mapping[str, Path]) -> bool:
    """Draws the scores of finished runs under every order: a dot for each seed, a bar at the mean.

    A panel for each config and metric that has runs in two orders or more.

    Returns:
      whether the plot was drawn: there were scores, and matplotlib is installed.
    """
    panels: dict[tuple[str, str], dict[str, list[float]]] = {}
    titles = {}
    for run in runs:
        config, results = read_config(folders[run.name]), read_results(folders[run.name])
        if config and results and "ordering" in config["model"]:
            key = all_but_order_and_seed(config), run.metric
            ordering = run.ordering or config["model"]["ordering"]
            panels.setdefault(key, {}).setdefault(ordering, []).append(results[run.metric])
            dataset, model = run.dataset or results["dataset"], run.model or config["network"]["name"]
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
