"""Answers from draws of a model, as many as are needed: numbers with errors and intervals, rows with constraints."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from arjax.core.errors import refuse, say_once
from arjax.core.scores import EXACT
from arjax.evaluation.summaries import ratio_of_means

#: The most draws of one answer, and the most at once.
MOST_DRAWS, _AT_ONCE = 1_000_000, 50_000
#: 95 % of a standard normal distribution lie within this of 0.
_NORMAL_95 = 1.959963984540054
#: Rejection ends after so many draws if fewer than one in so many fulfil the constraints.
_FEW_DRAWS, _FEWEST_IN = 20_000, 1000
#: Values [N] of draws, and the logs of their weights [N].
Draws = tuple[np.ndarray, np.ndarray]


class Answer(NamedTuple):
    """A number that a model states.

    Attributes:
      value: in the unit of its column; a date for a column of dates.
      stderr: the standard error, 0 where the value is exact; of dates in days or seconds.
      kind: "exact" under this model, or an "estimate" from draws of it.
      interval: the ends between which the exact value lies with a probability of 95 %.
      engine: the kinds of the engines of the model that answer.
    """

    value: Any
    stderr: float
    kind: str
    interval: tuple[Any, Any]
    engine: str = ""

    def __repr__(self) -> str:
        shown = f"{self.value:.5g}" if isinstance(self.value, float) else str(self.value)
        return shown + (" (exact under this model)" if self.kind == EXACT else f" ± {self.stderr:.2g} (estimate)")


def exact_answer(value: Any) -> Answer:
    """Returns an answer without an error."""
    return Answer(value, 0.0, EXACT, (value, value))


def mean_of(values_N: np.ndarray, log_w_N: np.ndarray, is_part: bool = False) -> Answer:
    """Returns the mean sum(w x) / sum(w) of draws; `is_part`: all values lie in [0, 1].

    The standard error is that of a ratio of means. Weights and rare events are skewed, so the interval transforms the
    mean to one without skewness (Hall, "On the removal of skewness by transformation", JRSS B 1992, section 2). If all
    values are 0, P(all are 0) <= (1 - p)^N bounds the mean p, and likewise if all are 1.
    """
    w_N = np.exp(log_w_N - log_w_N.max())
    value, stderr = ratio_of_means(w_N * values_N, w_N)
    if is_part and not 0 < value < 1 - 1e-12:
        limit = 1 - 0.05 ** float((w_N**2).sum() / w_N.sum() ** 2)  # of as many equal weights
        return Answer(value, limit / _NORMAL_95 / 2, "estimate", (0.0, limit) if value <= 0 else (1 - limit, 1.0))
    stderr = max(stderr, 1e-6 * abs(value))  # networks compute in float32, also where all draws agree
    error_N, z_2 = w_N * (values_N - value), np.array([_NORMAL_95, -_NORMAL_95])
    skew = float((error_N**3).mean() / (error_N.std() ** 3 or 1.0) / math.sqrt(len(w_N)))
    t_2 = z_2 if abs(skew) < 1e-6 else 3 / skew * (np.cbrt(1 + skew * (z_2 - skew / 6)) - 1)
    low, high = np.clip(value - stderr * t_2, *((0, 1) if is_part else (-np.inf, np.inf))).tolist()
    return Answer(value, stderr, "estimate", (low, high))


def quantile_of(values_N: np.ndarray, log_w_N: np.ndarray, q: float) -> Answer:
    """Returns the weighted quantile of draws. Its interval is that of the part of the draws up to it, in quantiles
    (Woodruff, "Confidence intervals for medians and other position measures", JASA 1952).
    """
    order = np.argsort(values_N)
    ends_N = np.cumsum(np.exp(log_w_N - log_w_N.max())[order])

    def at(level: float) -> float:
        place = np.searchsorted(ends_N, (level - 1e-12) * ends_N[-1])
        return float(values_N[order[min(place, len(order) - 1)]])

    part = mean_of(values_N <= at(q), log_w_N, is_part=True)
    low, high = (at(q + end - part.value) for end in part.interval)
    return Answer(at(q), (high - low) / _NORMAL_95 / 2, "estimate", (low, high))


def estimate_by_draws(draw: Callable[[int], Draws], summary: Callable[..., Answer], num: int, stderr: float) -> Answer:
    """Returns the summary of `num` draws, or of as many more as the standard error needs; 0: of no more. Of unequal
    weights, there are at most 20 times as many draws, until they are worth half as many equal ones: without this, the
    interval misses what the heaviest weights, not yet drawn, would say.
    """
    values_N, log_w_N, more = *np.zeros((2, 0)), num
    while more:
        drawn = draw(more)
        values_N, log_w_N = np.append(values_N, drawn[0]), np.append(log_w_N, drawn[1])
        answer = summary(values_N, log_w_N)
        w_N = np.exp(log_w_N - log_w_N.max())
        worth = min(0.5 * num * float((w_N**2).sum()) / w_N.sum() ** 2, 20 * num / len(w_N))
        lacking = len(w_N) * (max(1.05 * (answer.stderr / (stderr or math.inf)) ** 2, worth) - 1)
        more = int(np.clip(math.ceil(4 * lacking / num) * num / 4, 0, min(_AT_ONCE, max(MOST_DRAWS - len(w_N), 0))))
    if answer.stderr > stderr > 0:
        say_once(f"the standard error is {answer.stderr:.2g} after {len(w_N):,} draws, and not {stderr:g}")
    return answer


def accepted(draw: Callable[[int], np.ndarray], allowed: Callable[[np.ndarray], np.ndarray], num: int) -> np.ndarray:
    """Returns the first `num` rows of draws [N, C] that are allowed; tells how many of the draws are."""
    kept, drawn = list[np.ndarray](), 0
    while len(kept) < num:
        cells_NC = draw(max(num, 1000))
        kept, drawn = [*kept, *cells_NC[allowed(cells_NC)]], drawn + len(cells_NC)
        rate = f"{len(kept):,} of {drawn:,} draws fulfil the constraints ({len(kept) / drawn:.2g})"
        too_few = f"{rate}, too few: loosen them, or write as much of them as possible as conditions `given`"
        refuse((drawn >= _FEW_DRAWS and len(kept) * _FEWEST_IN < drawn, too_few))
    say_once(rate)
    return np.stack(kept[:num])
