"""The mass of a Gaussian on the bin of a level."""

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
