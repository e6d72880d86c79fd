"""Truncated sampling: only the most probable values of each scalar are drawn, by their number or by their mass."""

from __future__ import annotations

import dataclasses
import functools
import numbers
from typing import Any

import jax
import jax.numpy as jnp

from arjax.conditionals.base import Conditional
from arjax.conditionals.temperature import tempered
from arjax.core.errors import UserError
from arjax.core.integers import is_integer


def truncate(conditional: Conditional, top_k: int = 0, top_p: float = 1.0) -> Conditional | Truncated:
    """The conditional with samples restricted to probable values; it draws, and does not score.

    Args:
      conditional: draws independent scalars out of finitely many values, or is `nested` around one that does: then the
        entries of a value are restricted, each given those before it.
      top_k: the k most probable values of each scalar (Fan, Lewis & Dauphin, "Hierarchical Neural Story Generation",
        2018); 0 for all.
      top_p: of these the fewest that have at least this part of the mass, the "nucleus" (Holtzman et al., "The Curious
        Case of Neural Text Degeneration", 2020, section 3.1); 1 for all.

    Raises:
      UserError: numbers out of range, or a family for which there is no list of values to choose from.
    """
    check_truncation(top_k, top_p)
    return conditional if not top_k and top_p == 1 else _truncate(conditional, int(top_k), float(top_p))


@functools.lru_cache(maxsize=32)  # the same object for the same arguments: samplers are compiled for it
def _truncate(conditional: Conditional, top_k: int, top_p: float) -> Truncated:
    return conditional.transformed(functools.partial(_truncated, top_k=top_k, top_p=top_p))


def check_truncation(top_k: int, top_p: float) -> None:
    """Raises `UserError` unless top_k is a whole number from 0 and top_p a number above 0, at most 1."""
    if not is_integer(top_k) or top_k < 0:
        raise UserError(f"top_k must be a whole number, at least 0 (no limit), not {top_k!r}")
    if not isinstance(top_p, numbers.Real) or isinstance(top_p, bool) or not 0 < top_p <= 1:
        raise UserError(f"top_p must be a number above 0 and at most 1 (no limit), not {top_p!r}")


def _truncated(family: Conditional, top_k: int, top_p: float) -> Truncated:
    one = jax.ShapeDtypeStruct((family.num_params,), jnp.float32)
    jax.eval_shape(family.log_table, one)  # raises where there is no such table
    return Truncated(family, top_k, top_p)


@dataclasses.dataclass(frozen=True)
class Truncated:
    """The part of a conditional that samplers use: `bind`, `at` and `sample`."""

    family: Conditional
    top_k: int
    top_p: float
    joint = False

    def bind(self, params: Any, train: bool = False, key: jax.Array | None = None) -> Truncated:
        """The family with its parameters."""
        return dataclasses.replace(self, family=self.family.bind(params, train, key))

    def at(self, sites: jax.Array) -> Truncated:
        """The family of some sites."""
        return dataclasses.replace(self, family=self.family.at(sites))

    def log_table(self, features: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        """log p of each value of each scalar, [..., *value_shape, V] in nats: p^(1/T), restricted and renormalised."""
        table = self.family.log_table(features)
        log_p, num_values = jax.nn.log_softmax(tempered(table, temperature)), table.shape[-1]
        # By the table itself: a high temperature makes all entries equal. Of equal entries the lower value comes first.
        order = jnp.argsort(table, axis=-1, descending=True, stable=True)
        kept = jnp.arange(num_values) < min(self.top_k or num_values, num_values)
        if self.top_p < 1:
            p = jax.nn.softmax(jnp.where(kept, jnp.take_along_axis(log_p, order, -1), -jnp.inf))
            # The most probable always stays: a small top_p may be 0 as float32.
            kept = kept & ((jnp.cumsum(p, -1) - p < self.top_p) | (jnp.arange(p.shape[-1]) == 0))
        kept = jnp.take_along_axis(jnp.broadcast_to(kept, order.shape), jnp.argsort(order, axis=-1), -1)
        return jax.nn.log_softmax(jnp.where(kept, log_p, -jnp.inf))

    def sample(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        """Draws int32[..., *value_shape] from the table."""
        return jax.random.categorical(key, self.log_table(features, temperature)).astype(jnp.int32)
