"""Scores: their kinds, their names in reports, and the arithmetic of mixtures, log sum_k w_k p_k."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

#: The log-likelihood itself, and a score that is not a likelihood: a proper score of samples, the lower the better.
EXACT, NO_LIKELIHOOD = "exact", "none"
#: From the strongest to the weakest.
SCORE_KINDS = (EXACT, "bound", "estimate", NO_LIKELIHOOD)
NLL, SAMPLE_SCORE = "nll_nats", "sample_score"


def weakest(*kinds: str) -> str:
    """Returns the kind of a number that is made of scores of these kinds."""
    return max(kinds, key=SCORE_KINDS.index)


def kind_of_mixture(*kinds: str, unbiased: bool) -> str:
    """Returns the kind of the mixture of scores of these kinds: by the concavity of the logarithm, bounds make a bound
    if their draws L_k are `unbiased`, with E[exp(L_k)] at most p_k, and otherwise an estimate.
    """
    kind = weakest(*kinds)
    return "estimate" if kind == "bound" and not unbiased else kind


def score_name(kind: str) -> str:
    """Returns the entry of a report that selects parameters: `nll_nats`, or `sample_score` without a likelihood."""
    return SAMPLE_SCORE if kind == NO_LIKELIHOOD else NLL


#: EM ends when no weights can be better by more nats than this, or after so many steps.
_ENOUGH, _MOST_STEPS = 1e-4, 100_000


def log_mixture(log_weights: Any, log_probs: Any, axis: int = 0) -> Any:
    """Returns log sum_k w_k p_k of whole examples over one axis of `log_probs`; `log_weights` are [K] or broadcast."""
    if log_weights.ndim == 1:
        log_weights = log_weights.reshape(*[-1 if i == axis % log_probs.ndim else 1 for i in range(log_probs.ndim)])
    joint = log_weights + log_probs
    return jax.nn.logsumexp(joint, axis) if isinstance(joint, jax.Array) else np.logaddexp.reduce(joint, axis)


def log_mean(log_probs: Any, axis: int = 0) -> Any:
    """Returns log (1/K) sum_k p_k over one axis, the mixture with equal weights."""
    is_jax = isinstance(log_probs, jax.Array)
    total = jax.nn.logsumexp(log_probs, axis) if is_jax else np.logaddexp.reduce(log_probs, axis)
    return total - math.log(log_probs.shape[axis])


def mixed_nats(nats_MN: np.ndarray, weights_M: np.ndarray) -> np.ndarray:
    """Returns -log sum_m w_m exp(-nats_m) of each example, [N]; weights may be 0."""
    with np.errstate(divide="ignore"):
        return -log_mixture(np.log(weights_M), -np.asarray(nats_MN))


def fit_weights(nll_MN: np.ndarray) -> np.ndarray:
    """Returns the weights [M] of the mixture under which the examples are most probable (expectation maximisation)."""
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
    """Returns 1/M for each member, [M]."""
    return np.full(len(nll_MN), 1 / len(nll_MN))


def chosen_weights(nll_MN: np.ndarray) -> np.ndarray:
    """Returns equal weights for `best_members` and 0 for the others, [M]."""
    members = best_members(nll_MN)
    weights_M = np.zeros(len(nll_MN))
    weights_M[members] = 1 / len(members)
    return weights_M


def best_members(nll_MN: np.ndarray, most: int | None = None) -> list[int]:
    """Returns as many of the first greedy members as give the fewest nats with equal weights, at most `most`."""
    sequence = list(greedy(nll_MN)[:most])
    log_sum_MN = np.logaddexp.accumulate(-nll_MN[sequence], axis=0)  # of the first 1, 2, ..., M
    nats_M = [math.log(size) - log_sum_N.mean() for size, log_sum_N in enumerate(log_sum_MN, start=1)]
    return sequence[: int(np.argmin(nats_M)) + 1]


def greedy(nll_MN: np.ndarray) -> tuple[int, ...]:
    """Returns all members in greedy order: each improves the mixture of those before it the most."""
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
