"""The command `arjax-sweep`: runs all jobs of a sweep file and writes the table of their results."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from arjax.cli.command_line import tell_mistakes
from arjax.cli.completion import answer
from arjax.core.errors import UserError
from arjax.core.files import folder_to_write, only_run_in, user_path
from arjax.core.trust import trusting
from arjax.core.user_files import select
from arjax.reporting.tables import print_table
from arjax.sweep.curves import FILE_NAME as CURVES_NAME
from arjax.sweep.curves import draw_curves
from arjax.sweep.dots import FILE_NAME as RESULTS_NAME
from arjax.sweep.dots import draw_results
from arjax.sweep.dry_run import print_runs
from arjax.sweep.execution import execute, tell_failures
from arjax.sweep.executors import Executor, LocalExecutor
from arjax.sweep.flags import parse_flags, slurm_options
from arjax.sweep.orders import FILE_NAME as ORDERS_NAME
from arjax.sweep.orders import draw_orders
from arjax.sweep.results import readable_columns
from arjax.sweep.rows import check_runs, load_sweep, runs_of
from arjax.sweep.runs import Run
from arjax.sweep.searching import run_search
from arjax.sweep.seeds import mean_over_seeds
from arjax.sweep.slurm import SlurmExecutor
from arjax.sweep.stages import reads, stages
from arjax.sweep.table import Table


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the sweep; 0 when all runs have results, 1 when some failed, 2 on a mistake in the command or the file."""

    def call() -> int:
        arguments = sys.argv[1:] if argv is None else argv
        if arguments[:1] == ["--complete"]:
            return answer("arjax-sweep", arguments[1:])
        return _main(parse_flags(arguments))

    return tell_mistakes("arjax-sweep", call)


def run() -> None:
    """Entry point of the console script."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end the jobs as on Ctrl-C instead of leaving them alone
    sys.exit(main())


def _main(flags: argparse.Namespace) -> int:
    with trusting(flags.trust):
        return run_search(flags, _executor) if flags.search else _sweep(flags)


def _sweep(flags: argparse.Namespace) -> int:
    rows = load_sweep(flags.sweep)
    rows = mean_over_seeds(rows) if flags.seeds == "mean" else rows
    chosen = select(rows, flags.only, "run")
    selected = runs_of(chosen, rows)
    check_runs(selected, flags.sweep)
    options = ["--executor=population"] if flags.executor == "population" else []
    options += ["--seeds=mean"] if flags.seeds == "mean" else []
    if flags.dry_run:
        return print_runs(selected, Table(rows, user_path(flags.workdir), flags.sweep, options), flags.dry_run)
    with folder_to_write(flags.workdir) as workdir, only_run_in(workdir):
        table = Table(rows, workdir, flags.sweep, options)
        waiting = [run for run in selected if table.outcome(run) is None]
        largest = max(map(len, stages(waiting, reads(waiting, table.folders))), default=0)
        executor = _executor(flags, workdir, largest)
        print(f"{len(selected)} runs, {len(selected) - len(waiting)} of them already finished", flush=True)
        _tell_changed(waiting, table)
        failed = []
        for _, _, problem in execute(executor, _stages(waiting, table, failed), len(waiting), table):
            failed += [problem] if problem else []
            table.write(table.of_runs())
        failed += table.complaints(selected)
        not_made = _report(table)
    failed += [not_made[row.name] for row in chosen if row.name in not_made]
    return tell_failures(failed)


def _tell_changed(runs: Sequence[Run], table: Table) -> None:
    """Prints the former and the present command of each run that was finished and whose row has changed since."""
    for run in runs:
        run, before = table.resolved(run), table.command_of(run)
        if before and before != run.command() and not run.pilots:
            print(
                f"    {run.name} has changed since it was finished\n      by  {before}\n      now {run.command()}",
                flush=True,
            )


def _stages(runs: Sequence[Run], table: Table, failed: list[str]) -> Iterator[list[Run]]:
    """The runs of each stage, when those before have ended; `failed` gets those that read a run without results."""
    needs, by_name = reads(runs, table.folders), {run.name: run for run in runs}
    for stage in stages(runs, needs):
        lacks = {run.name: [n for n in sorted(needs[run.name]) if not table.is_finished(by_name[n])] for run in stage}
        failed += [
            f"{name} was not started: it reads {of[0]}, which has no results" for name, of in lacks.items() if of
        ]
        ready = [table.resolved(run) for run in stage if not lacks[run.name]]
        failed += [f"{run.name} was not started: its pilots have no score on validation" for run in ready if run.pilots]
        yield [run for run in ready if not run.pilots]


def _executor(flags: argparse.Namespace, workdir: Path, most: int) -> Executor:
    """The executor of the flags; `most`: the number of runs of the largest stage."""
    more = ["--trust"] * flags.trust
    if flags.executor == "local":
        return LocalExecutor(1 if flags.jobs is None else flags.jobs, flags.devices_per_job, most=most, more=more)
    if flags.executor == "population":
        if flags.jobs not in (None, 1) or flags.devices_per_job is not None:
            raise UserError("--jobs and --devices_per_job are for --executor=local: a population is one program")
        from arjax.sweep.population import PopulationExecutor  # with JAX, which would take the devices of other runs

        return PopulationExecutor(workdir)
    if flags.devices_per_job is not None:
        raise UserError("--devices_per_job is for this machine; on SLURM use --slurm_options=gpus_per_node=N")
    return SlurmExecutor(workdir, slurm_options(flags.slurm_options), jobs=flags.jobs, more=more)


def _report(table: Table) -> dict[str, str]:
    """Writes the whole table and its plots; returns, by name, the reasons of missing rows."""
    rows, not_made = table.whole()
    path = table.write(rows)
    if rows:
        columns, cells, right = readable_columns(rows)
        print_table(columns, cells, right=right)
    listed = [row for row in table.rows if not isinstance(row, Run) or row.listed]
    print(f"{len(rows)} of {len(listed)} rows in {path}")
    if draw_results(table.workdir / RESULTS_NAME, rows):
        print(f"scores of all rows in {table.workdir / RESULTS_NAME}")
    finished, folders = table.finished(), table.folders
    if draw_curves(table.workdir / CURVES_NAME, finished, folders):
        print(f"learning curves in {table.workdir / CURVES_NAME}")
    if draw_orders(table.workdir / ORDERS_NAME, finished, folders):
        print(f"scores by order in {table.workdir / ORDERS_NAME}")
    return not_made


if __name__ == "__main__":
    run()
