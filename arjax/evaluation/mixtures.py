"""Ensembles of models: p(x) = sum_m w_m p_m(x), whole examples mixed, with equal or fitted weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from arjax.core.mixtures import mixed_nats
from arjax.evaluation.summaries import stderr_of

#: Expectation maximisation ends when no weights can be better by more nats than this, or after so many steps.
_ENOUGH, _MOST_STEPS = 1e-4, 100_000


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """The scores of a mixture of M models, in nats per example of the test split.

    Attributes:
      uniform: with equal weights 1/M.
      weighted: with the weights that fit the validation split best.
      uniform_stderr, weighted_stderr: their standard errors over the examples.
      weights: those weights [M], which add up to 1.
      chosen: the members in the order in which a greedy search on validation adds them (equal weights).
      by_size: nats of the ensemble of the first 1, 2, ..., M of them, [M]; its differences are the gain of each one.
    """

    uniform: float
    uniform_stderr: float
    weighted: float
    weighted_stderr: float
    weights: np.ndarray
    chosen: tuple[int, ...]
    by_size: np.ndarray


def make_ensemble(valid_MN: np.ndarray, test_MN: np.ndarray) -> Ensemble:
    """The ensemble of M models from their nats on the examples of two splits.

    Weights and sequence are chosen on validation alone; the test split is only scored.
    """
    valid_MN, test_MN = np.asarray(valid_MN, np.float64), np.asarray(test_MN, np.float64)
    num = len(valid_MN)
    equal, weights = equal_weights(valid_MN), fit_weights(valid_MN)
    chosen = greedy(valid_MN)
    by_size = [mixed_nats(test_MN[list(chosen[:size])], np.full(size, 1 / size)).mean() for size in range(1, num + 1)]
    uniform_N, weighted_N = mixed_nats(test_MN, equal), mixed_nats(test_MN, weights)
    return Ensemble(
        uniform=float(uniform_N.mean()),
        uniform_stderr=float(stderr_of(uniform_N)),
        weighted=float(weighted_N.mean()),
        weighted_stderr=float(stderr_of(weighted_N)),
        weights=weights,
        chosen=chosen,
        by_size=np.array(by_size),
    )


def fit_weights(nll_MN: np.ndarray) -> np.ndarray:
    """The weights [M] of the mixture under which the examples are most probable (expectation maximisation)."""
    possible_MN = nll_MN[:, np.isfinite(nll_MN.min(0))]  # without examples impossible under all members
    weights_M = equal_weights(nll_MN)
    if not possible_MN.size:
        return weights_M
    likelihood_MN = np.exp(possible_MN.min(0) - possible_MN)  # up to a factor that cancels in the ratios
    for _ in range(_MOST_STEPS):
        ratio_M = (likelihood_MN / (weights_M @ likelihood_MN)).mean(1)
        weights_M = weights_M * ratio_M
        if ratio_M.max() < 1 + _ENOUGH:  # the objective is concave, and log max ratio bounds the remaining gain
            break
    return weights_M / weights_M.sum()


def equal_weights(nll_MN: np.ndarray) -> np.ndarray:
    """1/M for each member, [M]."""
    return np.full(len(nll_MN), 1 / len(nll_MN))


def chosen_weights(nll_MN: np.ndarray) -> np.ndarray:
    """Equal weights for some members, none for the others: as many of the greedy sequence as give the fewest nats."""
    members = best_members(nll_MN)
    weights_M = np.zeros(len(nll_MN))
    weights_M[members] = 1 / len(members)
    return weights_M


def best_members(nll_MN: np.ndarray, most: int | None = None) -> list[int]:
    """The first members of the greedy sequence, at most `most`: as many as give the fewest nats with equal weights."""
    sequence = list(greedy(nll_MN)[:most])
    log_sum_MN = np.logaddexp.accumulate(-nll_MN[sequence], axis=0)  # of the first 1, 2, ..., M
    nats_M = [math.log(size) - log_sum_N.mean() for size, log_sum_N in enumerate(log_sum_MN, start=1)]
    return sequence[: int(np.argmin(nats_M)) + 1]


def greedy(nll_MN: np.ndarray) -> tuple[int, ...]:
    """All members in greedy order: each is the one that improves the mixture of those before it the most."""
    left, chosen = list(range(len(nll_MN))), []
    total_N = np.full(nll_MN.shape[1], -np.inf)  # log of the sum of the likelihoods
    while left:
        totals = [np.logaddexp(total_N, -nll_MN[member]) for member in left]
        best = int(np.argmax([total.mean() for total in totals]))
        total_N = totals[best]
        chosen.append(left.pop(best))
    return tuple(chosen)


#: From the nats of the validation examples under each member to its weight in the mixture.
WEIGHTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "equal": equal_weights,
    "fitted": fit_weights,
    "chosen": chosen_weights,
}
