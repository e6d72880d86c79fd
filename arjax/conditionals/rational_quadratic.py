"""Monotone rational-quadratic splines with linear tails, and their inverses.

Durkan, Bekasov, Murray & Papamakarios, "Neural Spline Flows" (2019), section 3.1. On [-b, b] the function goes through
K + 1 knots, in which it has given derivatives; outside it is the identity.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

#: Least width and height of a bin as a part of the whole, and least derivative (the values of the paper's appendix).
LEAST_SIZE, LEAST_DERIVATIVE = 1e-3, 1e-3
#: Raw derivative of which softplus makes 1, with `LEAST_DERIVATIVE`.
_ONE = float(np.log(np.expm1(1 - LEAST_DERIVATIVE)))


class Spline(NamedTuple):
    """Knots and derivatives, [..., K + 1] each.

    Attributes:
      x: where the function is given, from -b to b.
      y: its values there, from -b to b.
      slope: its derivatives there; 1 at both ends.
    """

    x: jax.Array
    y: jax.Array
    slope: jax.Array


def make_spline(raw: jax.Array, bound: float) -> Spline:
    """The spline of K widths, K heights and K - 1 derivatives before their normalisation, [..., 3K - 1].

    All 0 is the identity.
    """
    num = (raw.shape[-1] + 1) // 3
    widths, heights, slopes = jnp.split(raw, [num, 2 * num], axis=-1)
    one = jnp.ones((*raw.shape[:-1], 1), raw.dtype)
    inner = LEAST_DERIVATIVE + jax.nn.softplus(slopes + _ONE)
    return Spline(_knots(widths, bound), _knots(heights, bound), jnp.concatenate([one, inner, one], -1))


def _knots(raw: jax.Array, bound: float) -> jax.Array:
    """Ends of bins of sizes softmax(raw) on [-b, b], [..., K + 1]."""
    num = raw.shape[-1]
    sizes = LEAST_SIZE + (1 - num * LEAST_SIZE) * jax.nn.softmax(raw, axis=-1)
    inner = jnp.cumsum(sizes, axis=-1)[..., :-1]
    ends = jnp.zeros((*raw.shape[:-1], 1), raw.dtype), jnp.ones((*raw.shape[:-1], 1), raw.dtype)
    return bound * (2 * jnp.concatenate([ends[0], inner, ends[1]], -1) - 1)


class _Bin(NamedTuple):
    """The bin of one number: its first corner, its size, s = height / width, and the derivatives at its ends."""

    x: jax.Array
    y: jax.Array
    width: jax.Array
    height: jax.Array
    mean_slope: jax.Array
    first: jax.Array
    last: jax.Array


def _bin_of(spline: Spline, knots: jax.Array, number: jax.Array) -> _Bin:
    """The bin between `knots` (`spline.x` or `spline.y`) in which each number lies, [...]; within the bounds."""
    index = (number[..., None] >= knots[..., 1:-1]).sum(-1, keepdims=True)
    ends = jnp.broadcast_to(jnp.stack(spline), (3, *index.shape[:-1], knots.shape[-1]))
    first, last = (jnp.take_along_axis(ends, (index + i)[None], axis=-1)[..., 0] for i in (0, 1))
    width, height = last[0] - first[0], last[1] - first[1]
    return _Bin(first[0], first[1], width, height, height / width, first[2], last[2])


def _log_slope(at: _Bin, xi: jax.Array) -> jax.Array:
    """log dy/dx at x = x_k + xi w: equation 5."""
    rest = 1 - xi
    top = at.last * xi**2 + 2 * at.mean_slope * xi * rest + at.first * rest**2
    bottom = at.mean_slope + (at.last + at.first - 2 * at.mean_slope) * xi * rest
    return 2 * (jnp.log(at.mean_slope) - jnp.log(bottom)) + jnp.log(top)


def forward(spline: Spline, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """y and log dy/dx at x[...]: equations 4 and 5."""
    bound = spline.x[..., -1]
    within = jnp.abs(x) < bound
    inner = jnp.where(within, x, 0.0)
    at = _bin_of(spline, spline.x, inner)
    xi = (inner - at.x) / at.width
    top = at.height * (at.mean_slope * xi**2 + at.first * xi * (1 - xi))
    bottom = at.mean_slope + (at.last + at.first - 2 * at.mean_slope) * xi * (1 - xi)
    return jnp.where(within, at.y + top / bottom, x), jnp.where(within, _log_slope(at, xi), 0.0)


def inverse(spline: Spline, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """x and log dy/dx there, of y[...]: the root of a quadratic equation, equations 6 to 8 of appendix A.1."""
    bound = spline.y[..., -1]
    within = jnp.abs(y) < bound
    inner = jnp.where(within, y, 0.0)
    at = _bin_of(spline, spline.y, inner)
    rise, bend = inner - at.y, at.last + at.first - 2 * at.mean_slope
    a = at.height * (at.mean_slope - at.first) + rise * bend
    b = at.height * at.first - rise * bend
    c = -at.mean_slope * rise
    root = jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, 1e-30))
    xi = jnp.clip(2 * c / (-b - root), 0.0, 1.0)
    return jnp.where(within, at.x + xi * at.width, y), jnp.where(within, _log_slope(at, xi), 0.0)
