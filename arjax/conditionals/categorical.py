"""Conditionals of discrete values whose scalars are independent: Bernoulli, categorical, and of levels in an order."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.base import CONDITIONALS, Conditional
from arjax.conditionals.numerics import as_temperature, before_bound, softly_bounded, tempered
from arjax.core.errors import say_once
from arjax.core.options import opt
from arjax.core.spec import DISCRETE_KINDS, EventSpec

#: A larger cap would change no logit that a softmax tells apart from a certain value.
LARGEST_CAP = 1000


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


@functools.cache
def level_embedding(num_levels: int, size: int) -> np.ndarray:
    """Returns the first R cosines over the levels, cos(pi k (v + 1/2) / V), k = 1..R, float32[V, R]. All V - 1 of them
    span every set of logits (the discrete cosine transform of Ahmed, Natarajan & Rao, 1974, without its constant).
    """
    v, k = np.arange(num_levels)[:, None], np.arange(1, size + 1)
    return np.cos(np.pi * k * (v + 0.5) / num_levels).astype(np.float32)


@CONDITIONALS.register("ordinal")
@dataclasses.dataclass(frozen=True)
class Ordinal(Categorical):
    """p(x = v) = softmax(E f)_v: the logit of a level is the product of the features with a fixed embedding of it.

    There are `size` features per scalar, at most V - 1. With few, log p is smooth in the level, so neighbouring levels
    share statistical strength. `soft_cap` bounds the logits as in `categorical`.
    """

    size: int = 16

    DATA = ("binary", "levels")
    NEEDS = "levels in an order"

    @classmethod
    def for_event(cls, event: EventSpec, **fields: Any) -> Ordinal:
        """Returns the family of binary data or levels; tokens have no order."""
        ordinal, most = super().for_event(event, **fields), event.num_levels - 1
        if ordinal.size > most and ordinal.size != cls.size:
            say_once(
                f"size={ordinal.size} of the conditional 'ordinal' is more than {event.num_levels} levels need, {most}"
            )
        return dataclasses.replace(ordinal, size=min(ordinal.size, most))

    @property
    def num_params(self) -> int:
        return math.prod(self.value_shape) * self.size

    def from_log_table(self, table: jax.Array) -> jax.Array:
        if self.size < self.num_levels - 1:
            return Conditional.from_log_table(self, table)
        embedding_VR = jnp.asarray(level_embedding(self.num_levels, self.size))  # its columns have the length sqrt(V/2)
        return jnp.matmul(super().from_log_table(table), embedding_VR, precision="highest") * 2 / self.num_levels

    def _scores(self, features: jax.Array) -> jax.Array:
        coefficients = features.reshape(*features.shape[:-1], *self.value_shape, self.size)
        embedding_VR = jnp.asarray(level_embedding(self.num_levels, self.size))
        return jnp.matmul(coefficients, embedding_VR.T, precision="highest")
