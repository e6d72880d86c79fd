"""Searches over a space of config fields: the space, the trials, kept in search.json, and the next one from these."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from arjax.core.errors import UserError, refuse
from arjax.core.files import find_file, only_run_in, read_json_object, user_path, writable_folder, write_json
from arjax.core.options import checked_arguments, is_integer
from arjax.core.plugins import run_user_file
from arjax.reporting.tables import print_table
from arjax.sweep.dependencies import print_changes
from arjax.sweep.executors import Executor, execute, tell_failures
from arjax.sweep.results import Finished, cell_with_stderr, lower_is_better, number, stderr_cells, write_csv
from arjax.sweep.rows import SWEEPS, check_runs, split_fields
from arjax.sweep.runs import Run, config_of, flag_text
from arjax.sweep.table import Table

#: Significant digits of the numbers of a trial: its command has exactly the values that were trained.
DIGITS = 4
FINISHED, RUNNING, FAILED = "finished", "running", "diverged"
SEARCH_FILE = "search.json"
TABLE_NAME = "trials.csv"
#: The exit code of `arjax` when the loss was not finite: another attempt would diverge, too.
DIVERGED = 3


@checked_arguments()
@dataclasses.dataclass(frozen=True)
class Space:
    """The values of a field: numbers between two bounds, both included, uniform in the logarithm with `log`, integers
    with `whole`; or one of several `texts`, each as on a command line.
    """

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    texts: tuple[str, ...] | None = None

    def __post_init__(self):
        if self.texts is not None:
            is_wrong = len(set(self.texts)) < max(len(self.texts), 1)
            refuse((is_wrong, f"a choice needs values, each once, not {self.texts}"))
            return
        are_whole, above = is_integer(self.low) and is_integer(self.high), "0 < " if self.log else ""
        is_wrong = not self.low < self.high or (self.log and self.low <= 0)
        refuse(
            (self.whole and not are_whole, f"a space of integers has no bounds {self.low} and {self.high}"),
            (is_wrong, f"a space needs {above}low < high, not {self.low} and {self.high}"),
        )

    def rounded(self, value: Any) -> Any:
        """Returns a value as a trial has it: of a number `DIGITS` significant digits."""
        if self.texts is not None:
            return value
        rounded = float(f"{value:.{DIGITS}g}")
        return int(value) if self.whole else min(max(rounded, float(self.low)), float(self.high))

    @property
    def example(self) -> Any:
        return self.texts[0] if self.texts else self.rounded(self.low)

    def distribution(self) -> Any:
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.texts is not None:
            return CategoricalDistribution(self.texts)
        return (IntDistribution if self.whole else FloatDistribution)(self.low, self.high, log=self.log)

    def __str__(self) -> str:
        if self.texts is not None:
            return f"choice({', '.join(self.texts)})"
        if self.whole:
            return f"integers({self.low}, {self.high}{', log=True' if self.log else ''})"
        return f"{'log_uniform' if self.log else 'uniform'}({self.low}, {self.high})"


def uniform(low: float, high: float) -> Space:
    """Numbers between two bounds."""
    return Space(low, high)


def log_uniform(low: float, high: float) -> Space:
    """Numbers between two bounds above 0, uniform in their logarithms, such as learning rates."""
    return Space(low, high, log=True)


def integers(low: int, high: int, log: bool = False) -> Space:
    """Integers between two bounds, both included; with `log` their logarithms are about uniform."""
    return Space(low, high, log, whole=True)


def choice(*values: Any) -> Space:
    """One of the values."""
    return Space(texts=tuple(map(flag_text, values)))


@checked_arguments(trials=1, seed=0, published=None)
@dataclasses.dataclass(frozen=True)
class Search:
    """A space of runs, and the metric on validation by which the best of them is chosen.

    Attributes:
      config: config file with its argument; a field in braces is one of the space, `x.py:network={network}`.
      space: of each field, `{"optimizer.learning_rate": log_uniform(1e-4, 1e-2)}`.
      overrides: config fields to set in all trials.
      metric: by which trials are compared on validation; of a loss the lowest is the best, else the highest.
      seed: of the search; with the same one and one job at once, it makes the same trials.
      model, published, published_mark: as in `Run`, of the row of the best.
    """

    config: str
    space: Mapping[str, Space]
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    trials: int = 20
    metric: str = "nll_nats"
    seed: int = 0
    model: str = ""
    published: float = float("nan")
    published_mark: str = ""

    def __post_init__(self):
        such = "{'optimizer.learning_rate': log_uniform(1e-4, 1e-2)}"
        refuse((not isinstance(self.space, Mapping) or not self.space, f"a search needs a space, such as {such}"))
        spaces = "uniform(...), log_uniform(...), integers(...) or choice(...)"
        for field, values in self.space.items():
            refuse((not isinstance(values, Space), f"the space of {field!r} must be {spaces}, not {values!r}"))
        self.run(0, self.example)

    @property
    def sign(self) -> int:
        """1 if lower is better, else -1: the score times this sign is lowest for the best trial."""
        return 1 if lower_is_better(self.metric) else -1

    @property
    def example(self) -> dict[str, Any]:
        return {field: values.example for field, values in self.space.items()}

    def run(self, number: int, point: Mapping[str, Any]) -> Run:
        config, fields = split_fields(self.config, point)
        about = {name: getattr(self, name) for name in ("model", "metric", "published", "published_mark")}
        return Run(f"trial-{number:03d}", config, {**self.overrides, **fields}, **about)

    def description(self) -> dict[str, Any]:
        """The identity of a search, as JSON, without the number of trials: a search may be made longer."""
        overrides = {field: flag_text(value) for field, value in self.overrides.items()}
        space = {field: str(values) for field, values in self.space.items()}
        return {"config": self.config, "space": space, "overrides": overrides, "metric": self.metric, "seed": self.seed}


def load_search(path: str) -> Search:
    """The search that `get_search()` of a sweep file returns."""
    search = run_user_file(str(find_file(path, SWEEPS, "sweep file")), "get_search", Search)
    example = search.run(0, search.example)
    check_runs([example], path)
    config_of(example, "runs")
    return search


def propose(
    space: Mapping[str, Space], past: Sequence[tuple[Mapping[str, Any], str, float | None]], seed: int
) -> dict[str, Any]:
    """Returns the point that the tree-structured Parzen estimator of optuna (Bergstra et al., 2011) tries next; the
    first ten are random. Running trials count as bad ones, so that trials at the same time differ. `past` has the
    values by field of each earlier trial, its state, and, if it is finished, its score: the lower, the better.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    names = {FINISHED: "COMPLETE", RUNNING: "RUNNING", FAILED: "FAIL"}
    distributions = {field: values.distribution() for field, values in space.items()}
    number = int(np.random.SeedSequence([seed, len(past)]).generate_state(1)[0])
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=number, constant_liar=True))
    for point, state, score in past:
        known = {"state": optuna.trial.TrialState[names[state]], "params": dict(point)}
        study.add_trial(optuna.trial.create_trial(value=score, distributions=distributions, **known))
    proposed = study.ask(distributions).params
    return {field: values.rounded(proposed[field]) for field, values in space.items()}


