"""Gaussian conditionals for real values."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from arjax.conditionals.base import CONDITIONALS, Conditional, unsuitable
from arjax.conditionals.scales import bounded_log_scale, check_floor
from arjax.conditionals.temperature import as_temperature
from arjax.core.spec import EventSpec


@CONDITIONALS.register("gaussian")
@dataclasses.dataclass(frozen=True)
class Gaussian(Conditional):
    """p(x) = N(x; m, s^2), independently for each scalar of the value; the network gives m and log s.

    Log-probabilities are those of densities. A density has no upper bound: values that repeat exactly (rounded
    measurements) drive s towards 0, which is why log s has the floor `min_log_scale`.
    """

    value_shape: tuple[int, ...] = ()
    min_log_scale: float = -7.0

    REPARAMETERISED: ClassVar[bool] = True

    @classmethod
    def for_event(cls, event: EventSpec, min_log_scale: float = -7.0) -> Gaussian:
        """Gaussian conditionals for real data; raises `UserError` for any other kind."""
        if event.kind != "real":
            raise unsuitable("gaussian", "real data", event)
        check_floor("gaussian", min_log_scale)
        return cls(event.value_shape, float(min_log_scale))

    @property
    def num_params(self) -> int:
        """Mean and log-scale of each scalar."""
        return 2 * math.prod(self.value_shape)

    def _parameters(self, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log-scale, float32[..., *value_shape] each: scalar by scalar, the two beside each other."""
        pairs = features.astype(jnp.float32).reshape(*features.shape[:-1], *self.value_shape, 2)
        return pairs[..., 0], bounded_log_scale(pairs[..., 1], self.min_log_scale)

    def log_prob(self, features: jax.Array, value: jax.Array) -> jax.Array:
        """log N(value; m, s^2) in nats, [...], summed over the value's own dimensions."""
        mean, log_scale = self._parameters(features)
        z = (value - mean) * jnp.exp(-log_scale)
        return self._sum(-0.5 * jnp.square(z) - log_scale - 0.5 * math.log(2 * math.pi))

    def sample(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        """Draws float32[..., *value_shape] from p^(1/T), renormalised: N(m, T s^2)."""
        mean, log_scale = self._parameters(features)
        noise = jax.random.normal(key, mean.shape)
        return mean + jnp.sqrt(as_temperature(temperature)) * jnp.exp(log_scale) * noise

    def entropy(self, features: jax.Array) -> jax.Array:
        """Differential entropy log s + log(2 pi e) / 2 in nats, [...]; it may be negative."""
        _, log_scale = self._parameters(features)
        return self._sum(log_scale + 0.5 * math.log(2 * math.pi * math.e))

    def mode(self, features: jax.Array) -> jax.Array:
        """The mean."""
        return self._parameters(features)[0]
