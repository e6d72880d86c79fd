"""Spline conditionals: a normal distribution seen through a flexible monotone function, shifted and scaled."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.base import CONDITIONALS
from arjax.conditionals.gaussian import TransformedNormal, log_normal
from arjax.conditionals.numerics import LEAST, bounded_log_scale, integral, log_scale_floor, soft_bound
from arjax.core.options import opt

#: Least width and height of a bin as a part of the whole, and least derivative (the values of the paper's appendix).
LEAST_SIZE, LEAST_DERIVATIVE = 1e-3, 1e-3
#: Raw derivative of which softplus makes 1, with `LEAST_DERIVATIVE`.
_ONE = float(np.log(np.expm1(1 - LEAST_DERIVATIVE)))


class Spline(NamedTuple):
    """Knots x and y from -b to b, and the slope at each, 1 at both ends: [..., K + 1] each."""

    x: jax.Array
    y: jax.Array
    slope: jax.Array


def make_spline(raw: jax.Array, bound: float) -> Spline:
    """Returns the spline of raw K widths, K heights and K - 1 derivatives, [..., 3K - 1]; all 0 is the identity."""
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


def _bin_of(spline: Spline, knots: jax.Array, numbers: jax.Array) -> tuple[jax.Array, jax.Array, _Bin]:
    """Whether each number lies within the bounds of `knots` (`spline.x` or `spline.y`), [...], the number there, or 0
    outside, and its bin.
    """
    within = jnp.abs(numbers) < knots[..., -1]
    number = jnp.where(within, numbers, 0.0)
    index = (number[..., None] >= knots[..., 1:-1]).sum(-1, keepdims=True)
    ends = jnp.broadcast_to(jnp.stack(spline), (3, *index.shape[:-1], knots.shape[-1]))
    first, last = (jnp.take_along_axis(ends, (index + i)[None], axis=-1)[..., 0] for i in (0, 1))
    width, height = last[0] - first[0], last[1] - first[1]
    return within, number, _Bin(first[0], first[1], width, height, height / width, first[2], last[2])


def _log_slope(at: _Bin, xi: jax.Array) -> jax.Array:
    """log dy/dx at x = x_k + xi w: equation 5."""
    rest = 1 - xi
    top = at.last * xi**2 + 2 * at.mean_slope * xi * rest + at.first * rest**2
    bottom = at.mean_slope + (at.last + at.first - 2 * at.mean_slope) * xi * rest
    return 2 * (jnp.log(at.mean_slope) - jnp.log(bottom)) + jnp.log(top)


def forward(spline: Spline, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns y and log dy/dx at x[...]: equations 4 and 5."""
    within, inner, at = _bin_of(spline, spline.x, x)
    xi = (inner - at.x) / at.width
    top = at.height * (at.mean_slope * xi**2 + at.first * xi * (1 - xi))
    bottom = at.mean_slope + (at.last + at.first - 2 * at.mean_slope) * xi * (1 - xi)
    return jnp.where(within, at.y + top / bottom, x), jnp.where(within, _log_slope(at, xi), 0.0)


