"""`arjax-sweep --search`: trials of a space of configs, compared on validation."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path

from arjax.core.files import only_run_in, user_path, writable_folder
from arjax.reporting.tables import print_table
from arjax.sweep.execution import execute, tell_failures
from arjax.sweep.executors import Executor
from arjax.sweep.proposals import check_optuna
from arjax.sweep.results import result_row, with_stderr
from arjax.sweep.rows import check_runs
from arjax.sweep.search import Search, check_search, load_search
from arjax.sweep.trials import Trial, Trials

#: The exit code of `arjax` when the loss was not finite: another attempt would diverge, too.
DIVERGED = 3


def run_search(flags: argparse.Namespace, make_executor: Callable[[argparse.Namespace, Path, int], Executor]) -> int:
    """Runs the search of the sweep file until it has all of its trials; the exit code.

    Raises:
      UserError: a mistake in the file or the flags, optuna missing, or another search in the workdir.
    """
    search = load_search(flags.sweep)
    total = flags.trials or search.trials
    check_runs([search.run(0, search.example)], flags.sweep)
    check_search(search)
    if flags.dry_run:
        _print_plan(search, Trials(search, user_path(flags.workdir)), total)
        return 0
    check_optuna()
    workdir = writable_folder(flags.workdir)
    with only_run_in(workdir):
        trials = Trials(search, workdir)
        begun = trials.unfinished()
        left = max(total - len(trials.list), 0) + len(begun)
        print(f"{total} trials, {len(trials.list) - len(begun)} of them already ended", flush=True)
        failed = []
        executor = make_executor(flags, workdir, left)
        for run, code, problem in execute(executor, [trials.coming(total)], left, trials.table):
            if code == DIVERGED:
                trials.diverged(run)
            elif problem:
                failed.append(problem)
            else:
                trials.check(run)
            trials.write_table()
        _report(trials)
    return tell_failures(failed)


def _print_plan(search: Search, trials: Trials, total: int) -> None:
    """Prints the space, the trials so far, and the command of an example."""
    print_table(["field", "values"], [[field, str(values)] for field, values in search.space.items()])
    if trials.list:
        print_table(*trials.readable())
    print(search.run(len(trials.list), search.example).command())
    print(f"{total} trials by validation {search.metric}, {len(trials.list)} of them begun; the command is an example")


def _report(trials: Trials) -> None:
    """The table of trials, and the best by validation: the only one with a test score."""
    columns, cells = trials.readable()
    print_table(columns, cells, right=columns[-3:])
    print(f"{len(trials.list)} trials in {trials.write_table()}")
    best = trials.best()
    if best is not None:
        row = _best_row(trials, best)
        scores = f"validation {with_stderr(row, 'validation')}, test {with_stderr(row, 'value')} {row['metric']}"
        print(f"best by validation: {best.run.name}, {scores}; its row is in {trials.table.write([row])}")
        print(row["command"])


def _best_row(trials: Trials, best: Trial) -> dict[str, str]:
    """The row of the best trial; its model names the chosen values."""
    point = ", ".join(f"{field.rpartition('.')[2]} {value}" for field, value in best.point.items())
    row = result_row(best.run, trials.table.folders[best.run.name])
    run = dataclasses.replace(best.run, model=f"{best.run.model or row['model']}, {point}")
    return result_row(run, trials.table.folders[best.run.name])
