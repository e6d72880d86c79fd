"""p-values of samples."""

from __future__ import annotations

import numpy as np

from arjax.testing.laws import require

#: Among many laws a p-value of 1e-4 can occur by chance; with fixed keys the same run always gives the same p-value.
LEAST_P = 1e-6
#: The fewest expected draws of a class of the chi-square test; the last class may have fewer.
LEAST_EXPECTED = 5.0


def chi_square(counts: np.ndarray, probabilities: np.ndarray) -> float:
    """Returns the p-value of counts[N] under probabilities[N] (Pearson, 1900); similarly rare values share a class."""
    from scipy.stats import chi2  # takes long to import

    if counts[probabilities == 0].sum():
        return 0.0
    counts, expected = counts[probabilities > 0], probabilities[probabilities > 0] * counts.sum()
    order, number, within = np.argsort(-expected, kind="stable"), list[int](), LEAST_EXPECTED
    for each in expected[order].tolist():  # a class ends where it has reached 5
        begins = within >= LEAST_EXPECTED
        within = each if begins else within + each
        number.append((number[-1] if number else -1) + begins)
    counts, expected = (np.bincount(number, weights=each[order]) for each in (counts, expected))
    free = len(counts) - 1
    if free < 1:
        return 1.0
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), free))


def require_follows(counts: np.ndarray, log_prob: np.ndarray) -> None:
    """Raises `LawBroken` unless counts[N] of draws follow log-probabilities [N], up to their rounding."""
    probabilities = np.exp(log_prob)
    p_value = chi_square(counts, probabilities / probabilities.sum())
    message = f"law 4: samples do not follow the probabilities (p = {p_value:.1e} of {counts.sum()} draws)"
    require(p_value > LEAST_P, message)


def uniform(values: np.ndarray) -> float:
    """p-value of the hypothesis that values[N] are uniform on [0, 1] (Kolmogorov, 1933; Smirnov, 1948)."""
    from scipy.stats import kstest

    return float(kstest(values, "uniform").pvalue)
