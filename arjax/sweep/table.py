"""The table of a sweep: the rows of its sweep file, the results of its runs, and the rows computed from them."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arjax.core.errors import UserError, did_you_mean
from arjax.core.files import reading, write_text
from arjax.core.user_files import find_file, run_user_file, split_argument
from arjax.reporting.reports import check_metric
from arjax.sweep.derived import Derived, Mean, Mixture, member
from arjax.sweep.results import FILE_NAME, lower_is_better, read_results, result_row, ties, validation_of, write_csv
from arjax.sweep.runs import Run, is_outdated, with_those_read

Row = Run | Derived
COMMAND_FILE = "command.txt"
#: The folders of configs and of sweep files that have short names.
CONFIGS, FOLDER = "configs", "configs/sweeps"


#: The function of a file in place of `get_sweep`, and the remedy.
SEARCHED = ("get_search", "it defines get_search(), so give --search=optuna")


def load_sweep(path: str) -> list[Row]:
    """The rows that `get_sweep()` of a sweep file returns, or `get_sweep(arg)` of `file.py:arg`; raises `UserError` for
    a missing or failing file, and for rows that cannot be.
    """
    name, arg = split_argument(path)
    path = str(find_file(name, FOLDER, "sweep file"))
    rows = run_user_file(path, "get_sweep", list, *([arg] if arg else []), instead=SEARCHED)
    if not rows:
        raise UserError(f"get_sweep() in {path} returns no runs")
    for row in rows:
        if not isinstance(row, Run | Mean | Mixture):
            kinds = " or ".join(f"arjax.sweep.{kind.__name__}" for kind in (Run, Mean, Mixture))
            raise UserError(f"get_sweep() in {path} must return {kinds} objects, not {row!r}")
    name, num = collections.Counter(row.name for row in rows).most_common(1)[0]
    if num > 1:
        raise UserError(f"two runs of {path} are named {name!r}")
    runs = {row.name: row for row in rows if isinstance(row, Run)}
    for row in rows:
        row.check(runs)
    return rows


def select(rows: Sequence[Row], only: str) -> list[Row]:
    """The rows named in a comma-separated list; all of them for "". Raises `UserError` for an unknown name."""
    by_name = {row.name: row for row in rows}
    chosen = [name for name in map(str.strip, only.split(",")) if name]
    for name in chosen:
        if name not in by_name:
            raise UserError(f"there is no run {name!r} in the list{did_you_mean(name, by_name)}")
    return [by_name[name] for name in chosen] if only else list(rows)


def runs_of(selected: Sequence[Row], rows: Sequence[Row], workdir: Path) -> list[Run]:
    """The runs among the selected rows, the members of the others, and all runs that these read, as the file lists
    them.
    """
    runs = [row for row in rows if isinstance(row, Run)]
    members = (row.of if isinstance(row, Derived) else (row.name,) for row in selected)
    names = with_those_read(itertools.chain(*members), runs, workdir)
    return [run for run in runs if run.name in names]


def check_runs(runs: Sequence[Run], path: str) -> None:
    """Raises `UserError` for a config file that does not exist, or a metric that no run has."""
    for run in runs:
        check_metric(run.metric, f"run {run.name!r}")
        try:
            find_file(split_argument(run.config)[0], CONFIGS)
        except UserError as error:
            sentence = f"run {run.name!r} of {path} names a config file that does not exist: {run.config!r}"
            raise UserError(sentence) from error


@dataclasses.dataclass(frozen=True)
class Table:
    """The rows of a sweep in its workdir.

    Attributes:
      rows: as the sweep file lists them.
      workdir: holds a folder for each run, of its name, and the table.
      sweep: the sweep file; with `options` the command of a row that is made of several runs.
      options: further flags of that command.
      outdated: by name, whether the config file of a finished run gives another config by now, as far as it was read.
    """

    rows: Sequence[Row]
    workdir: Path
    sweep: str
    options: Sequence[str] = ()
    outdated: dict[str, bool] = dataclasses.field(default_factory=dict)

    def resolved(self, run: Run) -> Run:
        """The run with the overrides of the best of its pilots on validation; as it is while one has no such score."""
        if not run.pilots:
            return run
        pilots = [row for row in self.rows if isinstance(row, Run) and row.name in run.pilots]
        scores = {pilot.name: self._validation(pilot, run.metric) for pilot in pilots}
        if any(map(math.isnan, scores.values())):
            return run
        best = (min if lower_is_better(run.metric) else max)(pilots, key=lambda pilot: scores[pilot.name])
        return dataclasses.replace(run, overrides={**best.overrides, **run.overrides}, pilots=())

    def _validation(self, run: Run, metric: str) -> float:
        """The score of a finished run on validation; nan while there is none."""
        folder = self.workdir / run.name
        results = read_results(folder) if self.is_finished(run) else None
        return math.nan if results is None else validation_of(metric, results)[0]

    def finish(self, run: Run) -> None:
        """Notes that the folder of the run holds its results."""
        write_text(self.workdir / run.name / COMMAND_FILE, run.command())
        self.outdated[run.name] = False

    def is_finished(self, run: Run) -> bool:
        """Whether its folder holds the results of exactly this run: a run whose row or whose config file has changed is
        executed again.
        """
        run = self.resolved(run)
        ended = not run.pilots and self.command_of(run) == run.command()
        return ended and bool(read_results(self.workdir / run.name)) and not self.is_outdated(run)

    def is_outdated(self, run: Run) -> bool:
        """Whether the config file of a finished run gives another config by now; it is read once."""
        if run.name not in self.outdated:
            self.outdated[run.name] = is_outdated(run, self.workdir)
        return self.outdated[run.name]

    def command_of(self, run: Run) -> str:
        """The command with which its folder was noted as finished; "" where it was not."""
        path = self.workdir / run.name / COMMAND_FILE
        with reading(path):
            return path.read_bytes().decode(errors="replace") if path.exists() else ""

    def outcome(self, run: Run) -> dict[str, Any] | UserError | None:
        """The row of a finished run, or why it has none, such as a metric it lacks; None when unfinished."""
        try:
            return result_row(self.resolved(run), self.workdir / run.name) if self.is_finished(run) else None
        except UserError as error:
            return error

    def finished(self) -> list[Run]:
        """The runs that have a row, with the overrides of their pilots."""
        runs = [self.resolved(row) for row in self.rows if isinstance(row, Run)]
        return [run for run in runs if isinstance(self.outcome(run), dict)]

    def complaints(self, runs: Sequence[Run]) -> list[str]:
        """A sentence for each run that has ended and has no row."""
        return [str(error) for run in runs if isinstance(error := self.outcome(run), UserError)]

    def made(self, derived: bool = True) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """The rows so far, in the sequence of the sweep file; and, by name, the reasons of those that cannot be made.

        `derived`: with those computed from finished runs, which may take minutes.
        """
        finished = {run.name: run for run in self.finished()}
        rows: list[dict[str, Any]] = []
        nats: list[np.ndarray | None] = []
        failed: dict[str, str] = {}
        for row in self.rows:
            try:
                if isinstance(row, Run):
                    outcome = self.outcome(row) if row.listed else None
                    if isinstance(outcome, dict):
                        rows.append(outcome)
                        found = member(finished[row.name], self.workdir / row.name).nats() if derived else None
                        nats.append(None if found is None else found[None])
                elif derived and all(name in finished for name in row.of):
                    members = [member(finished[name], self.workdir / name) for name in row.of]
                    rows.append(row.row(members) | {"command": self.command(row)})
                    nats.append(row.nats(members))
            except UserError as error:
                failed[row.name] = str(error)
        return [made | {"tie": tie} for made, tie in zip(rows, ties(rows, nats), strict=True)], failed

    def command(self, row: Derived) -> str:
        """The command that makes the row again, with its runs."""
        workdir = f"runs/{self.workdir.resolve().name}"
        flags = [f"--sweep={self.sweep}", f"--workdir={workdir}", *self.options, f"--only={row.name}"]
        return shlex.join(["arjax-sweep", *flags])

    def write(self, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Writes `results.csv`; returns its path."""
        write_csv(self.workdir / FILE_NAME, rows)
        return self.workdir / FILE_NAME
