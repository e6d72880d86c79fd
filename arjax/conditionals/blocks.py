"""Conditionals that score the sites of a step together, and the blocks of a factorization that they score."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable
from typing import ClassVar, NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.base import Conditional
from arjax.core.batch import Array
from arjax.core.errors import UserError
from arjax.factorization import Factorization


class JointConditional(Conditional):
    """Distribution of the values of a block, the M sites of one step, by the chain rule over its indices.

    Its block forms take features [..., M, F], values [..., M, *value_shape] and valid bool[..., M] (or bool[M]): short
    blocks are padded with invalid indices of arbitrary features and values. Log-probabilities and entropies are per
    index, [..., M], in nats, each of a value given the indices visited before it, and 0 at invalid indices.
    """

    joint: ClassVar[bool] = True
    #: Whether any sites of a block may be given (`block_log_prob_given`); else only those that are visited first.
    any_given: ClassVar[bool] = False

    @abc.abstractmethod
    def order_in_block(self, block_size: int) -> np.ndarray:
        """Returns the order within the block, int[M]: an index is conditioned on those with a lower number."""

    @abc.abstractmethod
    def block_log_prob(self, features: jax.Array, value: jax.Array, valid: jax.Array) -> jax.Array:
        """Returns log p(x_m | indices visited before m, features), [..., M]."""

    def block_log_prob_given(
        self, features: jax.Array, value: jax.Array, valid: jax.Array, given: jax.Array, queried: jax.Array
    ) -> jax.Array:
        """Returns log p(x_m | indices in `given`, and the `queried` ones before m), [..., M]; 0 where not `queried`.
        Indices in neither, bool[..., M] each, are summed out. Families with `any_given` have this method.
        """
        raise NotImplementedError(f"{type(self).__name__} says any_given and has no block_log_prob_given")

    def block_loss(self, features: jax.Array, value: jax.Array, valid: jax.Array) -> jax.Array:
        """Returns the number that training minimises, per index, [..., M]; see `loss`."""
        return -self.block_log_prob(features, value, valid)

    @abc.abstractmethod
    def block_entropy(self, features: jax.Array, value: jax.Array, valid: jax.Array) -> jax.Array:
        """Returns the entropy of x_m given the values of the indices visited before m, [..., M]."""

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
        """Draws [..., M, *value_shape] given the `value` at `given` bool[M]; results there do not matter."""

    @abc.abstractmethod
    def block_mode(self, features: jax.Array, valid: jax.Array, value: jax.Array, given: jax.Array) -> jax.Array:
        """Returns a probable block [..., M, *value_shape], given as `block_sample` is."""

    def _one(self, features: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns features, values (zeros) and valid of blocks of one site."""
        return features[..., None, :], jnp.zeros((*features.shape[:-1], 1, *self.value_shape)), jnp.ones(1, bool)

    def _of_one(self, score: Callable[..., jax.Array], features: jax.Array, value: jax.Array) -> jax.Array:
        """Returns a number of a block of one site, [...]."""
        features, _, valid = self._one(features)
        return score(features, jnp.expand_dims(value, value.ndim - len(self.value_shape)), valid)[..., 0]

    def log_prob(self, features: jax.Array, value: jax.Array) -> jax.Array:
        return self._of_one(self.block_log_prob, features, value)

    def loss(self, features: jax.Array, value: jax.Array) -> jax.Array:
        return self._of_one(self.block_loss, features, value)

    def sample(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        features, value, valid = self._one(features)
        drawn = self.block_sample(key, features, valid, value, ~valid, temperature)
        return drawn.reshape(*features.shape[:-2], *self.value_shape)

    def entropy(self, features: jax.Array) -> jax.Array:
        features, value, valid = self._one(features)
        return self.block_entropy(features, value, valid)[..., 0]

    def mode(self, features: jax.Array) -> jax.Array:
        features, value, valid = self._one(features)
        return self.block_mode(features, valid, value, ~valid).reshape(*features.shape[:-2], *self.value_shape)


def scores_blocks(conditional: Conditional, factorization: Factorization) -> TypeGuard[JointConditional]:
    """Returns whether the sites of a step are scored together: a block of one site is a value like any other."""
    return conditional.joint and factorization.blocks.shape[-1] > 1


def check_block_size(conditional: Conditional, factorization: Factorization) -> None:
    """Raises `UserError` when a conditional was made for blocks of another size."""
    made_for, size = getattr(conditional, "block_size", None), factorization.blocks.shape[-1]
    if made_for is not None and made_for != size:
        raise UserError(f"the conditional was made for steps of at most {made_for} sites, and here they have {size}")


def visit_numbers(conditional: Conditional, factorization: Factorization) -> np.ndarray:
    """Returns the visit numbers, int[D], by step and order in the block: a site depends on lower ones alone."""
    step_D = np.asarray(factorization.step)
    if not scores_blocks(conditional, factorization):
        return step_D
    block_size = factorization.block_size
    order_M = np.asarray(conditional.order_in_block(block_size))
    return step_D * block_size + order_M[np.asarray(factorization.index_in_blocks) % block_size]


class Query(NamedTuple):
    """Sites that are `queried` and scored given others, bool[*grid] each; all sites in neither are summed out."""

    queried: Array
    given: Array


def site_log_prob(
    head: Conditional, features: jax.Array, x: jax.Array, factorization: Factorization, query: Query | None = None
) -> jax.Array:
    """log p of the value of each site given those visited before it, [B, *grid]; with a query, of the queried sites.

    Args:
      head, features, x: the conditional with its parameters, [B, *grid, F] and [B, *grid, *value].
      factorization: one for all examples, or one for each (arrays with a first axis of length B).
      query: visited in the order evidence, query, rest: between steps by the factorization and within a step by the
        order within the block of the conditional, or by one that can be given any sites of a step.
    """
    check_block_size(head, factorization)
    if scores_blocks(head, factorization):
        if query is not None and head.any_given:
            padded = (jnp.append(jnp.asarray(sites).reshape(-1), False) for sites in (query.given, query.queried))
            given, queried = (padded_D[jnp.asarray(factorization.blocks)] for padded_D in padded)  # bool[S, M]
            score = functools.partial(head.block_log_prob_given, given=given, queried=queried)
            return _by_block(score, features, x, factorization)
        log_prob = _by_block(head.block_log_prob, features, x, factorization)
    else:
        log_prob = head.log_prob(features, x)
    return log_prob if query is None else jnp.where(query.queried, log_prob, 0.0)


def site_loss(head: Conditional, features: jax.Array, x: jax.Array, factorization: Factorization) -> jax.Array:
    """Returns the training loss of each site, [B, *grid]: -log p, or that of a conditional with one of its own."""
    check_block_size(head, factorization)
    if not scores_blocks(head, factorization):
        return head.loss(features, x)
    return _by_block(head.block_loss, features, x, factorization)


def site_entropy(head: Conditional, features: jax.Array, x: jax.Array, factorization: Factorization) -> jax.Array:
    """Returns the entropy of the value of each site given those visited before it, [B, *grid]; arguments as above."""
    check_block_size(head, factorization)
    if not scores_blocks(head, factorization):
        return head.entropy(features)
    return _by_block(head.block_entropy, features, x, factorization)


def _by_block(score, features: jax.Array, x: jax.Array, factorization: Factorization) -> jax.Array:
    """`score(features [B, S, M, F], values [B, S, M, *value], valid [B, S, M])` of the blocks, back on the grid."""
    rank = len(factorization.grid_shape)
    num = np.prod(factorization.grid_shape)
    axes = (0, 0 if factorization.blocks.ndim == 3 else None)

    def cut(example: jax.Array, f: Factorization) -> jax.Array:  # [*grid, ...] -> [S, M, ...], padding repeats a site
        return example.reshape(num, *example.shape[rank:])[jnp.minimum(jnp.asarray(f.blocks), num - 1)]

    def lay_out(per_index_SM: jax.Array, f: Factorization) -> jax.Array:
        return per_index_SM.reshape(-1)[jnp.asarray(f.index_in_blocks)].reshape(f.grid_shape)

    blocks = [jax.vmap(cut, axes)(values, factorization) for values in (features, x)]
    valid = jnp.broadcast_to(jnp.asarray(factorization.blocks) < num, blocks[0].shape[:-1])
    return jax.vmap(lay_out, axes)(score(*blocks, valid), factorization)
