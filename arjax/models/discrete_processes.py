"""Forward processes of discrete chains, and their reverse steps.

Austin et al., "Structured Denoising Diffusion Models in Discrete State-Spaces" (2021). a_t is the probability that a
scalar, or of absorbing processes a site, still has its value after t steps.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from arjax.samplers.schedules import uniform

PROCESSES = ("uniform", "absorbing", "rounds")


def replaced(key: jax.Array, x: jax.Array, kept: jax.Array, num_levels: int) -> jax.Array:
    """x_t of the uniform process: each scalar keeps its value with the probability `kept`, else it is any of the V."""
    keep_key, value_key = jax.random.split(key)
    other = jax.random.randint(value_key, x.shape, 0, num_levels, x.dtype)
    return jnp.where(jax.random.uniform(keep_key, x.shape) < kept, x, other)


def reverse_table(p_0: jax.Array, x_t: jax.Array, kept_t: jax.Array, kept_s: jax.Array) -> jax.Array:
    """p(x_s | x_t) = sum over x_0 of q(x_s | x_t, x_0) p(x_0), of the uniform process: probabilities [..., V].

    By Bayes' rule q(x_s | x_t, x_0) = q(x_t | x_s) q(x_s | x_0) / q(x_t | x_0) (Austin et al., equation 3), where
    q(x_t | x_s) = a d(x_t, x_s) + (1 - a) / V with a = a_t / a_s. So it is
    q(x_t | x_s) (a_s w(x_s) + (1 - a_s) / V sum w), w(x_0) = p(x_0) / q(x_t | x_0), in V operations.

    Args:
      p_0: p(x_0), [..., V]; one-hot: the posterior given x_0.
      x_t: int[...].
      kept_t: a_t, broadcast against [..., V].
      kept_s: a_s of an earlier step, 1 for the data.
    """
    num_levels = p_0.shape[-1]
    same = jax.nn.one_hot(x_t, num_levels)
    kept = kept_t / kept_s
    weight = p_0 / (kept_t * same + (1 - kept_t) / num_levels)
    mixed = kept_s * weight + (1 - kept_s) / num_levels * weight.sum(-1, keepdims=True)
    return (kept * same + (1 - kept) / num_levels) * mixed


def masked_counts(num_sites: int, num_steps: int) -> np.ndarray:
    """Sites that are masked after t = 0, ..., T steps of the process `rounds`, int[T + 1].

    The reverse chain reveals sets of the sizes of `samplers.schedules.uniform`, the first of them in step T.
    """
    return np.cumsum((0, *uniform(num_sites, num_steps)[::-1]))


def lowest(key: jax.Array, among: jax.Array, num: jax.Array) -> jax.Array:
    """A uniformly random set of `num` sites among those marked, bool[D]."""
    scores_D = jnp.where(among, jax.random.uniform(key, among.shape), 2.0)
    rank_D = jnp.argsort(jnp.argsort(scores_D))
    return among & (rank_D < num)
