"""Truncated sampling: only probable values of each scalar are drawn, chosen by number, mass or ratio."""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from arjax.conditionals.base import Around, Conditional
from arjax.conditionals.limited import restricted
from arjax.conditionals.temperature import tempered
from arjax.core.errors import UserError
from arjax.core.options import is_integer


def truncate(
    conditional: Conditional, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> Conditional | Truncated:
    """The conditional with samples restricted to probable values; it draws, and does not score.

    Args:
      conditional: draws independent scalars out of finitely many values, or is `nested` around one that does: then the
        entries of a value are restricted, each given those before it.
      top_k: the k most probable values of each scalar (Fan, Lewis & Dauphin, "Hierarchical Neural Story Generation",
        2018); 0 for all.
      top_p: of these the fewest that have at least this part of the mass, the "nucleus" (Holtzman et al., "The Curious
        Case of Neural Text Degeneration", 2020, section 3.1); 1 for all.
      min_p: of these the ones with at least this part of the probability of the most probable one (Nguyen et al.,
        "Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM Outputs", 2024, section 3); 0 for all.

    Raises:
      UserError: numbers out of range, or a family for which there is no list of values to choose from.
    """
    check_truncation(top_k, top_p, min_p)
    if not top_k and top_p == 1 and not min_p:
        return conditional
    return _truncate(conditional, int(top_k), float(top_p), float(min_p))


@functools.lru_cache(maxsize=32)  # the same object for the same arguments: samplers are compiled for it
def _truncate(conditional: Conditional, top_k: int, top_p: float, min_p: float) -> Truncated:
    return conditional.transformed(functools.partial(_truncated, top_k=top_k, top_p=top_p, min_p=min_p))


def check_truncation(top_k: int, top_p: float, min_p: float) -> None:
    """Raises `UserError` unless top_k is a whole number from 0, top_p is in (0, 1], and min_p in [0, 1]."""
    if not is_integer(top_k) or top_k < 0:
        raise UserError(f"top_k must be a whole number, at least 0 (no limit), not {top_k!r}")
    if not isinstance(top_p, numbers.Real) or isinstance(top_p, bool) or not 0 < top_p <= 1:
        raise UserError(f"top_p must be a number above 0 and at most 1 (no limit), not {top_p!r}")
    if not isinstance(min_p, numbers.Real) or isinstance(min_p, bool) or not 0 <= min_p <= 1:
        raise UserError(f"min_p must be a number from 0 (no limit) to 1, not {min_p!r}")


def untruncated(conditional: Any) -> Conditional:
    """The conditional that was truncated, which scores; any other as it is."""
    return conditional.transformed(lambda each: each.family if isinstance(each, Truncated) else each)


def _truncated(family: Conditional, top_k: int, top_p: float, min_p: float) -> Truncated:
    one = jax.ShapeDtypeStruct((family.num_params,), jnp.float32)
    jax.eval_shape(family.log_table, one)  # raises where there is no such table
    return Truncated(family, top_k, top_p, min_p)


@dataclasses.dataclass(frozen=True)
class Truncated(Around):
    """The part of a conditional that samplers use: `bind`, `at`, `sample` and `mode`."""

    top_k: int
    top_p: float
    min_p: float
    joint = False
    has_table = True

    def transformed(self, change: Callable[[Any], Any]) -> Any:
        return change(self)

    def mode(self, features: jax.Array) -> jax.Array:
        """The most probable value, [..., *value_shape]: it always remains."""
        return self.family.mode(features)

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
        if self.min_p:
            kept = kept & (log_p >= log_p.max(-1, keepdims=True) + math.log(self.min_p))
        return restricted(log_p, kept)

    def sample(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        """Draws int32[..., *value_shape] from the table."""
        return jax.random.categorical(key, self.log_table(features, temperature)).astype(jnp.int32)
