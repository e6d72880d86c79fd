"""Joint conditionals: the contract of families that score the sites of a step together, which may then be dependent."""

from __future__ import annotations

import abc
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.base import Conditional


class JointConditional(Conditional):
    """Distribution of the values of a block, the M sites of one step, by the chain rule over its indices.

    Its block forms take features [..., M, F], values [..., M, *value_shape] and valid bool[..., M] (or bool[M]): short
    blocks are padded with invalid indices of arbitrary features and values. Log-probabilities and entropies are per
    index, [..., M], in nats, and 0 at invalid indices: those of a value given the indices visited before it. So they
    belong to sites as in other families, and their sum is that of the block.

    The forms of `Conditional` are those of a block of one site.
    """

    joint: ClassVar[bool] = True
    #: Whether any sites of a block may be given, to draws and to scores (`block_log_prob_given`); else only those that
    #: are visited before all others.
    any_given: ClassVar[bool] = False

    @abc.abstractmethod
    def order_in_block(self, block_size: int) -> np.ndarray:
        """The order within the block, int[M]: an index is conditioned on those with a lower number."""

    @abc.abstractmethod
    def block_log_prob(self, features: jax.Array, value: jax.Array, valid: jax.Array) -> jax.Array:
        """log p(x_m | indices visited before m, features), [..., M]."""

    def block_log_prob_given(
        self, features: jax.Array, value: jax.Array, valid: jax.Array, given: jax.Array, queried: jax.Array
    ) -> jax.Array:
        """log p(x_m | indices in `given`, and those of `asked` before m), [..., M]; 0 where not in `asked`.

        Indices in neither, bool[..., M] each, are summed out. Families with `any_given` have it.
        """
        raise NotImplementedError(f"{type(self).__name__} says any_given and has no block_log_prob_given")

    def block_loss(self, features: jax.Array, value: jax.Array, valid: jax.Array) -> jax.Array:
        """The number that training minimises, per index, [..., M]; see `loss`."""
        return -self.block_log_prob(features, value, valid)

    @abc.abstractmethod
    def block_entropy(self, features: jax.Array, value: jax.Array, valid: jax.Array) -> jax.Array:
        """Entropy of x_m given the values of the indices visited before m, [..., M]."""

    @abc.abstractmethod
    def block_sample(
        self,
        key: jax.Array,
        features: jax.Array,
        valid: jax.Array,
        value: jax.Array,
        given: jax.Array,
        temperature: float | jax.Array = 1.0,
    ) -> jax.Array:
        """Draws [..., M, *value_shape] given the `value` of the indices in `given` bool[M]; the results at these
        indices, and at invalid ones, do not matter.
        """

    @abc.abstractmethod
    def block_mode(self, features: jax.Array, valid: jax.Array, value: jax.Array, given: jax.Array) -> jax.Array:
        """A probable block [..., M, *value_shape], given as `block_sample` is."""

    def _one(self, features: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Features, values (zeros) and valid of blocks of one site."""
        return features[..., None, :], jnp.zeros((*features.shape[:-1], 1, *self.value_shape)), jnp.ones(1, bool)

    def log_prob(self, features: jax.Array, value: jax.Array) -> jax.Array:
        """log p(value | features) of a block of one site, [...]."""
        features, _, valid = self._one(features)
        value = jnp.expand_dims(value, value.ndim - len(self.value_shape))
        return self.block_log_prob(features, value, valid)[..., 0]

    def sample(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        """Draws blocks of one site, [..., *value_shape]."""
        features, value, valid = self._one(features)
        drawn = self.block_sample(key, features, valid, value, ~valid, temperature)
        return drawn.reshape(*features.shape[:-2], *self.value_shape)

    def entropy(self, features: jax.Array) -> jax.Array:
        """Entropy of a block of one site, [...]."""
        features, value, valid = self._one(features)
        return self.block_entropy(features, value, valid)[..., 0]

    def mode(self, features: jax.Array) -> jax.Array:
        """A probable value of a block of one site, [..., *value_shape]."""
        features, value, valid = self._one(features)
        return self.block_mode(features, valid, value, ~valid).reshape(*features.shape[:-2], *self.value_shape)
