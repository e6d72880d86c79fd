"""Categorical conditionals for levels that have an order, such as intensities."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.base import CONDITIONALS, Conditional
from arjax.conditionals.categorical import Categorical
from arjax.core.errors import say_once
from arjax.core.spec import EventSpec


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
