"""The rows of a results table in one picture: sorted dots beside the published numbers."""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arjax.reporting.dots import Dot, Panel, sorted_dots
from arjax.reporting.figures import has_matplotlib
from arjax.sweep.results import lower_is_better

FILE_NAME = "results.png"
#: Nats that are exact, and those that bound them: both stand in one panel.
EXACT, BOUND = "nll_nats", "negative_elbo_nats"
#: Rows of the largest panel that is still a picture.
MOST_ROWS = 200


def draw_results(path: Path, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Draws the rows of a table, with a panel for each data set and metric that has 2 to 200 rows.

    Returns:
      whether there was anything to draw, and matplotlib to draw it with.
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
    taken = collections.Counter(labels)
    labels = [
        f"{label}, seed {row['seed']}" if taken[label] > 1 else label for label, row in zip(labels, rows, strict=True)
    ]
    bound = [", a bound" if row["metric"] == BOUND else "" for row in rows]
    dots = [
        Dot(
            label + kind,
            float(row["value"]),
            float(row["value_stderr"] or math.nan),
            float(row["published"] or math.nan),
        )
        for label, kind, row in zip(labels, bound, rows, strict=True)
    ]
    unit = metric.replace("nll_nats", "nats").replace("_per_dim", "/dim").replace("_", " ")
    return Panel(dataset, unit, dots, lower_is_better(metric))
