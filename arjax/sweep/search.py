"""Searches over a space of config fields: the space, and the next trial from those before it."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from arjax.core.arguments import named_arguments
from arjax.core.errors import UserError
from arjax.core.user_files import find_file, run_user_file
from arjax.sweep.grid import placed
from arjax.sweep.runs import Run, as_text, config_of
from arjax.sweep.table import FOLDER, check_runs

#: Significant digits of the numbers of a trial: its command has exactly the values that were trained.
DIGITS = 4
FINISHED, RUNNING, FAILED = "finished", "running", "failed"


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Numbers between two bounds, both included.

    Attributes:
      low, high: the bounds.
      log: whether the distribution is uniform in the logarithm.
      whole: whether they are integers.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self):
        for bound in (self.low, self.high):
            if isinstance(bound, bool) or not isinstance(bound, int if self.whole else int | float):
                raise UserError(f"a space of {'integers' if self.whole else 'numbers'} has no bound {bound!r}")
        if not -math.inf < self.low < self.high < math.inf or (self.log and self.low <= 0):
            raise UserError(f"a space needs {'0 < ' if self.log else ''}low < high, not {self.low} and {self.high}")

    def rounded(self, value: float) -> float | int:
        """The value as a trial has it, with `DIGITS` significant digits."""
        if self.whole:
            return int(value)
        return min(max(float(f"{value:.{DIGITS}g}"), float(self.low)), float(self.high))

    @property
    def example(self) -> float | int:
        """Some value."""
        return self.rounded(self.low)

    def __str__(self) -> str:
        if self.whole:
            return f"integers({self.low}, {self.high}{', log=True' if self.log else ''})"
        return f"{'log_uniform' if self.log else 'uniform'}({self.low}, {self.high})"


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several values.

    Attributes:
      texts: the values as on a command line.
    """

    texts: tuple[str, ...]

    def __post_init__(self):
        if len(set(self.texts)) < max(len(self.texts), 1):
            raise UserError(f"a choice needs values, each once, not {self.texts}")

    @property
    def example(self) -> str:
        """Some value."""
        return self.texts[0]

    def __str__(self) -> str:
        return f"choice({', '.join(self.texts)})"


def uniform(low: float, high: float) -> Numbers:
    """Numbers between two bounds."""
    return Numbers(low, high)


def log_uniform(low: float, high: float) -> Numbers:
    """Numbers between two bounds above 0, uniform in their logarithms, such as learning rates."""
    return Numbers(low, high, log=True)


def integers(low: int, high: int, log: bool = False) -> Numbers:
    """Integers between two bounds, both included; with `log` their logarithms are about uniform."""
    return Numbers(low, high, log, whole=True)


def choice(*values: Any) -> Choice:
    """One of the values."""
    return Choice(tuple(map(as_text, values)))


@named_arguments
@dataclasses.dataclass(frozen=True)
class Search:
    """A space of runs, and the metric that is lowest on validation for the best of them.

    Attributes:
      config: config file with its argument; a field in braces is one of the space, `x.py:network={network}`.
      space: of each field, `{"optimizer.learning_rate": log_uniform(1e-4, 1e-2)}`.
      overrides: config fields to set in all trials.
      trials: the number of runs.
      metric: that of validation by which trials are compared, and of the row of the best; lower is better.
      seed: of the search; with the same one and one job at once, it makes the same trials.
      model, published, published_mark: as in `Run`, of the row of the best.
    """

    config: str
    space: Mapping[str, Numbers | Choice]
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    trials: int = 20
    metric: str = "nll_nats"
    seed: int = 0
    model: str = ""
    published: float = float("nan")
    published_mark: str = ""

    def __post_init__(self):
        if not isinstance(self.space, Mapping) or not self.space:
            raise UserError("a search needs a space, such as {'optimizer.learning_rate': log_uniform(1e-4, 1e-2)}")
        for field, values in self.space.items():
            if not isinstance(values, Numbers | Choice):
                raise UserError(
                    f"the space of {field!r} must be uniform(...), log_uniform(...), integers(...) or "
                    f"choice(...), not {values!r}"
                )
        if not isinstance(self.trials, int) or self.trials < 1:
            raise UserError(f"a search needs at least 1 trial, not {self.trials!r}")
        self.run(0, self.example)

    @property
    def example(self) -> dict[str, Any]:
        """Some point of the space."""
        return {field: values.example for field, values in self.space.items()}

    def run(self, number: int, point: Mapping[str, Any]) -> Run:
        """The run of a trial."""
        config, fields = placed(self.config, point)
        overrides = {**self.overrides, **fields}
        about = (self.metric, self.published, self.published_mark)
        return Run(f"trial-{number:03d}", config, overrides, "", self.model, "", *about)

    def description(self) -> dict[str, Any]:
        """The identity of a search, as JSON, without the number of trials: a search may be made longer."""
        overrides = {field: as_text(value) for field, value in self.overrides.items()}
        space = {field: str(values) for field, values in self.space.items()}
        return {"config": self.config, "space": space, "overrides": overrides, "metric": self.metric, "seed": self.seed}


def load_search(path: str) -> Search:
    """The search that `get_search()` of a sweep file returns.

    Raises:
      UserError: a missing or failing file, a config file that does not exist, a metric that no run has, fields that the
        config lacks, or values that it refuses.
    """
    search = run_user_file(str(find_file(path, FOLDER, "sweep file")), "get_search", Search)
    example = search.run(0, search.example)
    check_runs([example], path)
    config_of(example)
    return search


@dataclasses.dataclass(frozen=True)
class Past:
    """A trial before the next one.

    Attributes:
      point: its values, by field.
      state: `FINISHED`, `RUNNING` or `FAILED`.
      score: that on validation, of a finished trial; lower is better.
    """

    point: Mapping[str, Any]
    state: str
    score: float | None = None


def check_optuna() -> None:
    """Raises `UserError` where optuna is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise UserError("--search=optuna needs optuna: pip install 'arjax[search]'")


def propose(space: Mapping[str, Numbers | Choice], past: Sequence[Past], seed: int) -> dict[str, Any]:
    """The point that the tree-structured Parzen estimator of optuna (Bergstra et al., 2011) tries next.

    The first ten are random. Running trials count as bad ones, so that trials which run at once differ.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    states = {
        FINISHED: optuna.trial.TrialState.COMPLETE,
        RUNNING: optuna.trial.TrialState.RUNNING,
        FAILED: optuna.trial.TrialState.FAIL,
    }
    distributions = {field: _distribution(values) for field, values in space.items()}
    number = int(np.random.SeedSequence([seed, len(past)]).generate_state(1)[0])
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=number, constant_liar=True))
    for trial in past:
        study.add_trial(
            optuna.trial.create_trial(
                state=states[trial.state], value=trial.score, params=dict(trial.point), distributions=distributions
            )
        )
    asked = study.ask(distributions).params
    return {
        field: values.rounded(asked[field]) if isinstance(values, Numbers) else asked[field]
        for field, values in space.items()
    }


def _distribution(values: Numbers | Choice) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(values, Choice):
        return CategoricalDistribution(values.texts)
    kind = IntDistribution if values.whole else FloatDistribution
    return kind(values.low, values.high, log=values.log)
