"""Bernoulli conditionals for binary values."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from arjax.conditionals.base import CONDITIONALS, Conditional
from arjax.conditionals.numerics import as_temperature
from arjax.core.spec import EventSpec


@CONDITIONALS.register("bernoulli")
@dataclasses.dataclass(frozen=True)
class Bernoulli(Conditional):
    """p(x = 1) = sigmoid(logit), independently for each scalar of the value."""

    value_shape: tuple[int, ...] = ()

    NEEDS = "binary data"

    @classmethod
    def check_event(cls, event: EventSpec) -> None:
        if event.num_levels != 2:
            raise cls.unsuitable(event)

    @property
    def num_params(self) -> int:
        return math.prod(self.value_shape)

    def _logits(self, features: jax.Array) -> jax.Array:
        return features.astype(jnp.float32).reshape(*features.shape[:-1], *self.value_shape)

    def log_table(self, features: jax.Array) -> jax.Array:
        logits = self._logits(features)
        return jax.nn.log_sigmoid(jnp.stack([-logits, logits], -1))

    def from_log_table(self, table: jax.Array) -> jax.Array:
        return (table[..., 1:] - table[..., :1]) if not self.value_shape else super().from_log_table(table)

    def log_prob(self, features: jax.Array, value: jax.Array) -> jax.Array:
        logits = self._logits(features)
        log_prob = -jax.nn.softplus(jnp.where(value > 0, -logits, logits))
        return self._sum(log_prob)

    def sample(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        """Draws int32 values of shape [..., *value_shape] from logits / temperature."""
        logits = self._logits(features)
        # log u - log(1-u) is logistic noise; comparing logits with it keeps precision where sigmoid would saturate.
        noise = jax.random.logistic(key, logits.shape)
        return (noise * as_temperature(temperature) < logits).astype(jnp.int32)

    def entropy(self, features: jax.Array) -> jax.Array:
        # -log max(p, q) + |logit| min(p, q): a sum of positive terms, exact where p log p + q log q would cancel.
        size = jnp.abs(self._logits(features))
        return self._sum(jax.nn.softplus(-size) + size * jax.nn.sigmoid(-size))

    def mode(self, features: jax.Array) -> jax.Array:
        return (self._logits(features) > 0).astype(jnp.int32)
