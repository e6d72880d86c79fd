"""Metrics that merge over batches, devices and micro-batches: each is a sum and a count."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Self

import jax
import jax.numpy as jnp


class Mergeable:
    """A pytree with addition leaf by leaf."""

    def __add__(self, other: Self) -> Self:
        return jax.tree.map(jnp.add, self, other)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mean(Mergeable):
    """A mean that merges: the total of the terms and their count, float32[] each, of two batches add up."""

    total: jax.Array
    count: jax.Array

    @property
    def divisor(self) -> jax.Array:
        """The count, or 1 where nothing was counted: the mean of nothing is then 0."""
        return jnp.where(self.count > 0, self.count, 1.0)

    @property
    def value(self) -> jax.Array:
        return self.total / self.divisor


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Metrics(Mergeable):
    """Sums over the batches of some steps, float32[] each.

    Attributes:
      nll: negative log-likelihood (or its bound), nats; None where a loss is none, and no likelihood is computed.
      examples: scored examples, counted by their weights.
      means: further numbers that an objective reports, by name; each is a mean in `metrics.jsonl`.
    """

    nll: jax.Array | None
    examples: jax.Array
    sites: jax.Array
    dims: jax.Array
    means: Mapping[str, Mean] = dataclasses.field(default_factory=dict)
