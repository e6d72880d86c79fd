"""Two models on the same examples: the paired difference of their nats, with its standard error."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from arjax.evaluation.summaries import stderr_of

#: A difference within so many standard errors of 0 is a tie.
TIE = 2.0


@dataclasses.dataclass(frozen=True)
class Difference:
    """Nats of one model less those of another on each of N examples. Below 0 the first model is better.

    Attributes:
      nats_N: float64[N]; means over the seeds, where a model was trained under several.
      mean: over the examples.
      stderr: the standard error of the mean over the examples, which the same examples under both models make small;
        nan of a single one.
      seeds_stderr: that over the seeds, where both models were trained under several; nan otherwise.
      wins: the share of examples on which the first model has fewer nats.
      losses: the share on which it has more.
    """

    nats_N: np.ndarray
    mean: float
    stderr: float
    seeds_stderr: float
    wins: float
    losses: float

    @property
    def is_tie(self) -> bool:
        """Whether the mean lies within two standard errors of 0, by the larger of the two; or has none. An infinite
        difference, of an example that one model alone holds impossible, is no tie.
        """
        return not (math.isinf(self.mean) or abs(self.mean) > TIE * np.fmax(self.stderr, self.seeds_stderr))


def paired_difference(first_SN: np.ndarray, second_TN: np.ndarray) -> Difference:
    """The difference of two models from their nats of N examples, [S, N] and [T, N] under S and T seeds."""
    with np.errstate(invalid="ignore"):  # nats may be infinite
        nats_N = first_SN.mean(0) - second_TN.mean(0)
        by_seed = [nats.mean(1) for nats in (first_SN, second_TN)]
        several = all(len(means) > 1 for means in by_seed)
        return Difference(
            nats_N=nats_N,
            mean=float(nats_N.mean()),
            stderr=float(stderr_of(nats_N)) if len(nats_N) > 1 else math.nan,
            # Seeds are drawn for each model alone, so the variances add up (Welch).
            seeds_stderr=math.hypot(*map(stderr_of, by_seed)) if several else math.nan,
            wins=float((nats_N < 0).mean()),
            losses=float((nats_N > 0).mean()),
        )
