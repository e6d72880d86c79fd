"""The mass of a standard normal distribution between two ends, Phi(high) - Phi(low), without losing its digits."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

#: Narrower intervals have the density in their middle times their width.
_NARROW = 1e-3


def lower_tail(low: Any, high: Any, is_upper: Any = None) -> tuple[Any, Any]:
    """Returns the ends of an interval of the same mass, reflected if it is in the upper tail (by default, above 0),
    where both cumulative probabilities are near 1.
    """
    xp = jnp if isinstance(low, jax.Array) or isinstance(high, jax.Array) else np
    flip = low > 0 if is_upper is None else is_upper
    return xp.where(flip, -high, low), xp.where(flip, -low, high)


def log_mass(low: np.ndarray, high: np.ndarray, width: np.ndarray | None = None) -> np.ndarray:
    """Returns log(Phi(high) - Phi(low)) in float64, -inf where high <= low; `width` is a more exact high - low."""
    from scipy.special import log_ndtr  # takes long to import

    first, last = lower_tail(low, high)
    width = last - first if width is None else width
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        log_last = log_ndtr(last)
        wide = log_last + np.log(-np.expm1(np.minimum(log_ndtr(first) - log_last, 0)))
        middle = (first + last) / 2
        narrow = -0.5 * (middle**2 + math.log(2 * math.pi)) + np.log(np.maximum(width, 0))
    return np.where(width * (1 + abs(np.minimum(last, 0))) < _NARROW, narrow, wide)
