"""Scale parameters of location-scale families: how a network's output becomes a positive, finite scale."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from arjax.core.options import opt

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


def log_scale_floor() -> Any:
    """Declares the option `min_log_scale`, the least log s."""
    return opt(-7.0, least=-LARGEST_LOG_SCALE, below=LARGEST_LOG_SCALE)


def soft_bound() -> Any:
    """Declares the option `scale_bound`, the b of `softly_bounded`."""
    return opt(0.0, least=0, most=LARGEST_LOG_SCALE)
