"""The learning curves of a sweep's runs in one plot."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from pathlib import Path

from arjax.evaluation.summaries import mean_over_runs
from arjax.reporting.curves import Curve, learning_curves
from arjax.reporting.figures import has_matplotlib
from arjax.reporting.writers import read_metrics
from arjax.sweep.results import model_of, ordering_of, read_config, read_results
from arjax.sweep.runs import Run
from arjax.sweep.seeds import common_name, groups_of_seeds

FILE_NAME = "curves.png"


def draw_curves(path: Path, runs: Sequence[Run], folders: Mapping[str, Path]) -> bool:
    """Draws the validation curves of the runs, in the metric of their rows, over the examples trained on.

    One panel for each data set and metric. Runs that differ in their seed only are one curve: their mean, in a band of
    one standard error over the seeds. Runs that never validated have no curve.

    Returns:
      whether the plot was drawn: there were curves, and matplotlib is installed.
    """
    panels: dict[tuple[str, str], list[tuple[tuple[str, ...], Curve]]] = {}
    for group in groups_of_seeds(runs):
        curves = {run.name: curve for run in group if (curve := _curve(run, folders[run.name]))}
        mean = _mean(list(curves.values()))
        if not mean.x:
            continue
        first = next(run for run in group if run.name in curves)
        config, results = read_config(folders[first.name]), read_results(folders[first.name])
        assert config is not None and results is not None
        several = len(curves) > 1
        model, ordering = first.model or model_of(config), first.ordering or ordering_of(config)
        of = f", mean of {len(curves)} seeds" if several else ""
        names = f"{model}{of}", f"{model}, {ordering}{of}", common_name(group) if several else first.name
        panels.setdefault((first.dataset or results["dataset"], first.metric), []).append((names, mean))
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
