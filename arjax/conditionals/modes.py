"""A conditional whose draws are its modes: sampling with it is greedy."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from arjax.conditionals.base import Conditional
from arjax.conditionals.joint import JointConditional


@dataclasses.dataclass(frozen=True)
class Modes:
    """What samplers need of a conditional: `bind`, `at` and the forms that draw. Keys and temperatures do not matter.

    Attributes:
      inner: the conditional, truncated or not.
    """

    inner: Conditional

    @property
    def joint(self) -> bool:
        """Whether the sites of a step are drawn together."""
        return self.inner.joint

    @property
    def value_shape(self) -> tuple[int, ...]:
        """Of a value."""
        return self.inner.value_shape

    def bind(self, params: Any, train: bool = False, key: jax.Array | None = None) -> Modes:
        """The family with its parameters."""
        return Modes(self.inner.bind(params, train, key))

    def at(self, sites: jax.Array) -> Modes:
        """The family of some sites."""
        return Modes(self.inner.at(sites))

    def sample(self, key: jax.Array, features: jax.Array, temperature: Any) -> jax.Array:
        """The mode, [..., *value_shape]."""
        return self.inner.mode(features)

    def block_sample(self, key, features, valid, value, given, temperature) -> jax.Array:
        """The mode of a block, [..., M, *value_shape]."""
        assert isinstance(self.inner, JointConditional)
        return self.inner.block_mode(features, valid, value, given)
