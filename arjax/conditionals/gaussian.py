"""Gaussian conditionals for real values."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from arjax.conditionals.base import CONDITIONALS
from arjax.conditionals.scales import bounded_log_scale, log_scale_floor, soft_bound
from arjax.conditionals.transformed_normal import TransformedNormal


@CONDITIONALS.register("gaussian")
@dataclasses.dataclass(frozen=True)
class Gaussian(TransformedNormal):
    """p(x) = N(x; m, s^2), independently for each scalar of the value; the network gives m and log s.

    Log-probabilities are those of densities. A density has no upper bound: values that repeat exactly (rounded
    measurements) drive s towards 0, which is why log s has the floor `min_log_scale`.

    As x = m + s z it is the affine layer of a flow. There log s is better bounded softly, which `scale_bound` b > 0
    does: b tanh(raw / b) in place of the raw output of the network.
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
        """Differential entropy log s + log(2 pi e) / 2 in nats, [...]; it may be negative."""
        _, log_scale = self._parameters(features)
        return self._sum(log_scale + 0.5 * math.log(2 * math.pi * math.e))

    def mode(self, features: jax.Array) -> jax.Array:
        return self._parameters(features)[0]
