"""Draws the results of a study beside the published numbers, from its csv file.

Run: python scripts/plot_published.py experiments/uci_density/results.csv      (writes published.png beside it)
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError
from arjax.reporting.plots import against_published
from arjax.sweep.results import read_csv


def draw(path: Path) -> int:
    """Writes `published.png` beside the csv file; rows without a published number are left out."""
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    rows = [row for row in read_csv(path) if row["published"]]
    points = [
        (
            row["dataset"].rpartition("/")[2],
            row["model"],
            float(row["value"]),
            float(row["value_stderr"] or math.nan),
            float(row["published"]),
        )
        for row in rows
    ]
    units = " and ".join(dict.fromkeys(row["metric"] for row in rows)).replace("nll_nats", "nats").replace("_", " ")
    target = path.with_name("published.png")
    against_published(target, points, units)
    print(f"wrote {target}")
    return 0


def main(argv: Sequence[str]) -> int:
    """Reads the flags and draws."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path, help="results.csv of a study")
    return draw(parser.parse_args(argv).csv)


if __name__ == "__main__":
    sys.exit(tell_mistakes("plot_published", lambda: main(sys.argv[1:])))
