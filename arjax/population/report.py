"""Tables and the picture of a study of orders."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arjax.population.jobs import PopulationJob
from arjax.reporting.plots import has_matplotlib, label_axes, new_figure, save_figure
from arjax.reporting.reports import EXACT
from arjax.sweep.results import COLUMNS


def rows(job: PopulationJob, found: Mapping[str, Any], study: str) -> list[dict[str, Any]]:
    """One row per order: the mean over the seeds with its standard error; then those of the ensemble, whose standard
    errors are over the examples. `study` is the file that lists the population.
    """
    workdir = f"runs/{Path(study).resolve().parent.name}"
    common = dict.fromkeys(COLUMNS, "") | {
        "dataset": found["dataset"] + ("" if found["split"] == "test" else f" ({found['split']})"),
        "model": found["model"] + (f", mean of {len(job.seeds)} seeds" if len(job.seeds) > 1 else ""),
        "seed": ", ".join(map(str, job.seeds)),
        "metric": job.metric,
        "kind": found.get("kind", EXACT),  # populations trained before there were other kinds do not say
        "num_params": found["num_params"],
        "device": found["device"],
        "command": shlex.join(["arjax-population", f"--study={study}", f"--workdir={workdir}", f"--only={job.name}"]),
    }
    minutes = found["seconds"] / 60 / len(job.orders) / len(job.seeds)  # of one member
    table = []
    for order, values in zip(job.orders, metric_OS(job, found), strict=True):
        mean, stderr = mean_and_stderr(values)
        numbers = {"value": f"{mean:.6g}", "value_stderr": "" if math.isnan(stderr) else f"{stderr:.3g}"}
        table.append(common | numbers | {"ordering": order, "train_minutes": f"{minutes:.3g}"})
    return table + [common | row for row in _ensemble_rows(job, found)]


def _ensemble_rows(job: PopulationJob, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    ensemble = found.get("ensemble")
    if not ensemble or job.metric != "nll_nats":
        return []
    members = len(job.orders) * len(job.seeds)
    return [
        {
            "model": f"{found['model']}, {members} mixed, {weights} weights",
            "ordering": f"{len(job.orders)} orders",
            "value": f"{ensemble[key]:.6g}",
            "value_stderr": f"{ensemble[key + '_stderr']:.3g}",
            "num_params": members * found["num_params"],
            "train_minutes": f"{found['seconds'] / 60:.3g}",
            "published": "" if math.isnan(job.published) else f"{job.published:g}",
            "published_mark": job.published_mark,
        }
        for key, weights in (("uniform", "equal"), ("weighted", "fitted"))
    ]


def metric_OS(job: PopulationJob, found: Mapping[str, Any]) -> np.ndarray:
    """The metric of the job for every order and seed."""
    return np.array([[results[job.metric] for results in of_order] for of_order in found["results"]])


def mean_and_stderr(values: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error; nan for a single value, and where not all are finite."""
    if len(values) < 2 or not np.isfinite(values).all():
        return float(values.mean()), math.nan
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def draw_orders(path: Path, studied: Sequence[tuple[PopulationJob, Mapping[str, Any]]]) -> bool:
    """Draws the scores of every order: a panel per population, a dot per seed, a bar at the mean.

    Returns:
      whether there was anything to draw, and matplotlib to draw it with.
    """
    if not studied or not has_matplotlib():
        return False
    most, columns = max(len(job.orders) for job, _ in studied), min(len(studied), 3)
    lines = -(-len(studied) // columns)
    figure = new_figure(4.2 * columns, (1.2 + 0.22 * most) * lines)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes[len(studied) :]:
        axis.axis("off")
    for axis, (job, found) in zip(axes, studied, strict=False):
        _draw_population(axis, job, found)
    save_figure(figure, path)
    return True


def _draw_population(axis: Any, job: PopulationJob, found: Mapping[str, Any]) -> None:
    """A row per order, the best at the top."""
    values_OS = metric_OS(job, found)
    ranked = np.argsort(values_OS.mean(1))[::-1]
    for place, order in enumerate(ranked):
        axis.plot(values_OS[order], np.full(len(job.seeds), place), "o", color="C0", markersize=4, alpha=0.7)
        axis.plot([values_OS[order].mean()] * 2, [place - 0.3, place + 0.3], color="C1", linewidth=2)
    axis.set_yticks(range(len(ranked)), [job.orders[order] for order in ranked], fontsize=7)
    axis.locator_params(axis="x", nbins=5)
    label_axes(axis, f"{found['split']} {job.metric.replace('_', ' ')}", "", f"{found['dataset']}: {found['model']}")
