"""Draws the results of studies as sorted dots beside the published numbers, from their csv files.

Run: python scripts/plot_results.py experiments/digits/results.csv      (writes results.png beside each file)
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError
from arjax.reporting.dots import Dot, Panel, sorted_dots
from arjax.sweep.results import read_csv

#: Nats that are exact, and those that bound them: both stand in one panel.
EXACT, BOUND = "nll_nats", "negative_elbo_nats"


def draw(path: Path) -> None:
    """Writes `results.png` beside the csv file, with a panel for each data set and metric that has two rows or more.

    Raises:
      UserError: the file is missing, is no results table, or has nothing to compare.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    groups: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for row in read_csv(path):
        groups.setdefault((row["dataset"], row["metric"].replace(BOUND, EXACT)), []).append(row)
    target = path.with_name("results.png")
    sorted_dots(target, [_panel(*key, rows) for key, rows in groups.items() if len(rows) > 1])
    print(f"wrote {target}")


def _panel(dataset: str, metric: str, rows: Sequence[Mapping[str, str]]) -> Panel:
    """The rows of one data set and metric; labels name the order where the models alone are not distinct."""
    models = [row["model"] for row in rows]
    labels = models
    if len(set(models)) == 1:
        labels = [row["ordering"] for row in rows]
        dataset = f"{dataset}: {models[0]}"
    elif len(set(models)) < len(models):
        labels = [f"{row['model']}, {row['ordering']}" for row in rows]
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
    return Panel(dataset, unit, dots, lower_is_better="nats" in metric or "bits" in metric)


def main(argv: Sequence[str]) -> int:
    """Reads the flags and draws."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path, nargs="+", help="results.csv of a study")
    for path in parser.parse_args(argv).csv:
        draw(path)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("plot_results", lambda: main(sys.argv[1:])))