@dataclasses.dataclass
class Trial:
    """A trial of a search, with its values by field."""

    run: Run
    point: dict[str, Any]
    diverged: bool = False  # ended because its loss was not finite; other failed trials go on at the next start


class Trials:
    """All trials of a search so far, in the order in which they were proposed; kept in the workdir."""

    def __init__(self, search: Search, workdir: Path):
        self.search, self._path, self.list = search, workdir / SEARCH_FILE, []
        self.table = Table([], workdir, "")
        if not self._path.exists():
            return
        record = read_json_object(self._path) or {}
        if not isinstance(record.get("search"), dict) or not _are_trials(record.get("trials")):
            raise UserError(f"{self._path} is damaged: it does not list the trials of this search")
        for name, value in search.description().items():
            if (stored := record["search"].get(name)) != value:
                differ = f"another {name}: {stored!r} there, {value!r} now"
                raise UserError(f"{workdir} holds a search with {differ}; choose another --workdir")
        for i, each in enumerate(record["trials"]):
            self.list.append(Trial(search.run(i, each["point"]), each["point"], each["diverged"]))

    def coming(self, total: int) -> Iterator[Run]:
        """The runs to execute until there are `total` trials: those that were begun, then new ones."""
        self.check()
        yield from [trial.run for trial in self.unfinished()]
        while len(self.list) < total:
            past = []
            for trial in self.list:
                ended = self.ended(trial)
                past.append((trial.point, self.state(trial), None if ended is None else self.loss(ended)))
            point = propose(self.search.space, past, self.search.seed)
            self.list.append(Trial(self.search.run(len(self.list), point), point))
            self._save()
            yield self.list[-1].run

    def unfinished(self) -> list[Trial]:
        return [trial for trial in self.list if self.state(trial) == RUNNING]

    def finished(self) -> list[Finished]:
        return [ended for trial in self.list if (ended := self.ended(trial)) is not None]

    def ended(self, trial: Trial) -> Finished | None:
        return None if trial.diverged else self.table.finished(trial.run)

    def diverged(self, run: Run) -> None:
        next(trial for trial in self.list if trial.run is run).diverged = True
        self._save()

    def check(self) -> None:
        """Raises `UserError` unless all trials with results have the score on validation by which they are compared."""
        for ended in self.finished():
            if math.isnan(ended.validation()[0]):
                name, metric = ended.run.name, ended.run.metric
                raise UserError(f"{name} has no {metric} on validation, by which a search compares its trials")

    def state(self, trial: Trial) -> str:
        return FAILED if trial.diverged else RUNNING if self.ended(trial) is None else FINISHED

    def loss(self, ended: Finished) -> float:
        return self.search.sign * ended.validation()[0]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each trial, the best first, then those without a score. No number of the test split."""
        table = []
        for trial in self.list:
            ended, report = self.ended(trial), dict[str, Any]()
            row = {"trial": trial.run.name, "state": self.state(trial), **trial.point}
            row |= stderr_cells("validation", math.nan, math.nan)
            if ended is not None:
                row, report = row | stderr_cells("validation", *ended.validation()), dict(ended.report)
            row |= {name: report.get(name, "") for name in ("best_step", "num_params")}
            row |= {"train_minutes": number(report.get("train_seconds", math.nan) / 60, digits=3)}
            table.append(row | {"command": trial.run.command()})
        sign = self.search.sign
        return sorted(table, key=lambda row: sign * float(row["validation"] or sign * math.inf))

    def write_table(self) -> Path:
        path, rows = self._path.parent / TABLE_NAME, self.rows()
        write_csv(path, rows, list(rows[0]))
        return path

    def readable(self) -> tuple[list[str], list[list[str]]]:
        first, cells = ["trial", "state", *self.search.space], []
        for row in self.rows():
            shown = [*map(row.get, first), cell_with_stderr(row, "validation"), row["best_step"], row["train_minutes"]]
            cells.append(list(map(str, shown)))
        return [*first, f"validation {self.search.metric}", "best step", "minutes"], cells

    def _save(self) -> None:
        trials = [{"point": trial.point, "diverged": trial.diverged} for trial in self.list]
        write_json(self._path, {"search": self.search.description(), "trials": trials})


def _are_trials(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, dict) and isinstance(each.get("point"), dict) and isinstance(each.get("diverged"), bool)
        for each in value
    )


def run_search(flags: SimpleNamespace, make_executor: Callable[[SimpleNamespace, Path, int], Executor]) -> int:
    """Runs the search of the sweep file until it has all of its trials; the exit code."""
    search = load_search(flags.sweep)
    total = flags.trials or search.trials
    if flags.dry_run:
        _print_plan(search, Trials(search, user_path(flags.workdir)), total)
        return 0
    refuse((importlib.util.find_spec("optuna") is None, "--search=optuna needs optuna: pip install 'arjax[search]'"))
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
                trials.check()
            trials.write_table()
        _report(trials)
    return tell_failures(failed)


def _print_plan(search: Search, trials: Trials, total: int) -> None:
    print_table(["field", "values"], [[field, str(values)] for field, values in search.space.items()])
    if trials.list:
        print_table(*trials.readable())
        print_changes([ended.run for ended in trials.finished()], trials.table.workdir)
    print(search.run(len(trials.list), search.example).command())
    print(f"{total} trials by validation {search.metric}, {len(trials.list)} of them begun; the command is an example")


def _report(trials: Trials) -> None:
    """The table of trials, and the best by validation: the only one with a test score."""
    columns, cells = trials.readable()
    print_table(columns, cells, right=columns[-3:])
    print(f"{len(trials.list)} trials in {trials.write_table()}")
    print_changes([ended.run for ended in trials.finished()], trials.table.workdir)
    if best := min(trials.finished(), key=trials.loss, default=None):
        point = next(trial.point for trial in trials.list if trial.run.name == best.run.name)
        values = ", ".join(f"{field.rpartition('.')[2]} {value}" for field, value in point.items())
        row = best.row() | {"model": f"{best.model}, {values}"}
        validation, test = (cell_with_stderr(row, name) for name in ("validation", "value"))
        scores = f"validation {validation}, test {test} {row['metric']}"
        print(f"best by validation: {best.run.name}, {scores}; its row is in {trials.table.write([row])}")
        print(row["command"])
