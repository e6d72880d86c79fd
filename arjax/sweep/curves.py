"""The learning curves of a sweep's runs in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from arjax.reporting.figures import has_matplotlib
from arjax.reporting.plots import learning_curves
from arjax.reporting.writers import read_metrics
from arjax.sweep.results import read_config, read_results
from arjax.sweep.runs import Run

FILE_NAME = "curves.png"


def draw_curves(path: Path, runs: Sequence[Run], folders: Mapping[str, Path]) -> bool:
    """Draws the validation curve of every run, in the metric of its row, over the examples trained on.

    One panel for each data set and metric. Runs that never validated have no curve.

    Returns:
      whether there was anything to draw, and matplotlib to draw it with.
    """
    panels: dict[tuple[str, str], dict[str, tuple[list[float], list[float]]]] = {}
    for run in runs:
        config, results = read_config(folders[run.name]), read_results(folders[run.name])
        key = f"validation/{run.metric}"
        lines = [line for line in read_metrics(folders[run.name]) if line.get(key) is not None]
        if config and results and lines:
            examples = [line["step"] * config["train"]["batch_size"] for line in lines]
            panel = panels.setdefault((run.dataset or results["dataset"], run.metric), {})
            name = run.model or config["network"]["name"]
            panel[run.name if name in panel else name] = examples, [line[key] for line in lines]
    if not panels or not has_matplotlib():
        return False
    learning_curves(path, [(dataset, metric, curves) for (dataset, metric), curves in panels.items()])
    return True
