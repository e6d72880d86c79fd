"""Categorical conditionals for integer values."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from arjax.conditionals.base import CONDITIONALS, Conditional
from arjax.conditionals.numerics import before_bound, softly_bounded, tempered
from arjax.core.options import opt
from arjax.core.spec import DISCRETE_KINDS

#: A larger cap would change no logit that a softmax tells apart from a certain value.
LARGEST_CAP = 1000


class ByTable(Conditional):
    """Independent scalars with a list of the probabilities of their values, `log_table`; some of them may be 0."""

    def log_prob(self, features: jax.Array, value: jax.Array) -> jax.Array:
        # A sum under a mask, not a gather: XLA fuses it with the softmax, and its gradient needs no scatter.
        table = self.log_table(features)
        is_value = value[..., None].astype(jnp.int32) == jnp.arange(table.shape[-1])
        return self._sum(jnp.where(is_value, table, 0.0).sum(-1))

    def entropy(self, features: jax.Array) -> jax.Array:
        table = self.log_table(features)
        p = jnp.exp(table)
        return self._sum(-jnp.where(p > 0, p * jnp.where(p > 0, table, 0.0), 0.0).sum(-1))

    def mode(self, features: jax.Array) -> jax.Array:
        return self.log_table(features).argmax(-1).astype(jnp.int32)


@CONDITIONALS.register("categorical")
@dataclasses.dataclass(frozen=True)
class Categorical(ByTable):
    """p(x = v) = softmax(logits)_v, independently for each scalar of the value.

    `soft_cap` c > 0 keeps logits in (-c, c): c tanh(f / c) of the features f (Gemma Team, "Gemma 2", 2024, section 2).
    """

    num_levels: int
    value_shape: tuple[int, ...] = ()
    soft_cap: float = opt(0.0, least=0, most=LARGEST_CAP)

    DATA: ClassVar[tuple[str, ...]] = DISCRETE_KINDS
    NEEDS = "discrete data"

    @property
    def num_params(self) -> int:
        return math.prod(self.value_shape) * self.num_levels

    def log_table(self, features: jax.Array) -> jax.Array:
        # float32: a softmax in bfloat16 loses whole bits of the score.
        return jax.nn.log_softmax(self._logits(features.astype(jnp.float32)))

    def _logits(self, features: jax.Array) -> jax.Array:
        return softly_bounded(self._scores(features), self.soft_cap)

    def _scores(self, features: jax.Array) -> jax.Array:
        """The logits before their cap, [..., *value_shape, V], of features [..., F]: here the features themselves."""
        return features.reshape(*features.shape[:-1], *self.value_shape, self.num_levels)

    def from_log_table(self, table: jax.Array) -> jax.Array:
        """With a soft cap, near them: logits differ by less than twice the cap."""
        if self.value_shape:
            return super().from_log_table(table)
        if not self.soft_cap:
            return table
        largest = table.max(-1, keepdims=True)
        logits = jnp.maximum(table - largest, -2 * self.soft_cap)
        return before_bound(logits - logits.min(-1, keepdims=True) / 2, self.soft_cap)

    def sample(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        """Draws int32 values of shape [..., *value_shape] from softmax(logits / temperature)."""
        logits = self._logits(features.astype(jnp.float32))
        return jax.random.categorical(key, tempered(logits, temperature)).astype(jnp.int32)
