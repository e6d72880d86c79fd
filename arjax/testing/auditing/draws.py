"""Samples follow the scores."""

from __future__ import annotations

import numpy as np

from arjax.testing.auditing.findings import FAILED, NOT_DONE, PASSED, Finding, audit_test
from arjax.testing.auditing.mass import ALPHA
from arjax.testing.auditing.subject import Budget, Subject
from arjax.testing.statistics import chi_square

#: Samples, and examples whose probabilities are all compared with their frequencies.
SAMPLES, MOST_CELLS = 8192, 4096
#: Variance of the number of pairs in a class of the test of pairs.
LEAST_VARIANCE = 12.0


@audit_test("sample log_prob", finds="samplers of another distribution: temperature, top-k, wrong caches")
def check_draws(subject: Subject, rng: np.random.Generator, budget: Budget) -> Finding:
    """Two batches of samples must both be improbable at the square root of the level of a false alarm."""
    event, level = subject.event, ALPHA**0.75
    if subject.is_random:
        return Finding(NOT_DONE, "samples of a bound or an estimate are compared by the test `kind`")
    cells = event.is_discrete and event.num_dims * np.log(event.num_levels) <= np.log(MOST_CELLS)
    compare = _cells if cells else _pairs
    num = max(min(SAMPLES, budget.rows(subject, "sample", SAMPLES, 0.2)), 64)
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
    pair, the sample is the more probable one of them with the probability 1 / (1 + exp(-|log p - log p'|)).
    """
    from scipy.stats import chi2  # takes long to import

    changed = _one_changed(subject, rng, x)
    kept = (changed == subject.ended(changed)).reshape(len(x), -1).all(1)
    before, after = subject.scores(x[kept]), subject.scores(changed[kept])
    if (before == -np.inf).any():
        return 0.0, "are impossible under the scores"
    gap = (before - after)[before != after]
    gap = gap[np.argsort(np.abs(gap), kind="stable")]
    sure = 1 / (1 + np.exp(-np.abs(gap)))
    variance = np.cumsum(sure * (1 - sure))
    total = variance[-1] if len(gap) else 0.0
    classes = int(min(8, total // LEAST_VARIANCE))
    words = f"are the more probable of a pair {(gap > 0).mean() if len(gap) else 0:.1%} of the time, "
    words += f"{sure.mean() if len(gap) else 0:.1%} expected"
    if classes < 1:
        return 1.0, f"{words}; too few to tell"
    number = np.minimum((variance / total * classes).astype(int), classes - 1)
    excess = np.bincount(number, (gap > 0) - sure, classes)
    spread = np.bincount(number, sure * (1 - sure), classes)
    return float(chi2.sf((excess**2 / spread).sum(), classes)), words


def _one_changed(subject: Subject, rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Returns copies with one scalar changed; half of the copies of real values move by the difference of two samples,
    which follows their correlations (ter Braak 2006).
    """
    flat, num = x.reshape(len(x), -1).copy(), subject.event.num_dims
    levels = np.array([column.num_levels for column in subject.event.each_site]).repeat(subject.event.value_size)
    place = rng.integers(num, size=len(x))
    rows, of = np.arange(len(x)), levels[place]
    size = rng.choice([0.03, 0.3, 1.0], size=len(x))
    shifted = (flat[rows, place] + 1 + rng.integers(np.maximum(of - 1, 1))) % np.maximum(of, 1)
    moved = flat[rows, place] + size * flat.std(0)[place] * rng.normal(size=len(x))
    apart = (flat[np.roll(rows, 1)] - flat[np.roll(rows, 2)]) * (levels == 0) * (size / num**0.5)[:, None]
    together = (of == 0) & (rng.random(len(x)) < 0.5)
    flat[rows, place] = np.where(together, flat[rows, place], np.where(of > 0, shifted, moved))
    return (flat + apart * together[:, None]).astype(x.dtype).reshape(x.shape)
