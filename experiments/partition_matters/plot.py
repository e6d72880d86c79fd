"""Times sampling of every finished run of the sweep, adds it to the table, and draws nats and speed over block size.

Run: python experiments/partition_matters/plot.py WORKDIR [--num=100] [--rounds=3]      (the workdir of the sweep)
"""

from __future__ import annotations

import argparse
import functools
import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import jax

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.config.build import build
from arjax.config.files import load_workdir_config
from arjax.core.errors import UserError
from arjax.reporting import figures
from arjax.sweep.results import FILE_NAME, read_csv, write_csv
from arjax.training.setup import restore_params

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from timing import time_in_turns

METRIC = "samples_per_second"
COLORS = {"independent": figures.SOFT, "mixture": figures.ACCENT, "nested": figures.INK}
NAMES = {"independent": "independent", "mixture": "mixture of products", "nested": "nested MADE"}
Points = dict[str, dict[int, float]]


def samples_per_second(folders: dict[str, Path], num: int, rounds: int) -> dict[str, float]:
    """Median speed of cached sampling in batches of `num`; the runs take turns, so that a busy machine slows all."""
    draws = {}
    for name, folder in folders.items():
        setup = build(load_workdir_config(folder))
        params, _, _ = restore_params(setup, folder)
        draws[name] = functools.partial(setup.model.sample, params, jax.random.key(0), num)
    seconds = time_in_turns(draws, rounds)
    return {name: num / statistics.median(taken) for name, taken in seconds.items()}


def run_of(row: dict[str, str]) -> str:
    """Name of the run of a row."""
    return row["command"].rpartition("--workdir=runs/")[2].split()[0]


def points(rows: Sequence[dict[str, str]], metric: str) -> Points:
    """form -> block size -> value; a block of one pixel stands in every form."""
    found: Points = {name: {} for name in NAMES}
    for row in rows:
        within, size = re.fullmatch(r"(\w+)-(\d+)", run_of(row)).groups()
        if row["metric"] == metric:
            for name in NAMES if size == "1" else (within,):
                found[name][int(size)] = float(row["value"])
    return found


def draw(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Test nats and samples per second over block size, one line for each form."""
    panels = (("nll_nats", "test nats", "What a bigger block costs"), (METRIC, "samples/s", "What it buys"))
    figure = figures.new_figure(9.0, 3.4)
    for axis, (metric, label, title) in zip(figures.row_of_axes(figure, 2), panels, strict=True):
        for name, values in points(rows, metric).items():
            sizes = sorted(values)
            axis.plot(sizes, [values[n] for n in sizes], "o-", color=COLORS[name], markersize=4, label=NAMES[name])
        axis.set_xscale("log", base=2)
        axis.set_xticks([1, 2, 4, 7, 14, 28], labels=["1", "2", "4", "7", "14", "28"])
        axis.minorticks_off()
        figures.label_axes(axis, "pixels per step", label, title)
        if metric == METRIC:
            axis.set_yscale("log")
        else:
            axis.legend(frameon=False, fontsize=9)
    figures.save_figure(figure, path)


def main(argv: Sequence[str]) -> int:
    """Reads the flags, times every run, writes the table again and the picture beside it."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path, help="workdir of the sweep")
    parser.add_argument("--num", type=int, default=100, help="samples of a batch")
    parser.add_argument("--rounds", type=int, default=3, help="times that each run is timed")
    flags = parser.parse_args(argv)
    table = flags.workdir / FILE_NAME
    if not table.is_file():
        raise UserError(f"{table} does not exist: run the sweep first")
    rows = [row for row in read_csv(table) if row["metric"] != METRIC]
    speed = samples_per_second({run_of(row): flags.workdir / run_of(row) for row in rows}, flags.num, flags.rounds)
    timed = [
        row | {"metric": METRIC, "value": f"{speed[run_of(row)]:.4g}", "value_stderr": "", "sites_per_second": ""}
        for row in rows
    ]
    rows += timed
    write_csv(table, rows)
    draw(flags.workdir / "blocks.png", rows)
    for row in timed:
        print(f"{row['model']}: {row['value']} samples/s")
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("plot", lambda: main(sys.argv[1:])))
