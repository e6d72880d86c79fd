"""Draws the results of studies as sorted dots beside the published numbers, from their csv files.

Run: python scripts/plot_results.py experiments/digits/results.csv      (writes results.png beside each file)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError
from arjax.reporting.figures import check_matplotlib
from arjax.sweep.plots import RESULTS_NAME, draw_results
from arjax.sweep.results import read_csv


def draw(path: Path) -> None:
    """Writes `results.png` beside the csv file, with a panel for each data set and metric that has two rows or more.

    Raises:
      UserError: the file is missing, is no results table, or has nothing to compare; or matplotlib is missing.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    check_matplotlib()
    target = path.with_name(RESULTS_NAME)
    if not draw_results(target, read_csv(path)):
        raise UserError(f"{path} has no two rows to compare")
    print(f"wrote {target}")


def main(argv: Sequence[str]) -> int:
    """Reads the flags and draws."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path, nargs="+", help="results.csv of a study")
    for path in parser.parse_args(argv).csv:
        draw(path)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("plot_results", lambda: main(sys.argv[1:])))
