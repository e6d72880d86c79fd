"""A conditional whose values are limited, site by site: its table of probabilities, restricted and renormalised."""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp

from arjax.conditionals.base import Around, Conditional
from arjax.core.errors import UserError


def restricted(log_p: jax.Array, kept: jax.Array) -> jax.Array:
    """log p of the values that are kept, given that it is one of them, [..., V] in nats; -inf of the others."""
    return jax.nn.log_softmax(jnp.where(kept, log_p, -jnp.inf))


@dataclasses.dataclass(frozen=True)
class Limited(Around, Conditional):  # type: ignore[override]  # `value_shape` is a field of others
    """p(v | low <= v <= high) of another family, whose features are followed by the limits of each scalar.

    Features [..., F + 2 s] end with the lowest and the highest value of the s scalars, as numbers of float32: they are
    known, and no network learns them. So no probability is lost to values that cannot occur.
    """

    def __post_init__(self):
        if self.family.joint or not self.family.has_table:
            raise UserError(
                "limits of the values restrict a table of the probabilities of single scalars, which the conditional "
                f"{self.family!r} has not: take categorical, or another that lists its values"
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
        levels = jnp.arange(self._num_levels)
        return family_features, (low <= levels) & (levels <= high)

    @functools.cached_property
    def _num_levels(self) -> int:
        one = jax.ShapeDtypeStruct((self.family.num_params,), jnp.float32)
        return jax.eval_shape(self.family.log_table, one).shape[-1]

    def log_table(self, features: jax.Array) -> jax.Array:
        """The table of the family, restricted, [..., *value_shape, V]; -inf outside of the limits."""
        family_features, allowed = self._divided(features)
        return restricted(self.family.log_table(family_features), allowed)

    def tempered_table(self, features: jax.Array, temperature: float | jax.Array) -> jax.Array:
        family_features, allowed = self._divided(features)
        return restricted(self.family.tempered_table(family_features, temperature), allowed)

    def log_prob(self, features: jax.Array, value: jax.Array) -> jax.Array:
        """log p(value) in nats, [...]; -inf outside of the limits."""
        table = self.log_table(features)
        value = jnp.broadcast_to(value, table.shape[:-1])[..., None].astype(jnp.int32)
        return self._sum(jnp.where(value == jnp.arange(table.shape[-1]), table, 0.0).sum(-1))

    def sample(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        return jax.random.categorical(key, self.tempered_table(features, temperature)).astype(jnp.int32)

    def entropy(self, features: jax.Array) -> jax.Array:
        table = self.log_table(features)
        p = jnp.exp(table)
        return self._sum(-jnp.where(p > 0, p * jnp.where(p > 0, table, 0.0), 0.0).sum(-1))

    def mode(self, features: jax.Array) -> jax.Array:
        return self.log_table(features).argmax(-1).astype(jnp.int32)