def inverse(spline: Spline, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns x and log dy/dx there, of y[...]: the root of a quadratic equation, equations 6 to 8 of appendix A.1."""
    within, inner, at = _bin_of(spline, spline.y, y)
    rise, bend = inner - at.y, at.last + at.first - 2 * at.mean_slope
    a = at.height * (at.mean_slope - at.first) + rise * bend
    b = at.height * at.first - rise * bend
    c = -at.mean_slope * rise
    root = jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, LEAST))
    xi = jnp.clip(2 * c / (-b - root), 0.0, 1.0)
    return jnp.where(within, at.x + xi * at.width, y), jnp.where(within, _log_slope(at, xi), 0.0)


#: Pieces of each bin in quadratures and in the search for the mode, and rounds of that search.
_PIECES, _ROUNDS = 8, 4


@CONDITIONALS.register("spline")
@dataclasses.dataclass(frozen=True)
class SplineNormal(TransformedNormal):
    """z = f((x - m) / s) ~ N(0, 1), independently for each scalar.

    f is a monotone rational-quadratic spline on [-bound, bound], and the identity outside (Durkan et al., "Neural
    Spline Flows", 2019, sections 3.1 and 4.1). The network gives m and log s, bounded as in `gaussian`, and K widths, K
    heights and K - 1 derivatives. All zero is N(0, 1). The density may have up to about K modes; tails are normal.
    """

    bins: int = opt(8, most=100)
    bound: float = opt(4.0, least=0.1, most=1000)
    value_shape: tuple[int, ...] = ()
    min_log_scale: float = log_scale_floor()
    scale_bound: float = soft_bound()

    @property
    def num_params(self) -> int:
        return (3 * self.bins + 1) * math.prod(self.value_shape)

    def _parameters(self, features: jax.Array) -> tuple[jax.Array, jax.Array, Spline]:
        """m and log s, float32[..., *value_shape] each, and the spline: scalar by scalar."""
        shape = (*features.shape[:-1], *self.value_shape, 3 * self.bins + 1)
        raw = features.astype(jnp.float32).reshape(shape)
        spline = make_spline(raw[..., 2:], self.bound)
        return raw[..., 0], bounded_log_scale(raw[..., 1], self.min_log_scale, self.scale_bound), spline

    def to_noise(self, features: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array]:
        """f((x - m) / s) and the log of its derivative, float32[..., *value_shape] each."""
        mean, log_scale, spline = self._parameters(features)
        z, log_slope = forward(spline, (value - mean) * jnp.exp(-log_scale))
        return z, log_slope - log_scale

    def from_noise(self, features: jax.Array, noise: jax.Array) -> jax.Array:
        """m + s f^-1(z), by the closed form of the inverse."""
        mean, log_scale, spline = self._parameters(features)
        return mean + jnp.exp(log_scale) * inverse(spline, noise)[0]

    def entropy(self, features: jax.Array) -> jax.Array:
        """Differential entropy in nats, [...]: log s + log(2 pi e) / 2 - E[log f'], the mean over z by quadrature."""
        _, log_scale, spline = self._parameters(features)
        lifted = jax.tree.map(lambda knots: knots[None], spline)
        # f' may change fast near the ends of a bin, over a short part of its width or of its height
        breakpoints = jnp.concatenate([_cut(spline.y), forward(lifted, _cut(spline.x))[0]])
        mean = integral(lambda z: jnp.exp(log_normal(z)) * inverse(lifted, z)[1], breakpoints)
        return self._sum(log_scale + 0.5 * math.log(2 * math.pi * math.e) - mean)

    def mode(self, features: jax.Array) -> jax.Array:
        """Where the density is highest: the best of a grid of points in each bin, and of finer ones around it."""
        mean, log_scale, spline = self._parameters(features)
        lifted = jax.tree.map(lambda knots: knots[None], spline)
        points = _cut(spline.x)
        for _ in range(_ROUNDS):
            z, log_slope = forward(lifted, points)
            best = (log_normal(z) + log_slope).argmax(0)
            last = len(points) - 1
            low, middle, high = (
                jnp.take_along_axis(points, jnp.clip(best + i, 0, last)[None], axis=0) for i in (-1, 0, 1)
            )
            near = jnp.linspace(0, 1, _PIECES + 1).reshape(-1, *[1] * (points.ndim - 1))
            points = jnp.concatenate([low + near[:-1] * (middle - low), middle + near * (high - middle)])
        return mean + jnp.exp(log_scale) * middle[0]


def _cut(knots: jax.Array) -> jax.Array:
    """Returns the knots [..., K + 1] and points between them, closer near the knots, [K * _PIECES + 1, ...]."""
    knots = jnp.moveaxis(knots, -1, 0)
    part = (0.5 - 0.5 * np.cos(np.pi * np.arange(_PIECES) / _PIECES)).astype(np.float32)
    part = part.reshape(1, -1, *[1] * (knots.ndim - 1))
    between = knots[:-1, None] + part * (knots[1:] - knots[:-1])[:, None]
    return jnp.concatenate([between.reshape(-1, *knots.shape[1:]), knots[-1:]])
