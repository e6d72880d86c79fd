"""The table of a sweep: grids of runs, the rows of its sweep file, and the results of its runs."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arjax.core.errors import UserError, did_you_mean, refuse
from arjax.core.files import find_file, reading, split_argument, write_text
from arjax.core.plugins import run_user_file
from arjax.reporting.reports import check_metric
from arjax.sweep.results import (
    FILE_NAME,
    Derived,
    Mean,
    Mixture,
    lower_is_better,
    mean_of,
    member,
    read_results,
    result_row,
    ties,
    validation_of,
    write_csv,
)
from arjax.sweep.runs import WORKDIR, Run, flag_text, is_outdated, with_those_read

Row = Run | Derived
COMMAND_FILE = "command.txt"
#: The folders of configs and of sweep files that have short names.
CONFIGS, FOLDER = "configs", "configs/sweeps"


#: Longest value in the name of a folder; longer ones are cut.
_LONGEST_VALUE = 60
#: The function of a file in place of `get_sweep`, and the remedy.
SEARCHED = ("get_search", "it defines get_search(), so give --search=optuna")


def grid(
    config: str,
    values: Mapping[str, Iterable[Any]],
    name: str = "",
    mean_over: str = "",
    overrides: Mapping[str, Any] | None = None,
    **about: Any,
) -> list[Run | Mean]:
    """One run for every combination of values, in the sequence of nested loops over the fields.

    A field in braces in `config` is an argument of the config file, `configs/digits.py:network={network}`;
    every other one is a config field that is set.

    Args:
      config: config file with its argument.
      values: of each field, `{"model.ordering": ["raster", "spiral"], "seed": range(3)}`.
      name: of a run, with fields in braces by their whole name or its last part: `{ordering}-{seed}`. Characters that
        no folder may have are replaced. "": the values, in the sequence of the fields.
      mean_over: a field such as "seed": runs that differ in it alone have one row, their `Mean`, and none of their own.
      overrides: config fields to set in all runs.
      **about: further fields of `Run`, such as `model`, `metric` or `published`; texts may hold fields in braces.
    """
    choices = {field: _choices(field, of_field) for field, of_field in values.items()}
    if mean_over and mean_over not in choices:
        raise UserError(f"the grid has no field {mean_over!r} to average over{did_you_mean(mean_over, choices)}")
    template = name or "-".join(f"{{{field}}}" for field in choices)
    slugs = {field: _slugs(texts) for field, texts in choices.items()}
    runs: dict[str, Run] = {}
    groups: dict[str, list[Run]] = {}
    for texts in itertools.product(*choices.values()):
        point = dict(zip(choices, texts, strict=True))
        parts = {field: slugs[field][text] for field, text in point.items()}
        file, fields = split_fields(config, point)
        words: dict[str, Any] = {"listed": False} if mean_over else {}
        words |= {key: fill_fields(value, point) if isinstance(value, str) else value for key, value in about.items()}
        run = Run(fill_fields(template, parts), file, {**(overrides or {}), **fields}, **words)
        if run.name in runs:
            fields_of_name = ", ".join(choices)
            raise UserError(f"two runs of the grid are named {run.name!r}: put more of {fields_of_name} in its name")
        runs[run.name] = run
        groups.setdefault(fill_fields(template, parts | {mean_over: "mean"}), []).append(run)
    return [*runs.values(), *(mean_of(row, group) for row, group in groups.items() if mean_over)]


def split_fields(config: str, point: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The config file with its argument, and the fields to set: those without braces in `config`."""
    in_file = {field for field in point if f"{{{field}}}" in config}
    fields = {field: value for field, value in point.items() if field not in in_file}
    return fill_fields(config, {field: flag_text(point[field]) for field in in_file}), fields


def fill_fields(text: str, point: Mapping[str, str]) -> str:
    """The text with values in place of the fields in braces."""
    known = {field.rpartition(".")[2]: field for field in reversed(list(point))} | {field: field for field in point}

    def value(match: re.Match) -> str:
        if match[0] == WORKDIR and match[1] not in known:
            return WORKDIR
        if match[1] not in known:
            raise UserError(f"{text!r} names the field {match[1]!r}{did_you_mean(match[1], known)}, not in the grid")
        return point[known[match[1]]]

    return re.sub(r"{(\w[\w.]*)}", value, text)


def _choices(field: str, values: Iterable[Any]) -> list[str]:
    """The values of a field as on a command line."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise UserError(f"field {field!r} of the grid needs a list of values, not {values!r}")
    texts = [flag_text(value) for value in values]
    refuse(
        (not texts, f"field {field!r} of the grid has no values"),
        (len(set(texts)) < len(texts), f"field {field!r} of the grid has the same value twice: {', '.join(texts)}"),
    )
    return texts


def _slugs(texts: Sequence[str]) -> dict[str, str]:
    """The values of a field as parts of a folder's name, each another: `random(seed=3)` -> `random-seed=3`."""
    slugs = {text: _slug(text) for text in texts}
    num = collections.Counter(slugs.values())
    return {text: slug if num[slug] == 1 else _hashed(slug, text) for text, slug in slugs.items()}


def _slug(text: str) -> str:
    text = re.sub(r"(?<!\w)-(?=[\d.])", "minus", text)
    slug = re.sub(r"[^\w.+=-]+", "-", text).strip("-.+=")
    return slug if 0 < len(slug) <= _LONGEST_VALUE else _hashed(slug[:_LONGEST_VALUE], text)


def _hashed(slug: str, text: str) -> str:
    return f"{slug}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".lstrip("-")


def load_sweep(path: str) -> list[Row]:
    """The rows that `get_sweep()` of a sweep file returns, or `get_sweep(arg)` of `file.py:arg`."""
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
    """The rows named in a comma-separated list; all of them for ""."""
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
                        nats_N = member(finished[row.name], self.workdir / row.name).nats() if derived else None
                        nats.append(None if nats_N is None else nats_N[None])
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
