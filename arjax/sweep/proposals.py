"""The next trial of a search, from those before it: a pure function of them, their scores and the seed."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from arjax.core.errors import UserError
from arjax.sweep.search import Choice, Numbers

FINISHED, RUNNING, FAILED = "finished", "running", "failed"


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
