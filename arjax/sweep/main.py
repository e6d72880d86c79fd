"""The command `arjax-sweep`: runs all jobs of a sweep file and writes the table of their results."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arjax.cli.command_line import Parser, tell_mistakes, unknown_argument
from arjax.core.errors import UserError
from arjax.core.folders import only_run_in, writable_folder
from arjax.core.user_files import select
from arjax.core.values import parse_expression, parse_literal
from arjax.reporting.progress import format_duration
from arjax.reporting.tables import print_table
from arjax.sweep.curves import FILE_NAME as CURVES_NAME
from arjax.sweep.curves import draw_curves
from arjax.sweep.executors import LOG_NAME, Executor, LocalExecutor, last_line
from arjax.sweep.orders import FILE_NAME as ORDERS_NAME
from arjax.sweep.orders import draw_orders
from arjax.sweep.results import read_results, readable_columns
from arjax.sweep.rows import check_runs, load_sweep, runs_of
from arjax.sweep.runs import Run
from arjax.sweep.slurm import SlurmExecutor
from arjax.sweep.table import Table

EXIT_SOME_FAILED = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the sweep; 0 when all runs have results, 1 when some failed, 2 on a mistake in the command or the file."""
    return tell_mistakes("arjax-sweep", lambda: _sweep(_parse(sys.argv[1:] if argv is None else argv)))


def run() -> None:
    """Entry point of the console script."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end the jobs as on Ctrl-C instead of leaving them alone
    sys.exit(main())


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="arjax-sweep",
        description="Runs all jobs of a sweep file; finished ones are skipped, started ones go on where they were.",
        usage="arjax-sweep --sweep=experiments/NAME/sweep.py --workdir=DIR [--executor=local|population|slurm] "
        "[--jobs=N] ...",
        allow_abbrev=False,
    )
    parser.add_argument("--sweep", required=True, metavar="FILE.py", help="file that defines get_sweep()")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="each run gets a folder in it")
    parser.add_argument("--jobs", default=1, type=int, metavar="N", help="runs at once on this machine [1]")
    parser.add_argument(
        "--devices_per_job",
        type=int,
        metavar="N",
        help="devices of its own for each run on this machine",
    )
    parser.add_argument(
        "--executor",
        default="local",
        choices=("local", "population", "slurm"),
        help="a process for each run; one program for runs that differ in order and seed; a cluster [local]",
    )
    parser.add_argument("--only", default="", metavar="NAME,NAME", help="execute these runs only")
    parser.add_argument(
        "--slurm_options", default="", metavar="K=V,K=V", help="for submitit, such as slurm_partition=gpu"
    )
    flags, unknown = parser.parse_known_args(list(argv))
    if unknown:
        raise UserError(unknown_argument(unknown[0], parser))
    return flags


def _sweep(flags: argparse.Namespace) -> int:
    rows = load_sweep(flags.sweep)
    chosen = select(rows, flags.only, "run")
    selected = runs_of(chosen, rows)
    check_runs(selected, flags.sweep)
    workdir = writable_folder(flags.workdir)
    table = Table(rows, workdir, flags.sweep, ["--executor=population"] if flags.executor == "population" else [])
    with only_run_in(workdir):
        executor = _executor(flags, workdir)
        waiting = [run for run in selected if table.outcome(run) is None]
        print(f"{len(selected)} runs, {len(selected) - len(waiting)} of them already finished", flush=True)
        failed = execute(executor, waiting, table)
        failed += table.complaints(selected)
        not_made = _report(table)
    failed += [not_made[row.name] for row in chosen if row.name in not_made]
    for sentence in failed:
        print(f"arjax-sweep: {' '.join(sentence.split())}", file=sys.stderr)
    return EXIT_SOME_FAILED if failed else 0


def _executor(flags: argparse.Namespace, workdir: Path) -> Executor:
    if flags.executor == "local":
        return LocalExecutor(flags.jobs, flags.devices_per_job)
    if flags.executor == "population":
        if flags.jobs != 1 or flags.devices_per_job is not None:
            raise UserError("--jobs and --devices_per_job are for --executor=local: a population is one program")
        from arjax.sweep.population import PopulationExecutor  # with JAX, which would take the devices of other runs

        return PopulationExecutor(workdir)
    if flags.devices_per_job is not None:
        raise UserError("--devices_per_job is for this machine; on SLURM use --slurm_options=gpus_per_node=N")
    return SlurmExecutor(workdir, _slurm_options(flags.slurm_options))


def execute(executor: Executor, waiting: Sequence[Run], table: Table) -> list[str]:
    """Executes the waiting runs, telling each end and updating the table; returns the sentences of failed runs."""
    failed, start, folders = [], time.monotonic(), table.folders
    for done, (run, code) in enumerate(executor.execute(waiting, folders), start=1):
        folder = folders[run.name]
        how = "finished"
        if code == 0 and read_results(folder):
            table.finish(run)
            table.write(table.of_runs())
            if table.complaints([run]):
                how = "FAILED, as its results lack what its row tells"
        else:
            how = f"FAILED (exit code {code})" if code else "ended without results"
            failed.append(f"{run.name} {how}, see {folder}/{LOG_NAME}: {last_line(folder)}")
        left = (time.monotonic() - start) / done * (len(waiting) - done)
        print(f"[{done}/{len(waiting)}] {run.name} {how}  ETA {format_duration(left)}", flush=True)
    return failed


def _report(table: Table) -> dict[str, str]:
    """Writes the whole table and its pictures; returns by name why rows could not be made of their runs."""
    rows, not_made = table.whole()
    path = table.write(rows)
    if rows:
        columns, cells, right = readable_columns(rows)
        print_table(columns, cells, right=right)
    listed = [row for row in table.rows if not isinstance(row, Run) or row.listed]
    print(f"{len(rows)} of {len(listed)} rows in {path}")
    finished, folders = table.finished(), table.folders
    if draw_curves(table.workdir / CURVES_NAME, finished, folders):
        print(f"learning curves in {table.workdir / CURVES_NAME}")
    if draw_orders(table.workdir / ORDERS_NAME, finished, folders):
        print(f"scores by order in {table.workdir / ORDERS_NAME}")
    return not_made


def _slurm_options(text: str) -> dict[str, Any]:
    """`slurm_partition=gpu,timeout_min=60` -> {"slurm_partition": "gpu", "timeout_min": 60}."""
    options: dict[str, Any] = {}
    for item in filter(None, text.split(",")):
        key, separator, value = item.partition("=")
        if not separator:
            raise UserError(f"--slurm_options must read key=value,key=value, not {text!r}")
        try:
            options[key] = parse_literal(parse_expression(value))
        except ValueError:
            options[key] = value
    return options


if __name__ == "__main__":
    run()
