"""The arithmetic of mixtures, log sum_k w_k p_k, in numpy (float64) and in JAX."""

from __future__ import annotations

import math
from typing import overload

import jax
import numpy as np


@overload
def log_mixture(log_weights: np.ndarray, log_probs: np.ndarray, axis: int = 0) -> np.ndarray: ...


@overload
def log_mixture(log_weights: jax.Array | np.ndarray, log_probs: jax.Array, axis: int = 0) -> jax.Array: ...


def log_mixture(log_weights, log_probs, axis=0):
    """Returns log sum_k w_k p_k over one axis of `log_probs`: whole examples are mixed, not their conditionals.

    `log_weights` are [K], or broadcast to `log_probs`.
    """
    if log_weights.ndim == 1:
        log_weights = log_weights.reshape(*[-1 if i == axis % log_probs.ndim else 1 for i in range(log_probs.ndim)])
    joint = log_weights + log_probs
    return jax.nn.logsumexp(joint, axis) if isinstance(joint, jax.Array) else np.logaddexp.reduce(joint, axis)


@overload
def log_mean(log_probs: np.ndarray, axis: int = 0) -> np.ndarray: ...


@overload
def log_mean(log_probs: jax.Array, axis: int = 0) -> jax.Array: ...


def log_mean(log_probs, axis=0):
    """Returns log (1/K) sum_k p_k over one axis, the mixture with equal weights."""
    is_jax = isinstance(log_probs, jax.Array)
    total = jax.nn.logsumexp(log_probs, axis) if is_jax else np.logaddexp.reduce(log_probs, axis)
    return total - math.log(log_probs.shape[axis])


def mixed_nats(nats_MN: np.ndarray, weights_M: np.ndarray) -> np.ndarray:
    """Returns -log sum_m w_m exp(-nats_m) of each example, [N]; weights may be 0."""
    with np.errstate(divide="ignore"):
        return -log_mixture(np.log(weights_M), -np.asarray(nats_MN))
