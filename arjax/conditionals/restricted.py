"""Conditionals around another one: values within limits, only probable values (truncated sampling), or the modes."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from arjax.conditionals.base import Around, Conditional
from arjax.conditionals.blocks import JointConditional
from arjax.conditionals.categorical import ByTable
from arjax.conditionals.numerics import tempered
from arjax.core.errors import UserError
from arjax.core.options import defaults, opt, typed_fields


def restricted(log_p: jax.Array, kept: jax.Array) -> jax.Array:
    """Returns log p of the values that are kept, given that it is one of them, [..., V] in nats; -inf of the others."""
    return jax.nn.log_softmax(jnp.where(kept, log_p, -jnp.inf))


@dataclasses.dataclass(frozen=True)
class Limited(Around, ByTable):  # type: ignore[override]  # `value_shape` is a field of others
    """p(v | low <= v <= high) of another family: no probability is lost to values that cannot occur.

    Features [..., F + 2 s] end with the lowest and the highest value of the s scalars, which are known, not learned.
    """

    def __post_init__(self):
        if self.family.joint or not self.family.has_table:
            raise UserError(
                "limits of the values restrict a table of the probabilities of single scalars, which the conditional "
                f"{self.family!r} does not have: take categorical, or another that lists its values"
            )

    @property
    def num_params(self) -> int:
        return self.family.num_params + 2 * math.prod(self.value_shape)

    def _divided(self, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The features of the family, and whether each value of each scalar is allowed, bool[..., *value_shape, V]."""
        family_features, limits = jnp.split(features, [self.family.num_params], axis=-1)
        low, high = jnp.moveaxis(
            limits.reshape(*limits.shape[:-1], 2, *self.value_shape, 1), family_features.ndim - 1, 0
        )
        levels = jnp.arange(self.family.table_size)
        return family_features, (low <= levels) & (levels <= high)

    def log_table(self, features: jax.Array) -> jax.Array:
        """Returns the table of the family, restricted, [..., *value_shape, V]; -inf outside of the limits."""
        family_features, allowed = self._divided(features)
        return restricted(self.family.log_table(family_features), allowed)

    def tempered_table(self, features: jax.Array, temperature: float | jax.Array) -> jax.Array:
        family_features, allowed = self._divided(features)
        return restricted(self.family.tempered_table(family_features, temperature), allowed)

    def sample(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        return jax.random.categorical(key, self.tempered_table(features, temperature)).astype(jnp.int32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Truncation:
    """The restriction of draws to probable values; by default there is none.

    Attributes:
      top_k: the most probable values of each scalar (Fan, Lewis & Dauphin, "Hierarchical Neural Story Generation",
        2018).
      top_p: of these the fewest that have at least this part of the mass, the "nucleus" (Holtzman et al., "The Curious
        Case of Neural Text Degeneration", 2020, section 3.1).
      min_p: of these the ones with at least this part of the probability of the most probable one (Nguyen et al.,
        "Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM Outputs", 2024, section 3).
    """

    top_k: int = opt(0, about="draw from the k most probable values; 0: all")
    top_p: float = opt(1.0, above=0, most=1, about="draw from the most probable values of this total probability")
    min_p: float = opt(0.0, least=0, most=1, about="draw from values of at least this fraction of the largest")


def truncate(
    conditional: Conditional, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> Conditional | Truncated:
    """Returns the conditional with samples restricted as in `Truncation`; it does not score. It must draw independent
    scalars out of finitely many values, or be `nested` around such a family: then entries are restricted one by one.
    """
    truncation = typed_fields(Truncation, {"top_k": top_k, "top_p": top_p, "min_p": min_p})
    return conditional if truncation == defaults(Truncation) else _truncate(conditional, **truncation)


@functools.lru_cache(maxsize=32)  # the same object for the same arguments: samplers are compiled for it
def _truncate(conditional: Conditional, top_k: int, top_p: float, min_p: float) -> Truncated:
    def around(family: Conditional) -> Truncated:
        _ = family.table_size  # raises where there is no table
        return Truncated(family, top_k, top_p, min_p)

    return conditional.transformed(around)


def untruncated(conditional: Any) -> Conditional:
    """Returns the conditional that was truncated, which scores; any other as it is."""
    return conditional.transformed(lambda each: each.family if isinstance(each, Truncated) else each)


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
        """Returns the most probable value, [..., *value_shape]: it always remains."""
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


@dataclasses.dataclass(frozen=True)
class Modes(Around):
    """A conditional, truncated or not, with the methods that samplers use: `bind`, `at` and the forms that draw."""

    @property
    def joint(self) -> bool:
        return self.family.joint

    def sample(self, key: jax.Array, features: jax.Array, temperature: Any) -> jax.Array:
        return self.family.mode(features)

    def block_sample(self, key, features, valid, value, given, temperature) -> jax.Array:
        assert isinstance(self.family, JointConditional)
        return self.family.block_mode(features, valid, value, given)
