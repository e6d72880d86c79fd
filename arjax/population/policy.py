"""A learned order: a distribution over orders that is trained together with the model.

Orders are drawn from a Plackett-Luce distribution with one score per site (Plackett, "The Analysis of Permutations",
1975): the next site is each of those left with probability softmax(score). The model is trained by maximum likelihood
under the orders drawn. The scores follow the gradient of the expected nats by REINFORCE (Williams, 1992), each order
against the mean of the others on the same batch (Kool, van Hoof & Welling, "Buy 4 REINFORCE Samples, Get a Baseline for
Free!", 2019). Both follow training batches; validation is not looked at.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from arjax.config.build import build
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.integers import is_integer
from arjax.data.batches import train_index_block
from arjax.factorization import Factorization, reorder
from arjax.objectives import loss_and_sums
from arjax.training.feed import compact_form
from arjax.training.state import TrainState, fresh_state
from arjax.training.step import Recipe, train_step


@dataclasses.dataclass(frozen=True)
class Learned:
    """What training a policy gives.

    Attributes:
      order: the most probable order, int64[D].
      scores: of the sites, float32[D].
      nats: mean training nats over the orders drawn, in each tenth of the run.
      steps: train steps, each under `orders_per_step` orders.
    """

    order: np.ndarray
    scores: np.ndarray
    nats: tuple[float, ...]
    steps: int


def draw_order(key: jax.Array, scores_D: jax.Array) -> jax.Array:
    """A random order, int32[D]: sorting the scores with Gumbel noise draws from the Plackett-Luce distribution."""
    return jnp.argsort(-(scores_D + jax.random.gumbel(key, scores_D.shape))).astype(jnp.int32)


def log_prob_order(scores_D: jax.Array, order_D: jax.Array) -> jax.Array:
    """log P(order) = sum_t score[o_t] - log sum_{s >= t} exp score[o_s]."""
    ordered = scores_D[order_D]
    left = jax.lax.cumlogsumexp(ordered, reverse=True)
    return jnp.sum(ordered - left)


def policy_gradient(scores_D: jax.Array, orders_RD: jax.Array, nats_R: jax.Array) -> jax.Array:
    """The gradient of the expected nats by the scores, estimated without bias from R orders, [D]."""
    num = len(nats_R)
    baseline_R = (nats_R.sum() - nats_R) / (num - 1)
    gradient_RD = jax.vmap(jax.grad(log_prob_order), in_axes=(None, 0))(scores_D, orders_RD)
    return ((nats_R - baseline_R)[:, None] * gradient_RD).mean(0)


def learn_order(
    config: ConfigDict, orders_per_step: int = 4, learning_rate: float = 0.05, seed: int | None = None
) -> Learned:
    """Trains model and policy for the steps of the config, under so many orders in every step.

    Args:
      config: a whole config; the network must serve any order. Its partition cuts the orders.
      orders_per_step: R, at least 2.
      learning_rate: of the scores (Adam); that of the model is in the config.
      seed: of parameters, batches and orders; None: that of the config.

    Raises:
      UserError: fewer than two orders per step, or a network that does not serve all orders.
    """
    if not is_integer(orders_per_step) or orders_per_step < 2:
        raise UserError(f"a policy needs at least 2 orders per step to compare, not {orders_per_step!r}")
    if config.model.graph:
        raise UserError("an order cannot be learned under a dependency graph: its arrows follow the order")
    config = config.copy_and_resolve_references()
    config.seed = config.seed if seed is None else seed
    config.model.orders = "uniform"  # checks that the network serves all orders, and knows which site comes next
    config.mesh.update(data=-1, fsdp=1, tensor=1)
    setup = build(config, jax.devices()[:1])
    recipe, like = setup.recipe, setup.model.orders.first
    arrays, gather = compact_form(setup.dataset.splits["train"])
    arrays = jax.tree.map(jnp.asarray, arrays)
    optimizer = optax.adam(learning_rate)
    init_key, key = setup.keys()
    state = jax.jit(functools.partial(fresh_state, recipe.model, recipe.optimizer, ema=bool(recipe.ema_decay)))(
        init_key
    )
    scores_D = jnp.zeros(like.num_sites, jnp.float32)
    carry = (state, scores_D, optimizer.init(scores_D), jnp.zeros((), jnp.float32))
    steps = jax.jit(functools.partial(_steps, recipe, like, optimizer, gather, orders_per_step))
    total, nats = setup.total_steps, []
    tenth = -(-total // 10)
    for begin in range(0, total, tenth):
        n = min(tenth, total - begin)
        rows = train_index_block(config.seed, begin, n, len(setup.dataset.splits["train"]), config.train.batch_size)
        rows = np.concatenate([rows, np.zeros((tenth - n, rows.shape[1]), rows.dtype)])
        carry = steps(carry, arrays, rows, np.int32(n), key)
        nats.append(float(carry[3]) / n)
        carry = (*carry[:3], jnp.zeros((), jnp.float32))
    scores = np.asarray(carry[1])
    return Learned(np.argsort(-scores, kind="stable"), scores, tuple(nats), total)


def _steps(
    recipe: Recipe, like: Factorization, optimizer, gather, num_orders: int, carry: Any, arrays: Batch, rows, n, key
):
    """n steps of model and policy; the last of the carry sums up the nats."""

    def body(k: jax.Array, carry: Any) -> Any:
        state, scores_D, moments, total = carry
        order_key = jax.random.fold_in(jax.random.fold_in(key, state.step), 1)
        orders_RD = jax.vmap(draw_order, in_axes=(0, None))(jax.random.split(order_key, num_orders), scores_D)
        state, nats_R = _model_step(recipe, like, state, gather(arrays, rows[k]), orders_RD, key)
        updates, moments = optimizer.update(policy_gradient(scores_D, orders_RD, nats_R), moments, scores_D)
        return state, optax.apply_updates(scores_D, updates), moments, total + nats_R.mean()

    return jax.lax.fori_loop(0, n, body, carry)


def _model_step(
    recipe: Recipe, like: Factorization, state: TrainState, batch: Batch, orders_RD: jax.Array, key: jax.Array
) -> tuple[TrainState, jax.Array]:
    """A train step on one batch under R orders at once; returns the nats per example under each, [R]."""

    def objective(model, params, batch, key):
        def one(order_D: jax.Array) -> jax.Array:
            more = {"context": batch.context, "mask": batch.mask, "train": True, "key": key}
            log_prob_B = model.log_prob(params, batch.x, factorization=reorder(like, order_D), **more)
            _, sums = loss_and_sums(model.event, batch, log_prob_B)
            return sums["nll"] / jnp.where(sums["examples"] > 0, sums["examples"], 1.0)

        nats_R = jax.lax.map(one, orders_RD)
        return nats_R.mean() / model.event.num_dims, {"nats": nats_R}

    state, sums = train_step(dataclasses.replace(recipe, objective=objective), state, batch, key)
    return state, sums["nats"]
