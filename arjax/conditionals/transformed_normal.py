"""Families that transform standard normal noise: each scalar is an increasing function of one normal number."""

from __future__ import annotations

import abc
import math

import jax
import jax.numpy as jnp

from arjax.conditionals.base import Conditional
from arjax.conditionals.temperature import as_temperature


class TransformedNormal(Conditional):
    """x = g(z; features) with z ~ N(0, 1), independently for each scalar of the value; g is increasing.

    So log p(x) = log N(z) + log dz/dx at z = g^-1(x). In a model of several sites the two directions of g are the two
    directions of a layer of an autoregressive flow (Papamakarios, Pavlakou & Murray, "Masked Autoregressive Flow for
    Density Estimation", 2017, section 3.1), see `arjax.models.flow`.
    """

    REPARAMETERISED = True
    DATA = ("real",)
    NEEDS = "real data"

    @abc.abstractmethod
    def to_noise(self, features: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array]:
        """z and log dz/dx of each scalar, float32[..., *value_shape] each."""

    @abc.abstractmethod
    def from_noise(self, features: jax.Array, noise: jax.Array) -> jax.Array:
        """The value of noise z, float32[..., *value_shape]: the inverse of `to_noise`."""

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
