"""The command `arjax-sweep`: runs all jobs of a sweep file and writes the table of their results."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arjax.cli.command_line import Parser, only_run_in, tell_mistakes, unknown_argument, writable_folder
from arjax.core.errors import UserError
from arjax.core.files import reading, write_text
from arjax.core.user_files import select
from arjax.core.values import parse_expression, parse_literal
from arjax.reporting.progress import format_duration
from arjax.reporting.tables import print_table
from arjax.sweep.curves import FILE_NAME as CURVES_NAME
from arjax.sweep.curves import draw_curves
from arjax.sweep.executors import LOG_NAME, Executor, LocalExecutor, last_line
from arjax.sweep.results import FILE_NAME, read_results, readable_columns, result_row, write_csv
from arjax.sweep.runs import Run, check_runs, load_sweep
from arjax.sweep.slurm import SlurmExecutor

EXIT_SOME_FAILED = 1
COMMAND_FILE = "command.txt"


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
        usage="arjax-sweep --sweep=experiments/NAME/sweep.py --workdir=DIR [--jobs=N] [--executor=local|slurm] ...",
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
    parser.add_argument("--executor", default="local", choices=("local", "slurm"), help="where to run [local]")
    parser.add_argument("--only", default="", metavar="NAME,NAME", help="execute these runs only")
    parser.add_argument(
        "--slurm_options", default="", metavar="K=V,K=V", help="for submitit, such as slurm_partition=gpu"
    )
    flags, unknown = parser.parse_known_args(list(argv))
    if unknown:
        raise UserError(unknown_argument(unknown[0], parser))
    return flags


def _sweep(flags: argparse.Namespace) -> int:
    runs = load_sweep(flags.sweep)
    selected = select(runs, flags.only, "run")
    check_runs(selected, flags.sweep)
    workdir = writable_folder(flags.workdir)
    folders = {run.name: workdir / run.name for run in runs}
    with only_run_in(workdir):
        executor = _executor(flags, workdir)
        waiting = [run for run in selected if outcome(run, folders[run.name]) is None]
        print(f"{len(selected)} runs, {len(selected) - len(waiting)} of them already finished", flush=True)
        failed = execute(executor, waiting, runs, folders, workdir)
        failed += complaints(selected, folders)
        _report(runs, folders, workdir, failed)
    return EXIT_SOME_FAILED if failed else 0


def _executor(flags: argparse.Namespace, workdir: Path) -> Executor:
    if flags.executor == "local":
        return LocalExecutor(flags.jobs, flags.devices_per_job)
    if flags.devices_per_job is not None:
        raise UserError("--devices_per_job is for this machine; on SLURM use --slurm_options=gpus_per_node=N")
    return SlurmExecutor(workdir, _slurm_options(flags.slurm_options))


def is_finished(run: Run, folder: Path) -> bool:
    """Whether the folder holds the results of exactly this run; a run whose row has changed is executed again."""
    command = folder / COMMAND_FILE
    with reading(command):
        same = command.exists() and command.read_bytes() == run.command().encode()
    return same and bool(read_results(folder))


def outcome(run: Run, folder: Path) -> dict[str, Any] | UserError | None:
    """The row of a finished run, or the reason why it has none, such as a metric it lacks; None when unfinished."""
    try:
        return result_row(run, folder) if is_finished(run, folder) else None
    except UserError as error:
        return error


def execute(
    executor: Executor, waiting: Sequence[Run], runs: Sequence[Run], folders: Mapping[str, Path], workdir: Path
) -> list[str]:
    """Executes the waiting runs, telling each end and updating the table; returns the sentences of failed runs."""
    failed, start = [], time.monotonic()
    for done, (run, code) in enumerate(executor.execute(waiting, folders), start=1):
        folder = folders[run.name]
        how = "finished"
        if code == 0 and read_results(folder):
            write_text(folder / COMMAND_FILE, run.command())
            write_csv(workdir / FILE_NAME, collect(runs, folders))
            if complaints([run], folders):
                how = "FAILED, as its results lack what its row tells"
        else:
            how = f"FAILED (exit code {code})" if code else "ended without results"
            failed.append(f"{run.name} {how}, see {folder}/{LOG_NAME}: {last_line(folder)}")
        left = (time.monotonic() - start) / done * (len(waiting) - done)
        print(f"[{done}/{len(waiting)}] {run.name} {how}  ETA {format_duration(left)}", flush=True)
    return failed


def collect(runs: Sequence[Run], folders: Mapping[str, Path]) -> list[dict[str, Any]]:
    """The rows of all finished runs, in the order of the sweep file; without those that `complaints` names."""
    return [row for run in runs if isinstance(row := outcome(run, folders[run.name]), dict)]


def complaints(runs: Sequence[Run], folders: Mapping[str, Path]) -> list[str]:
    """A sentence for each run that has ended and has no row; see `outcome`."""
    return [str(error) for run in runs if isinstance(error := outcome(run, folders[run.name]), UserError)]


def _report(runs: Sequence[Run], folders: Mapping[str, Path], workdir: Path, failed: Sequence[str]) -> None:
    rows = collect(runs, folders)
    write_csv(workdir / FILE_NAME, rows)
    if rows:
        columns, cells, right = readable_columns(rows)
        print_table(columns, cells, right=right)
    print(f"{len(rows)} of {len(runs)} rows in {workdir / FILE_NAME}")
    finished = [run for run in runs if isinstance(outcome(run, folders[run.name]), dict)]
    if draw_curves(workdir / CURVES_NAME, finished, folders):
        print(f"learning curves in {workdir / CURVES_NAME}")
    for sentence in failed:
        print(f"arjax-sweep: {sentence}", file=sys.stderr)


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
