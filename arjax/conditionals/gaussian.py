"""Families that transform standard normal noise, and the Gaussian."""

from __future__ import annotations

import abc
import dataclasses
import math

import jax
import jax.numpy as jnp

from arjax.conditionals.base import CONDITIONALS, Conditional
from arjax.conditionals.numerics import as_temperature, bounded_log_scale, log_scale_floor, soft_bound


class TransformedNormal(Conditional):
    """x = g(z; features) with z ~ N(0, 1), independently for each scalar of the value; g is increasing.

    log p(x) = log N(z) + log dz/dx at z = g^-1(x): a layer of an autoregressive flow (Papamakarios, Pavlakou & Murray,
    "Masked Autoregressive Flow for Density Estimation", 2017, section 3.1), see `arjax.models.flow`.
    """

    REPARAMETERISED = True
    DATA = ("real",)
    NEEDS = "real data"

    @abc.abstractmethod
    def to_noise(self, features: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns z and log dz/dx of each scalar, float32[..., *value_shape] each."""

    @abc.abstractmethod
    def from_noise(self, features: jax.Array, noise: jax.Array) -> jax.Array:
        """Returns the value of noise z, float32[..., *value_shape]: the inverse of `to_noise`."""

    def log_prob(self, features: jax.Array, value: jax.Array) -> jax.Array:
        z, log_slope = self.to_noise(features, value)
        return self._sum(log_normal(z) + log_slope)

    def sample(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        """Draws float32[..., *value_shape] from noise of variance T."""
        noise = jax.random.normal(key, (*features.shape[:-1], *self.value_shape))
        return self.from_noise(features, jnp.sqrt(as_temperature(temperature)) * noise)


def log_normal(z: jax.Array) -> jax.Array:
    """log N(z; 0, 1) of each number."""
    return -0.5 * jnp.square(z) - 0.5 * math.log(2 * math.pi)


@CONDITIONALS.register("gaussian")
@dataclasses.dataclass(frozen=True)
class Gaussian(TransformedNormal):
    """p(x) = N(x; m, s^2), independently for each scalar of the value; the network gives m and log s.

    Values that repeat exactly (rounded measurements) drive s towards 0, so log s has the floor `min_log_scale`. In a
    flow, whose affine layer is x = m + s z, a soft bound is better: `scale_bound` b > 0 makes log s = b tanh(raw / b).
    """

    value_shape: tuple[int, ...] = ()
    min_log_scale: float = log_scale_floor()
    scale_bound: float = soft_bound()

    @property
    def num_params(self) -> int:
        return 2 * math.prod(self.value_shape)

    def _parameters(self, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log-scale, float32[..., *value_shape] each: scalar by scalar, the two beside each other."""
        pairs = features.astype(jnp.float32).reshape(*features.shape[:-1], *self.value_shape, 2)
        return pairs[..., 0], bounded_log_scale(pairs[..., 1], self.min_log_scale, self.scale_bound)

    def to_noise(self, features: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(x - m) / s and -log s, float32[..., *value_shape] each."""
        mean, log_scale = self._parameters(features)
        return (value - mean) * jnp.exp(-log_scale), -log_scale

    def from_noise(self, features: jax.Array, noise: jax.Array) -> jax.Array:
        """m + s z; noise of variance T gives N(m, T s^2), which is p^(1/T), renormalised."""
        mean, log_scale = self._parameters(features)
        return mean + jnp.exp(log_scale) * noise

    def entropy(self, features: jax.Array) -> jax.Array:
        """Returns the differential entropy log s + log(2 pi e) / 2 in nats, [...]; it may be negative."""
        _, log_scale = self._parameters(features)
        return self._sum(log_scale + 0.5 * math.log(2 * math.pi * math.e))

    def mode(self, features: jax.Array) -> jax.Array:
        return self._parameters(features)[0]
