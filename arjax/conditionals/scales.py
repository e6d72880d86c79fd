"""Scale parameters of location-scale families: how a network's output becomes a positive, finite scale."""

from __future__ import annotations

import numbers
import sys
from typing import TypeGuard

import jax
import jax.numpy as jnp

from arjax.core.errors import UserError
from arjax.core.integers import is_integer

#: exp(20) times the unit is wider than any data, and its square is still far from overflow.
LARGEST_LOG_SCALE = 20.0


def softly_bounded(raw: jax.Array, bound: float) -> jax.Array:
    """b tanh(raw / b): about `raw` near 0, between -b and b everywhere, with a gradient everywhere; 0: as it is."""
    return bound * jnp.tanh(raw / bound) if bound else raw


def before_bound(bounded: jax.Array, bound: float) -> jax.Array:
    """b artanh(y / b), the inverse of `softly_bounded` for b > 0; numbers beyond the bound become those near it."""
    inside = 1 - 1e-6
    return bound * jnp.arctanh(jnp.clip(bounded / bound, -inside, inside))


def bounded_log_scale(raw: jax.Array, least: float, scale_bound: float = 0.0) -> jax.Array:
    """log s from a network's output: softly bounded, and between `least` and 20, so neither s nor 1/s overflows."""
    return jnp.clip(softly_bounded(raw, scale_bound), least, LARGEST_LOG_SCALE)


def check_floor(family: str, least: float) -> None:
    """Raises `UserError` unless `min_log_scale` is a number below the largest log-scale that does not overflow."""
    if not is_number(least) or not -LARGEST_LOG_SCALE <= least < LARGEST_LOG_SCALE:
        raise UserError(f"min_log_scale of the conditional {family!r} must be a number from -20 to 20, not {least!r}")


def check_soft_bound(family: str, bound: float) -> None:
    """Raises `UserError` unless `scale_bound` is a number from 0 (none) to the largest log-scale."""
    if not is_number(bound) or not 0 <= bound <= LARGEST_LOG_SCALE:
        raise UserError(f"scale_bound of the conditional {family!r} must be a number from 0 to 20, not {bound!r}")


def check_components(family: str, components: int) -> None:
    """Raises `UserError` unless there is at least one mixture component."""
    if not is_integer(components) or components < 1:
        raise UserError(
            f"components of the conditional {family!r} must be a whole number, at least 1, not {components!r}"
        )


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a number that a float can hold, neither infinite nor NaN."""
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_real and abs(value) <= sys.float_info.max  # type: ignore[arg-type]
