"""The train step and the score of a whole population: those of one run, mapped over orders and seeds.

All arrays of the state have two more axes in front, [O, S, ...]: O orders and S seeds. Runs of one seed start from the
same parameters and see the same batches under every order, so they differ in the order alone.

There are two strategies. `vmap` does one step of all members at once, which fills an accelerator. `map` takes the
members one after another, many steps each: still one program, compiled once. On CPU, where one member keeps all cores
busy, it is the faster one (experiments/order_matters/speed.csv).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.batch import Batch
from arjax.evaluation.likelihood import eval_step
from arjax.factorization import Factorization
from arjax.models import AutoregressiveModel
from arjax.objectives import Companions
from arjax.training.feed import ResidentChunk
from arjax.training.state import Recipe, TrainState, fresh_state
from arjax.training.step import Tally, train_chunk

#: Strategies of training a population in one program.
STRATEGIES = ("vmap", "map")


def stack(factorizations: list[Factorization]) -> Factorization:
    """O factorizations of one block structure in one: every array gets a first axis of length O."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *factorizations)


def over_members(strategy: str, member: Callable[[Factorization, Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    """`member(order, own, of_seed)` for all members: from [O, ...], [O, S, ...] and [S, ...] to [O, S, ...]."""
    if strategy == "vmap":
        return jax.vmap(jax.vmap(member, in_axes=(None, 0, 0)), in_axes=(0, 0, None))

    def one_order(orders: Any, own: Any, of_seeds: Any) -> Any:
        return jax.lax.map(lambda o: jax.lax.map(lambda s: member(o[0], *s), (o[1], of_seeds)), (orders, own))

    return one_order


def init_population(recipe: Recipe, num_orders: int, keys_S: jax.Array, params: Any = None) -> TrainState:
    """Fresh states [O, S, ...]: one per seed, the same under every order; from `params` where they are given."""
    states = jax.vmap(lambda key: fresh_state(recipe, key, params))(keys_S)
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_orders, *leaf.shape)), states)


def population_chunk(
    recipe: Recipe,
    strategy: str,
    gather: Callable[[Batch, jax.Array], Batch],
    state: TrainState,
    tally: Tally,
    orders: Factorization,
    arrays: Batch,
    indices_SKB: jax.Array,
    n: jax.Array,
    keys_S: jax.Array,
    companions: Companions,
) -> tuple[TrainState, Tally]:
    """`train_chunk` of every member: `n` train steps, at most K.

    Args:
      recipe: of all members; its model's factorization is replaced by theirs.
      strategy: one of `STRATEGIES`.
      gather: `(arrays, rows) -> batch`, pure.
      state: [O, S, ...].
      tally: [O, S, ...].
      orders: O factorizations in one.
      arrays: the train split.
      indices_SKB: the rows of each step of each seed.
      n: int32[], a traced number, so that one program is enough for all n.
      keys_S: the keys of the S runs.
      companions: frozen models that the objective reads.
    """

    def member(order: Factorization, carry: tuple[TrainState, Tally], of_seed: tuple[jax.Array, jax.Array]):
        indices_KB, key = of_seed
        own = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, factorization=order))
        return train_chunk(own, *carry, ResidentChunk(arrays, indices_KB, gather), n, key, companions)

    return over_members(strategy, member)(orders, (state, tally), (indices_SKB, keys_S))


def score_population(
    model: AutoregressiveModel,
    strategy: str,
    orders: Factorization,
    params: Any,
    batch_of: Callable[[jax.Array], Batch],
    keys_S: jax.Array,
    log_scale_D: np.ndarray | float,
) -> tuple[jax.Array, jax.Array]:
    """Nats of each row of a batch under every member, [O, S, B], and the number of sites that are scored, [B].

    `batch_of`: a function from the key of a seed to the batch of its members.
    """

    def member(order: Factorization, params: Any, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        rows = eval_step(dataclasses.replace(model, factorization=order), params, batch_of(key), log_scale_D)
        return rows["nll"], rows["sites"]

    nll_OSB, sites_OSB = over_members(strategy, member)(orders, params, keys_S)
    return nll_OSB, sites_OSB[0, 0]
