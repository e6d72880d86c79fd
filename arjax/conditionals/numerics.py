"""What families share in numbers: temperatures, scales, and integrals without a closed form."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import UserError, refuse
from arjax.core.options import opt

#: Smaller temperatures would divide log-probabilities to -inf: this one, which draws the mode, replaces them.
LEAST = 1e-30
#: Draws of real values at this temperature are still finite.
MOST = 1e20


def check_temperature(temperature: Any) -> float:
    """Returns the temperature as a number that float32 can hold, 1e-30 in place of smaller ones."""
    is_number = isinstance(temperature, numbers.Real) and not isinstance(temperature, bool)
    if not is_number or not 0 < temperature <= MOST:
        raise UserError(f"the temperature must be a positive number up to {MOST:g}, not {temperature!r}")
    return max(float(temperature), LEAST)


def as_temperature(temperature: float | jax.Array) -> float | jax.Array:
    """Returns the temperature of a draw: checked where it is known, and inside `jit` brought into the range above."""
    if not isinstance(temperature, jax.Array):
        return check_temperature(temperature)
    refuse((temperature.ndim, f"a draw has one temperature, not an array of shape {temperature.shape}"))
    if not isinstance(temperature, jax.core.Tracer):
        return check_temperature(temperature.item())
    return jnp.clip(temperature.astype(jnp.float32), LEAST, MOST)


def tempered(log_p: jax.Array, temperature: float | jax.Array, axis: int = -1) -> jax.Array:
    """Returns log p^(1/T) up to a constant, by which the largest along the axis is 0 at any temperature."""
    best = log_p.argmax(axis, keepdims=True)
    largest = jnp.take_along_axis(log_p, best, axis)
    below = jnp.minimum(log_p - jnp.where(jnp.isfinite(largest), largest, 0.0), 0.0)
    # Set, not computed: where a fused program rounds the two differently, a tiny T makes a large number of the rest.
    is_best = jax.lax.broadcasted_iota(jnp.int32, log_p.shape, axis % log_p.ndim) == best
    return jnp.where(is_best, 0.0, below / as_temperature(temperature))


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


#: Gauss-Legendre points per interval.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(6)


def entropy_by_quadrature(log_density: Callable[[jax.Array], jax.Array], breakpoints: jax.Array) -> jax.Array:
    """-int p log p, [...], of log-densities of points [N, ...]; `breakpoints` as for `integral`, to cover them."""

    def density(x: jax.Array) -> jax.Array:
        log_p = log_density(x)
        return jnp.exp(log_p) * log_p

    return -integral(density, breakpoints)


def integral(function: Callable[[jax.Array], jax.Array], breakpoints: jax.Array) -> jax.Array:
    """Integrals [...] of functions that map points [N, ...] to values, by six Gauss-Legendre points between neighbours
    of the `breakpoints` [N + 1, ...], in any order; they must lie about one scale apart wherever the functions bend.
    """
    edges = jnp.sort(breakpoints, axis=0)
    middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2

    def add(total: jax.Array, node: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return total + node[1] * (half * function(middle + node[0] * half)).sum(0), None

    nodes = (jnp.asarray(_NODES, jnp.float32), jnp.asarray(_WEIGHTS, jnp.float32))
    return jax.lax.scan(add, jnp.zeros(middle.shape[1:], jnp.float32), nodes)[0]


def stratified_points(num: int, dims: int) -> np.ndarray:
    """Returns `num` points that fill the open unit cube evenly, float64[num, dims]: the first coordinate takes the
    midpoints of equal strata, the others n alpha_j mod 1 with alpha_j = g^-j, g^dims = g + 1 (Roberts, 2018, "The
    unreasonable effectiveness of quasirandom sequences"), as in Hammersley's construction.
    """
    n = np.arange(num)
    g = 2.0
    for _ in range(64):
        g = (1 + g) ** (1 / max(dims, 2))
    alpha = g ** -np.arange(1, dims)
    return np.concatenate([((n + 0.5) / num)[:, None], (0.5 + n[:, None] * alpha) % 1], 1)
