"""Puts the finished rows of workdirs into the results.csv of a study, beside those of runs that are not there.

    python scripts/keep_results.py experiments/joints runs/joints [runs/other ...]

A row takes the place of that of the same run and metric. Rows have the sequence of the study's sweep.py, those made by
other scripts (such as the speeds of samplers) after those of their run.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError
from arjax.sweep.results import FILE_NAME, read_csv, write_csv
from arjax.sweep.rows import load_sweep


def name_of_row(row: Mapping[str, Any]) -> str:
    """The run, or the row made of several runs, that a row's command makes; "" where the command names none."""
    flags = dict(word.split("=", 1) for word in shlex.split(row["command"]) if word.startswith("--") and "=" in word)
    return flags.get("--only") or flags.get("--workdir", "").removeprefix("runs/")


def merged_rows(
    before: Iterable[Mapping[str, Any]], now: Iterable[Mapping[str, Any]], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows of now, in place of earlier ones of the same run, model and metric, by the sequence of their `names`.

    Where both have rows of a data set and metric, none of them is marked as a tie: nobody has compared all of them.
    """
    now = list(now)
    key = lambda row: (name_of_row(row) or row["command"], row["model"], row["metric"])  # noqa: E731
    both = {key(row): dict(row) for row in [*before, *now]}
    made_now = set(map(key, now))
    group_of = {each: (row["dataset"], row["metric"]) for each, row in both.items()}
    mixed = {group_of[each] for each in made_now} & {group_of[each] for each in both.keys() - made_now}
    for each, row in both.items():
        if group_of[each] in mixed and row["tie"]:
            row["tie"] = ""
    places = {name: place for place, name in enumerate(names)}
    return sorted(both.values(), key=lambda row: places.get(name_of_row(row), len(places)))


def main(argv: Sequence[str]) -> int:
    """Reads, merges, writes."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="the folder with sweep.py")
    parser.add_argument("workdirs", type=Path, nargs="+", help="workdirs of its sweep")
    flags = parser.parse_args(argv)
    missing = [workdir for workdir in flags.workdirs if not (workdir / FILE_NAME).is_file()]
    if missing:
        raise UserError(f"{missing[0]} has no {FILE_NAME}: run its sweep first")
    order = [row.name for row in load_sweep(str(flags.study / "sweep.py"))]
    path = flags.study / FILE_NAME
    found = [row for workdir in flags.workdirs for row in read_csv(workdir / FILE_NAME)]
    rows = merged_rows(read_csv(path) if path.is_file() else [], found, order)
    write_csv(path, rows)
    print(f"{len(found)} rows of {len(flags.workdirs)} workdirs, {len(rows)} of {len(order)} runs in {path}")
    unknown = sorted({name_of_row(row) for row in rows} - {"", *order})
    if unknown:
        print(f"no longer in the sweep: {', '.join(unknown)}")
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("keep_results", lambda: main(sys.argv[1:])))
