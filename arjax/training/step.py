"""The train step, and many of them in one dispatch."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from arjax.core.batch import Batch
from arjax.core.programs import compile_if_it_fits
from arjax.objectives import Companions, Loss, Metrics, Step
from arjax.objectives.metrics import Mergeable
from arjax.parallel.sharding import path_string
from arjax.training.feed import Chunk
from arjax.training.gradients import loss_and_gradients
from arjax.training.recipe import Recipe
from arjax.training.state import OwnState, TrainState, own_of

_METRICS = "metrics/"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Tally(Mergeable):
    """Metrics summed over train steps.

    Attributes:
      metrics: of the objective.
      loss: float32[], sum of the losses of the steps.
      steps: float32[], their number.
      bad_step: int32[], the first step whose loss was not finite, or -1.
    """

    metrics: Metrics
    loss: jax.Array
    steps: jax.Array
    bad_step: jax.Array


def train_step(
    recipe: Recipe, state: TrainState, batch: Batch, key: jax.Array, companions: Companions | None = None
) -> tuple[TrainState, Loss]:
    """One step of gradient descent. `key` is that of the run; the step's own is a pure function of it and `state.step`.

    Returns the next state and the loss, with the objective's metrics.
    """
    transform_key, objective_key = jax.random.split(jax.random.fold_in(key, state.step))
    if recipe.transform is not None:
        batch = recipe.transform(transform_key, batch, True)
    step = Step(objective_key, state.step.astype(jnp.float32) / recipe.total_steps, companions or {})
    own = own_of(state)
    loss, (gradients, own_gradients) = loss_and_gradients(recipe, state.params, own, batch, step)
    updates, opt_state = recipe.optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = average(state.ema, params, state.step, recipe.ema_decay) if recipe.ema_decay else state.ema
    next_own = _train_own(recipe, state.own, own_gradients, loss.state) if state.own else {}
    return TrainState(step=state.step + 1, params=params, opt_state=opt_state, ema=ema, own=next_own), loss


def _train_own(recipe: Recipe, own: OwnState, gradients: Any, state: Any) -> OwnState:
    """The step of the parameters and the state of the objective."""
    if not jax.tree.leaves(own.params):
        return own.replace(state=state)
    updates, opt_state = recipe.objective.optimizer().update(gradients, own.opt_state, own.params)
    return OwnState(optax.apply_updates(own.params, updates), state, opt_state)


def average(ema: Any, params: Any, step: jax.Array, decay: float) -> Any:
    """Exponential moving average; the decay warms up as min(decay, (1 + t) / (10 + t)), to forget the start."""
    decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: new + decay * (old - new), ema, params)


def zero_tally(
    recipe: Recipe, state: TrainState, chunk: Chunk, companions: Companions | None = None, members: tuple[int, ...] = ()
) -> Tally:
    """The tally before the first step, as arrays on the host: all 0, and -1 for `bad_step`.

    `members`: the shape of a population, where `state` and `chunk` are those of one member.
    """

    def metrics(state: TrainState, chunk: Chunk, companions: Companions | None) -> Metrics:
        return train_step(recipe, state, chunk.batch(0), jax.random.key(0), companions)[1].metrics

    shapes = jax.eval_shape(metrics, state, chunk, companions)
    zeros = jax.tree.map(lambda leaf: np.zeros((*members, *leaf.shape), np.float32), shapes)
    none = np.zeros(members, np.float32)
    return Tally(metrics=zeros, loss=none, steps=none, bad_step=np.full(members, -1, np.int32))


def named(tally: Tally) -> dict[str, Any]:
    """The leaves of a tally by name: `nll`, `loss`, ..., and `means/NAME/total`, `means/NAME/count`."""
    leaves = jax.tree_util.tree_leaves_with_path(tally)
    return {path_string(path).removeprefix(_METRICS): leaf for path, leaf in leaves}


def from_named(zeros: Tally, values: Mapping[str, Any]) -> Tally:
    """The inverse of `named`, in the types of `zeros`; a name that is missing is as in `zeros`."""

    def leaf(path: Any, zero: np.ndarray) -> np.ndarray:
        return np.asarray(values.get(path_string(path).removeprefix(_METRICS), zero), zero.dtype)

    return jax.tree_util.tree_map_with_path(leaf, zeros)


def train_chunk(
    recipe: Recipe,
    state: TrainState,
    tally: Tally,
    chunk: Chunk,
    n: jax.Array,
    key: jax.Array,
    companions: Companions | None = None,
) -> tuple[TrainState, Tally]:
    """`n` train steps, at most as many as the chunk has batches.

    `n` is a traced number: one program is enough for every n, and gives the same bits for any grouping of the steps.

    Args:
      recipe: static.
      state: the state, to be donated.
      tally: of the steps so far.
      chunk: batches of at least n steps.
      n: int32[], steps to do.
      key: the key of the run.
      companions: frozen models that the objective reads.
    """

    def one(k: jax.Array, carry: tuple[TrainState, Tally]) -> tuple[TrainState, Tally]:
        state, tally = carry
        next_state, loss = train_step(recipe, state, chunk.batch(k), key, companions)
        first_bad = (tally.bad_step < 0) & ~jnp.isfinite(loss.value)
        metrics = jax.tree.map(lambda old, new: old + new.astype(jnp.float32), tally.metrics, loss.metrics)
        bad_step = jnp.where(first_bad, next_state.step, tally.bad_step)
        return next_state, Tally(metrics, tally.loss + loss.value, tally.steps + 1, bad_step)

    return jax.lax.fori_loop(0, n, one, (state, tally))


def compile_chunk(recipe: Recipe, state: TrainState, tally: Tally, *rest: Any) -> jax.stages.Compiled:
    """`train_chunk` for arguments like these, compiled once: `program(state, tally, ...) -> (state, tally)`.

    The state is donated, and the new one has the same shardings.
    """
    shardings = jax.tree.map(lambda leaf: leaf.sharding, (state, tally))
    program = jax.jit(functools.partial(train_chunk, recipe), donate_argnums=0, out_shardings=shardings)
    return compile_if_it_fits("the arrays of a train step", program, state, tally, *rest)
