"""Gradients through draws by the score function.

Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning" (1992).
"""

from __future__ import annotations

import jax


def leave_one_out(value_k: jax.Array) -> jax.Array:
    """The mean of the other values along the first axis, [k, ...]: a baseline that leaves a gradient unbiased
    (Kool, van Hoof & Welling, "Buy 4 REINFORCE Samples, Get a Baseline for Free!", 2019). 0 for a single value.
    """
    return (value_k.sum(0) - value_k) / max(len(value_k) - 1, 1)


def with_score_function(value: jax.Array, signal: jax.Array, log_prob: jax.Array) -> jax.Array:
    """`value`, with the gradient signal * grad log_prob added to its own; all of one shape."""
    surrogate = jax.lax.stop_gradient(signal) * log_prob
    return value + surrogate - jax.lax.stop_gradient(surrogate)
