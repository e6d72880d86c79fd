"""Samples follow the scores."""

from __future__ import annotations

import numpy as np

from arjax.testing.auditing.findings import FAILED, NOT_DONE, PASSED, Finding, audit_test
from arjax.testing.auditing.subject import ALPHA, Budget, Subject
from arjax.testing.statistics import chi_square

#: Samples, and examples whose probabilities are all compared with their frequencies.
SAMPLES, MOST_CELLS = 8192, 4096
#: Variance of a class of pairs, the largest weight of a pair, and sizes of the changes of real values.
LEAST_VARIANCE, HEAVIEST, SIZES = 30.0, 4.0, (0.03, 0.1, 0.3, 1.0, 2.0)


@audit_test("sample log_prob", finds="samplers of another distribution: temperature, top-k, wrong caches")
def audit_draws(subject: Subject, rng: np.random.Generator, budget: Budget) -> Finding:
    """Two batches of samples must both be improbable at the square root of the level of a false alarm."""
    event, level = subject.event, ALPHA**0.75
    if subject.is_random:
        return Finding(NOT_DONE, "samples of a bound or an estimate are compared by the test `kind`")
    cells = event.is_discrete and event.num_dims * np.log(event.num_levels) <= np.log(MOST_CELLS)
    compare = _cells if cells else _pairs
    scored = budget.rows(subject, "log_prob", 8 * SAMPLES, 0.4) // 8  # twice, each beside its changed copy
    num = max(min(budget.rows(subject, "sample", SAMPLES, 0.2), SAMPLES if cells else scored), 64)
    budget.tell(subject, "sample", num, f"{num:,} samples")
    p_value, words = 0.0, ""
    for _ in range(2):
        x = subject.draws(num, int(rng.integers(2**31)))
        p_value, words = compare(subject, rng, x)
        numbers = {"p-value": p_value, "samples": num}
        if p_value >= level:
            return Finding(PASSED, f"{num:,} samples {words} (p = {p_value:.2g})", numbers)
    return Finding(
        FAILED, f"twice {num:,} samples do not follow the scores: they {words}", numbers, {"samples": x[:100]}
    )


def _cells(subject: Subject, rng: np.random.Generator, x: np.ndarray) -> tuple[float, str]:
    """Returns the p-value of the frequencies of all examples."""
    every = subject.every(subject.event)
    codes = subject.event.num_levels ** np.arange(subject.event.num_dims, dtype=np.int64)[::-1]
    place = np.searchsorted(every.reshape(len(every), -1) @ codes, drawn := x.reshape(len(x), -1) @ codes)
    place = np.minimum(place, len(every) - 1)
    outside = int((every.reshape(len(every), -1)[place] @ codes != drawn).sum())
    p = np.exp(subject.scores(every))
    counts = np.bincount(place, minlength=len(every))
    worst = int(np.abs(counts - len(x) * p / p.sum()).argmax())
    words = f"have {every[worst].tolist()} {counts[worst]} times where {len(x) * p[worst] / p.sum():.1f} are expected"
    return 0.0 if outside else chi_square(counts, p / p.sum()), words


def _pairs(subject: Subject, rng: np.random.Generator, x: np.ndarray) -> tuple[float, str]:
    """Returns the p-value of pairs of a sample and a copy with one scalar changed, by a symmetric proposal. Given the
    pair, the sample is the more probable one of them with the probability s = 1 / (1 + exp(-|log p - log p'|)). The
    first samples choose the size of the changes of real values.
    """
    from scipy.stats import chi2, norm  # takes long to import

    if (subject.scores(x) == -np.inf).any():
        return 0.0, "are impossible under the scores"
    first, x = np.split(x, [len(x) // 8])
    gaps = {size: _gaps(subject, rng, first, size) for size in (SIZES if (subject.levels == 0).any() else SIZES[:1])}
    gap = _gaps(subject, rng, x, max(gaps, key=lambda size: _variance(gaps[size]).sum()))
    gap = gap[np.argsort(np.abs(gap), kind="stable")]
    sure, weight = 1 / (1 + np.exp(-np.abs(gap))), np.minimum(np.abs(gap), HEAVIEST)
    variance = sure * (1 - sure)
    classes = int(min(8, variance.sum() // LEAST_VARIANCE))
    words = f"are the more probable of a pair {(gap > 0).sum():,} times where {sure.sum():,.0f} are expected"
    if classes < 1:
        return 1.0, f"{words}; too few to tell"
    excess = (gap > 0) - sure
    number = np.minimum((np.cumsum(variance) / variance.sum() * classes).astype(int), classes - 1)
    sums = np.bincount(number, excess, classes) ** 2 / np.bincount(number, variance, classes)
    warmer = (weight * excess).sum() / _variance(gap).sum() ** 0.5  # the score test of a temperature
    return float(min(1.0, 2 * min(chi2.sf(sums.sum(), classes), 2 * norm.sf(abs(warmer))))), words


def _gaps(subject: Subject, rng: np.random.Generator, x: np.ndarray, size: float) -> np.ndarray:
    """Returns log p(x) - log p(x') of samples and changed copies, without those that are equal or no example."""
    changed = subject.one_changed(rng, x, size)
    kept = (changed == subject.ended(changed)).reshape(len(x), -1).all(1)
    gap = subject.scores(x[kept]) - subject.scores(changed[kept])
    return gap[gap != 0]


def _variance(gap: np.ndarray) -> np.ndarray:
    """Returns the variance of |gap| times which of a pair is the sample; 0 at an infinite gap."""
    return np.minimum(np.abs(gap), HEAVIEST) ** 2 * np.exp(-np.abs(gap)) / (1 + np.exp(-np.abs(gap))) ** 2
