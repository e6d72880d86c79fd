"""Beta distributions for real values between two bounds."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from arjax.conditionals.base import CONDITIONALS, Conditional
from arjax.conditionals.numerics import as_temperature
from arjax.core.errors import UserError
from arjax.core.options import opt
from arjax.core.spec import EventSpec

#: The density is constant nearer to a bound than this part of the range.
EDGE = 1e-6
#: Values on a bound are off by no more than this, as float32.
_ROUNDING = 2.5e-7
#: log of the largest shape: a standard deviation of about 1/200 of the range, well within float32.
LARGEST_LOG_SHAPE = 9.0
#: From this argument on, Stirling's series are exact in float32.
_LARGE = 8.0


@CONDITIONALS.register("beta")
@dataclasses.dataclass(frozen=True)
class Beta(Conditional):
    """p(x) = u^(a - 1) (1 - u)^(b - 1) / (B(a, b) (high - low)), u = (x - low) / (high - low), for each scalar.

    The network gives log a and log b; all zero is the uniform distribution. `low` and `high` are in the units of the
    model: for standardised data, (bound - mean) / std. A density may be infinite at a bound, so the mass within 1e-6 of
    the range of a bound is spread evenly over that part and 2.5e-7 outside, for rounded values on the bound. The total
    stays 1; values farther out have the log-density -inf. a and b have the floor e^`min_log_shape`.
    """

    low: float = 0.0
    high: float = 1.0
    value_shape: tuple[int, ...] = ()
    min_log_shape: float = opt(-0.7, least=-5, below=LARGEST_LOG_SHAPE)

    DATA = ("real",)
    NEEDS = "real data"

    @classmethod
    def for_event(cls, event: EventSpec, **fields: Any) -> Beta:
        beta = super().for_event(event, **fields)
        if not beta.low < beta.high:
            raise UserError(f"low of the conditional 'beta' must be below high, not {beta.low} with high={beta.high}")
        return beta

    @property
    def num_params(self) -> int:
        return 2 * math.prod(self.value_shape)

    @property
    def _log_range(self) -> float:
        return math.log(self.high - self.low)

    def _shapes(self, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """a and b, float32[..., *value_shape] each: scalar by scalar, the two beside each other."""
        pairs = features.astype(jnp.float32).reshape(*features.shape[:-1], *self.value_shape, 2)
        shapes = jnp.exp(jnp.clip(pairs, self.min_log_shape, LARGEST_LOG_SHAPE))
        return shapes[..., 0], shapes[..., 1]

    def _value(self, u: jax.Array) -> jax.Array:
        """Returns values of numbers u from 0 to 1."""
        return jnp.clip(self.low + (self.high - self.low) * u, self.low, self.high)  # rounding goes no farther

    def log_prob(self, features: jax.Array, value: jax.Array) -> jax.Array:
        # With m = a / (a + b), a log(u / m) + b log((1 - u) / (1 - m)) is of moderate size where log p is.
        a, b = self._shapes(features)
        # u and 1 - u each from its own bound, so that both keep their digits near it
        above, below = ((d / (self.high - self.low)) for d in (value - self.low, self.high - value))
        u, v = (jnp.clip(d, EDGE, 1 - EDGE) for d in (above, below))
        divergence = a * jnp.log(u * (a + b) / a) + b * jnp.log(v * (a + b) / b)
        log_p = divergence - jnp.log(u) - jnp.log(v) - _log_beta_at_mean(a, b) - self._log_range
        log_p += jnp.where(above < EDGE, _at_edge(a, b), 0) + jnp.where(below < EDGE, _at_edge(b, a), 0)
        return self._sum(jnp.where((above < -_ROUNDING) | (below < -_ROUNDING), -jnp.inf, log_p))

    def sample(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        """Draws with a / T and b / T: the mean stays (p^(1/T) is no density where a shape below 1 is cooled)."""
        a, b = self._shapes(features)
        key_a, key_b = jax.random.split(key)
        temperature = as_temperature(temperature)
        log_odds = jax.random.loggamma(key_a, a / temperature) - jax.random.loggamma(key_b, b / temperature)
        return self._value(jax.nn.sigmoid(log_odds))

    def entropy(self, features: jax.Array) -> jax.Array:
        """Differential entropy in nats, [...]: minus the mean of `log_prob`, where E[log u] = psi(a) - psi(a + b)."""
        a, b = self._shapes(features)
        excess_a, excess_b = (_digamma_less_log(s) - _digamma_less_log(a + b) for s in (a, b))  # E[log(u / m)], ...
        log_u = excess_a + jnp.log(a / (a + b)) + excess_b + jnp.log(b / (a + b))
        return self._sum(log_u - a * excess_a - b * excess_b + _log_beta_at_mean(a, b) + self._log_range)

    def mode(self, features: jax.Array) -> jax.Array:
        """(a - 1) / (a + b - 2) where both exceed 1; else the bound with the smaller shape, where p is highest."""
        a, b = self._shapes(features)
        inside = (a > 1) & (b > 1)
        u = jnp.where(inside, (a - 1) / jnp.where(inside, a + b - 2, 1), jnp.where(a < b, 0.0, 1.0))
        return self._value(u)


def _at_edge(a: jax.Array, b: jax.Array) -> jax.Array:
    """log of P(u < E) / (E + R) over the density at E, R the rounding: first terms of the incomplete beta series."""
    return (b - 1) * EDGE / (a + 1) - jnp.log(a) - math.log(1 + _ROUNDING / EDGE)


def _log_beta_at_mean(a: jax.Array, b: jax.Array) -> jax.Array:
    """log B(a, b) - a log m - b log(1 - m), m = a / (a + b), by Stirling's formula with its remainder `_stirling`."""
    correction = _stirling(a) + _stirling(b) - _stirling(a + b)
    return 0.5 * (math.log(2 * math.pi) + jnp.log(a + b) - jnp.log(a) - jnp.log(b)) + correction


def _stirling(x: jax.Array) -> jax.Array:
    """d(x) = log G(x) - (x - 1/2) log x + x - log(2 pi) / 2 (Abramowitz & Stegun, 1964, 6.1.41)."""
    small, large = jnp.minimum(x, _LARGE), jnp.maximum(x, _LARGE)
    exact = jax.lax.lgamma(small) - (small - 0.5) * jnp.log(small) + small - 0.5 * math.log(2 * math.pi)
    return jnp.where(x < _LARGE, exact, (1 / 12 - (1 / 360 - 1 / 1260 / large**2) / large**2) / large)


def _digamma_less_log(x: jax.Array) -> jax.Array:
    """psi(x) - log x (Abramowitz & Stegun, 1964, 6.3.18)."""
    small, large = jnp.minimum(x, _LARGE), jnp.maximum(x, _LARGE)
    exact = jax.lax.digamma(small) - jnp.log(small)
    series = -0.5 / large - (1 / 12 - (1 / 120 - 1 / 252 / large**2) / large**2) / large**2
    return jnp.where(x < _LARGE, exact, series)
