"""arjax-sweep --search: the trials of a search, kept in search.json, from which a search that was killed goes on."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from arjax.core.errors import UserError
from arjax.core.files import only_run_in, read_json_object, user_path, writable_folder, write_json
from arjax.reporting.tables import print_table
from arjax.sweep.executors import Executor, execute, tell_failures
from arjax.sweep.results import number, read_results, result_row, validation_of, with_stderr, write_csv
from arjax.sweep.runs import Run
from arjax.sweep.search import FAILED, FINISHED, RUNNING, Past, Search, check_optuna, load_search, propose
from arjax.sweep.table import Table

RECORD_NAME = "search.json"
TABLE_NAME = "trials.csv"
#: The exit code of `arjax` when the loss was not finite: another attempt would diverge, too.
DIVERGED = 3


@dataclasses.dataclass
class Trial:
    """A trial of a search.

    Attributes:
      run: its run.
      point: its values, by field.
      diverged: whether it ended because its loss was not finite; other failed trials go on at the next start.
    """

    run: Run
    point: dict[str, Any]
    diverged: bool = False


class Trials:
    """All trials of a search so far, in the order in which they were proposed; kept in the workdir."""

    def __init__(self, search: Search, workdir: Path):
        """Reads the trials so far; raises `UserError` when the workdir holds another search."""
        self.search, self._path, self.list = search, workdir / RECORD_NAME, []
        self.table = Table([], workdir, "")
        if not self._path.exists():
            return
        record = read_json_object(self._path) or {}
        if not isinstance(record.get("search"), dict) or not _are_trials(record.get("trials")):
            raise UserError(f"{self._path} is damaged: it does not list the trials of this search")
        found, asked = record["search"], search.description()
        for name in asked:
            if found.get(name) != asked[name]:
                raise UserError(
                    f"{workdir} holds a search with another {name}: {found.get(name)!r} there, {asked[name]!r} now; "
                    "choose another --workdir"
                )
        for i, each in enumerate(record["trials"]):
            self.list.append(Trial(search.run(i, each["point"]), each["point"], each["diverged"]))

    def coming(self, total: int) -> Iterator[Run]:
        """The runs to execute until there are `total` trials: those that were begun, then new ones."""
        for trial in self.list:
            if self.state(trial) == FINISHED:
                self.check(trial.run)
        yield from [trial.run for trial in self.unfinished()]
        while len(self.list) < total:
            past = [Past(trial.point, self.state(trial), self._score(trial)) for trial in self.list]
            point = propose(self.search.space, past, self.search.seed)
            self.list.append(Trial(self.search.run(len(self.list), point), point))
            self._save()
            yield self.list[-1].run

    def unfinished(self) -> list[Trial]:
        """The trials that were begun and have neither results nor diverged."""
        return [trial for trial in self.list if self.state(trial) == RUNNING]

    def diverged(self, run: Run) -> None:
        """Notes that the loss of a trial was not finite."""
        next(trial for trial in self.list if trial.run is run).diverged = True
        self._save()

    def check(self, run: Run) -> None:
        """Raises `UserError` unless a run that has results has the score on validation by which trials are compared."""
        if math.isnan(self.validation(run)[0]):
            raise UserError(f"{run.name} has no {run.metric} on validation, by which a search compares its trials")

    def state(self, trial: Trial) -> str:
        """`FINISHED`, `FAILED` or `RUNNING`."""
        return FAILED if trial.diverged else FINISHED if self.table.is_finished(trial.run) else RUNNING

    def validation(self, run: Run) -> tuple[float, float]:
        """The metric of a finished run on validation, and its standard error; nan where it has none."""
        folder = self.table.folders[run.name]
        return validation_of(run.metric, read_results(folder) or {}, folder)

    def best(self) -> Trial | None:
        """The finished trial that is best on validation."""
        finished = [trial for trial in self.list if self.state(trial) == FINISHED]
        return min(finished, key=lambda trial: self.validation(trial.run)[0], default=None)

    def rows(self) -> list[dict[str, Any]]:
        """A row for each trial, the best first, then those without a score. No number of the test split."""
        found = []
        for trial in self.list:
            state = self.state(trial)
            results = (read_results(self.table.folders[trial.run.name]) or {}) if state == FINISHED else {}
            value, stderr = self.validation(trial.run) if results else (math.nan, math.nan)
            about = {"trial": trial.run.name, "state": "diverged" if trial.diverged else state, **trial.point}
            about |= {"validation": number(value), "validation_stderr": number(stderr, digits=3)}
            about |= {"best_step": results.get("best_step", ""), "num_params": results.get("num_params", "")}
            minutes = results.get("train_seconds", math.nan) / 60
            found.append(about | {"train_minutes": number(minutes, digits=3), "command": trial.run.command()})
        return sorted(found, key=lambda row: float(row["validation"] or math.inf))

    def write_table(self) -> Path:
        """Writes `trials.csv`; returns its path."""
        path, rows = self._path.parent / TABLE_NAME, self.rows()
        write_csv(path, rows, list(rows[0]))
        return path

    def readable(self) -> tuple[list[str], list[list[str]]]:
        """The columns and the cells of the readable table."""
        fields, cells = list(self.search.space), []
        for row in self.rows():
            shown = [row[name] for name in ("trial", "state", *fields)]
            shown += [with_stderr(row, "validation"), row["best_step"], row["train_minutes"]]
            cells.append(list(map(str, shown)))
        return ["trial", "state", *fields, f"validation {self.search.metric}", "best step", "minutes"], cells

    def _score(self, trial: Trial) -> float | None:
        return self.validation(trial.run)[0] if self.state(trial) == FINISHED else None

    def _save(self) -> None:
        trials = [{"point": trial.point, "diverged": trial.diverged} for trial in self.list]
        write_json(self._path, {"search": self.search.description(), "trials": trials})


def _are_trials(found: Any) -> bool:
    """Whether a value of `search.json` lists trials."""
    return isinstance(found, list) and all(
        isinstance(each, dict) and isinstance(each.get("point"), dict) and isinstance(each.get("diverged"), bool)
        for each in found
    )


def run_search(flags: argparse.Namespace, make_executor: Callable[[argparse.Namespace, Path, int], Executor]) -> int:
    """Runs the search of the sweep file until it has all of its trials; the exit code.

    Raises:
      UserError: a mistake in the file or the flags, optuna missing, or another search in the workdir.
    """
    search = load_search(flags.sweep)
    total = flags.trials or search.trials
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
