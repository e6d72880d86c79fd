"""Gaussians and the levels 0, ..., V - 1, which lie evenly from -1 to 1."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr


def log_bin_mass(distance: jax.Array, half: jax.Array, level: jax.Array, num_levels: int) -> jax.Array:
    """log of the mass of a standard normal on [distance - half, distance + half]; the lowest level begins at -infinity
    and the highest ends at infinity.
    """
    low, high = distance - half, distance + half
    low, high = jnp.where(distance > 0, -high, low), jnp.where(distance > 0, -low, high)  # the tail with more digits
    log_high = log_ndtr(high)
    # both ends are finite: log(P(high) - P(low)), also where the two are next to equal
    inner = log_high + jnp.log(-jnp.expm1(jnp.minimum(log_ndtr(low) - log_high, -1e-7)))
    outer = jnp.where(level == 0, log_ndtr(distance + half), log_ndtr(half - distance))
    return jnp.where((level == 0) | (level == num_levels - 1), outer, inner)


def expected_level(logits: jax.Array, y: jax.Array, precision: jax.Array) -> jax.Array:
    """The mean of the levels c_k under p(k) ~ exp(logits_k) N(y; c_k, 1 / precision^2), [..., V] -> [...]: under the
    posterior given a noisy y of a prior over the levels.

    The mean of a categorical as the prediction of x_0 is the score interpolation of Dieleman et al., "Continuous
    Diffusion for Categorical Data" (2022), section 3.1; the likelihood of the noisy value itself, which is known, is
    not left to the network.
    """
    levels_V = jnp.linspace(-1.0, 1.0, logits.shape[-1])
    likelihood = -0.5 * (precision[..., None] * (y[..., None] - levels_V)) ** 2
    return (jax.nn.softmax(logits + likelihood) * levels_V).sum(-1)
