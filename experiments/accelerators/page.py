"""Writes the summary of results.csv into the page of the study.

python experiments/accelerators/page.py
"""

from __future__ import annotations

import csv
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from arjax.cli.command_line import tell_mistakes

FOLDER = Path(__file__).parent
sys.path.append(str(FOLDER.parents[1] / "scripts"))

from measured import markdown_table, write_measured  # noqa: E402
from study import models  # noqa: E402

COLUMNS = (
    "slice",
    "program",
    "compile",
    "tried",
    "of",
    "seconds",
    "communicate in a loop",
    "rematerialise",
    "float32",
    "padding",
)


def summary(rows: list[dict[str, str]]) -> Iterator[list[str]]:
    """A row for each slice and program: how many models, the median of the seconds, and how many have each sign."""
    for place in dict.fromkeys((row["slice"], row["program"]) for row in rows):
        here = [row for row in rows if (row["slice"], row["program"]) == place]
        good = [row for row in here if row["outcome"] == "compiles"]
        seconds = statistics.median(float(row["compile_seconds"]) for row in good)
        signs = [("in_loops", 0.0), ("rematerialised", 0.0), ("float32_part", 0.05), ("padded_part", 0.5)]
        counts = [sum(float(row[name] or 0) > least for row in good) for name, least in signs]
        yield [*place, f"{len(good)}", f"{len(here)}", f"{len(models())}", f"{seconds:.1f}", *map(str, counts)]


def main() -> int:
    """Reads the table and writes its summary."""
    with open(FOLDER / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    write_measured(FOLDER / "README.md", markdown_table(COLUMNS, summary(rows), COLUMNS[2:]))
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("page", main))
