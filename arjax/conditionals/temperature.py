"""Temperatures: divisors of log-probabilities, and factors of the scale of draws, within the range of float32."""

from __future__ import annotations

import numbers
from typing import Any

import jax
import jax.numpy as jnp

from arjax.core.errors import UserError

#: Smaller temperatures are replaced by this one, which draws the most probable value.
#: They would divide all log-probabilities to -inf.
LEAST = 1e-30
#: Draws of real values at this temperature are still finite.
MOST = 1e20


def check_temperature(temperature: Any) -> float:
    """The temperature as a number that float32 can hold, 1e-30 in place of smaller ones.

    Raises:
      UserError: it is no number above 0 and up to 1e20.
    """
    is_number = isinstance(temperature, numbers.Real) and not isinstance(temperature, bool)
    if not is_number or not 0 < temperature <= MOST:
        raise UserError(f"the temperature must be a positive number up to {MOST:g}, not {temperature!r}")
    return max(float(temperature), LEAST)


def as_temperature(temperature: float | jax.Array) -> float | jax.Array:
    """The temperature of a draw: checked where it is known, and inside `jit` brought into the range above."""
    if not isinstance(temperature, jax.Array):
        return check_temperature(temperature)
    if temperature.ndim:
        raise UserError(f"a draw has one temperature, not an array of shape {temperature.shape}")
    if not isinstance(temperature, jax.core.Tracer):
        return check_temperature(temperature.item())
    return jnp.clip(temperature.astype(jnp.float32), LEAST, MOST)


def tempered(log_p: jax.Array, temperature: float | jax.Array, axis: int = -1) -> jax.Array:
    """log p^(1/T) up to a constant, by which the largest along the axis is 0 at any temperature."""
    best = log_p.argmax(axis, keepdims=True)
    largest = jnp.take_along_axis(log_p, best, axis)
    below = jnp.minimum(log_p - jnp.where(jnp.isfinite(largest), largest, 0.0), 0.0)
    # Set, not computed: where a fused program rounds the two differently, a tiny T makes a large number of the rest.
    is_best = jax.lax.broadcasted_iota(jnp.int32, log_p.shape, axis % log_p.ndim) == best
    return jnp.where(is_best, 0.0, below / as_temperature(temperature))
