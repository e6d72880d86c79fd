"""A conditional whose draws are its modes: sampling with it is greedy."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from arjax.conditionals.base import Around
from arjax.conditionals.joint import JointConditional


@dataclasses.dataclass(frozen=True)
class Modes(Around):
    """What samplers need of a conditional, truncated or not: `bind`, `at` and the forms that draw."""

    @property
    def joint(self) -> bool:
        return self.family.joint

    def sample(self, key: jax.Array, features: jax.Array, temperature: Any) -> jax.Array:
        return self.family.mode(features)

    def block_sample(self, key, features, valid, value, given, temperature) -> jax.Array:
        assert isinstance(self.family, JointConditional)
        return self.family.block_mode(features, valid, value, given)
