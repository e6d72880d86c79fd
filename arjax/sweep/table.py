"""The table of a sweep: which of its runs have ended, and the rows that are made of them."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arjax.core.errors import UserError, say_once
from arjax.sweep.results import FILE_NAME, Finished, lower_is_better, ties, write_csv
from arjax.sweep.rows import Derived, Row
from arjax.sweep.runs import Run, outdated


@dataclasses.dataclass(frozen=True)
class Table:
    """The rows of a sweep in its workdir, which holds a folder for each run and the table.

    Attributes:
      sweep: the sweep file; with `options` the command of a row that is made of several runs.
      outdated: by name, in words, why the results of a run no longer belong to its row; "" if they do.
    """

    rows: Sequence[Row]
    workdir: Path
    sweep: str
    options: Sequence[str] = ()
    outdated: dict[str, str] = dataclasses.field(default_factory=dict)

    def resolved(self, run: Run) -> Run:
        """The run with the overrides of the best of its pilots on validation; as it is before one has a score."""
        if not run.pilots:
            return run
        pilots = [row for row in self.rows if isinstance(row, Run) and row.name in run.pilots]
        ended = [self.finished(dataclasses.replace(pilot, metric=run.metric)) for pilot in pilots]
        scores = [pilot.validation()[0] if pilot else math.nan for pilot in ended]
        if any(map(math.isnan, scores)):
            return run
        best = pilots[scores.index(min(scores) if lower_is_better(run.metric) else max(scores))]
        return dataclasses.replace(run, overrides={**best.overrides, **run.overrides}, pilots=())

    def finished(self, run: Run) -> Finished | None:
        """Returns the run with the overrides of its pilots and its results; None if its folder does not hold the
        results of exactly this run: it is executed again if its row or config file has changed.
        """
        run = self.resolved(run)
        ended = None if run.pilots else Finished.read(run, self.workdir / run.name)
        if ended is not None and run.name not in self.outdated:
            self.outdated[run.name] = outdated(run, self.workdir)
        return None if ended is None or self.outdated[run.name] else ended

    def outcome(self, run: Run) -> Finished | UserError | None:
        """Returns a run that has a row, the reason why an ended run has none (it lacks its metric), or None before."""
        try:
            ended = self.finished(run)
            if ended is not None:
                ended.row()
            return ended
        except UserError as error:
            return error

    def all_finished(self) -> list[Finished]:
        outcomes = [self.outcome(row) for row in self.rows if isinstance(row, Run)]
        return [outcome for outcome in outcomes if isinstance(outcome, Finished)]

    def complaints(self, runs: Sequence[Run]) -> list[str]:
        return [str(error) for run in runs if isinstance(error := self.outcome(run), UserError)]

    def made(self, derived: bool = True) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """Returns the rows so far, and by name why others cannot be made; `derived`: also rows of several runs."""
        finished = {ended.run.name: ended for ended in self.all_finished()}
        made: list[tuple[dict[str, Any], Run, np.ndarray | None]] = []
        failed: dict[str, str] = {}
        for row in self.rows:
            try:
                if isinstance(row, Run):
                    if row.listed and row.name in finished:
                        ended = finished[row.name]
                        nats_N = ended.nats() if derived else None
                        made.append((ended.row(), ended.run, None if nats_N is None else nats_N[None]))
                elif derived and all(name in finished for name in row.of):
                    of_several, nats_SN = row.made([finished[name] for name in row.of])
                    made.append((of_several | {"command": self.command(row)}, finished[row.of[0]].run, nats_SN))
                elif derived:
                    lacking = ", ".join(name for name in row.of if name not in finished)
                    failed[row.name] = f"the row {row.name!r} needs {lacking}, without results"
            except UserError as error:
                failed[row.name] = str(error)
        _tell_apart([(row, run) for row, run, _ in made])
        rows = [row for row, _, _ in made]
        marks = ties(rows, [nats for _, _, nats in made])
        return [row | {"tie": tie} for row, tie in zip(rows, marks, strict=True)], failed

    def command(self, row: Derived) -> str:
        workdir = f"runs/{self.workdir.resolve().name}"
        flags = [f"--sweep={self.sweep}", f"--workdir={workdir}", *self.options, f"--only={row.name}"]
        return shlex.join(["arjax-sweep", *flags])

    def write(self, rows: Sequence[Mapping[str, Any]]) -> Path:
        path, before = self.workdir / FILE_NAME, self.workdir / f"earlier_{FILE_NAME}"
        if not rows and path.is_file() and path.read_bytes().count(b"\n") > 1:
            say_once(f"no run of this sweep has finished: {path}, with rows of an earlier one, is now {before}")
            path.replace(before)
        write_csv(path, rows)
        return path


def _tell_apart(rows: Sequence[tuple[dict[str, Any], Run]]) -> None:
    """Adds to the models of rows that would be the same the fields in which their runs, or their first ones, differ."""
    groups: dict[tuple[Any, ...], list[tuple[dict[str, Any], dict[str, str]]]] = {}
    for row, run in rows:
        alike = tuple(row[name] for name in ("dataset", "model", "ordering", "seed", "metric"))
        groups.setdefault(alike, []).append((row, {"config": run.config, **dict(run.override_texts())}))
    for group in groups.values():
        for row, fields in group:
            differ = [name for name, text in fields.items() if any(other.get(name) != text for _, other in group)]
            row["model"] += "".join(f", {name.rpartition('.')[2]} {fields[name]}" for name in differ)
