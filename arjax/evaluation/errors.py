"""Standard errors over examples."""

from __future__ import annotations

import math

import numpy as np


def stderr_of(values: np.ndarray) -> np.ndarray:
    """The standard error of a mean over the first axis, float64; 0 for a single value."""
    num = len(values)
    return values.std(0, ddof=1) / math.sqrt(num) if num > 1 else np.zeros(values.shape[1:])


def ratio_of_means(values_N: np.ndarray, sites_N: np.ndarray) -> tuple[float, float]:
    """Sum of values over sum of sites, and its standard error over the N examples.

    To first order the error is that of the mean of (value - ratio x sites) over mean sites.
    """
    ratio = values_N.sum() / sites_N.sum()
    return float(ratio), float(stderr_of(values_N - ratio * sites_N) / sites_N.mean())
