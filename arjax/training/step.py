"""The train step, and many of them in one dispatch."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from arjax.core.batch import Batch
from arjax.models import AutoregressiveModel
from arjax.training.feed import Chunk
from arjax.training.state import TrainState

Sums = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a train step does, all static.

    Attributes:
      model: what is trained.
      objective: `(model, params, batch, key) -> (loss, sums)`.
      optimizer: turns gradients into updates.
      ema_decay: decay of the average of the parameters; 0 keeps none.
      transform: `(key, batch, train) -> batch` run inside the step, such as dynamic binarization, or None.
    """

    model: AutoregressiveModel
    objective: Callable[[AutoregressiveModel, Any, Batch, jax.Array], tuple[jax.Array, Sums]]
    optimizer: optax.GradientTransformation
    ema_decay: float = 0.0
    transform: Callable[[jax.Array, Batch, bool], Batch] | None = None


def train_step(recipe: Recipe, state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Sums]:
    """One step of gradient descent. `key` is that of the run; the step's own is a pure function of it and `state.step`.

    Returns the next state and the objective's sums, with its `loss` (nats per dimension) added.
    """
    transform_key, objective_key = jax.random.split(jax.random.fold_in(key, state.step))
    if recipe.transform is not None:
        batch = recipe.transform(transform_key, batch, True)

    def loss(params: Any) -> tuple[jax.Array, Sums]:
        return recipe.objective(recipe.model, params, batch, objective_key)

    (value, sums), gradients = jax.value_and_grad(loss, has_aux=True)(state.params)
    updates, opt_state = recipe.optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = average(state.ema, params, state.step, recipe.ema_decay) if recipe.ema_decay else state.ema
    return TrainState(step=state.step + 1, params=params, opt_state=opt_state, ema=ema), sums | {"loss": value}


def average(ema: Any, params: Any, step: jax.Array, decay: float) -> Any:
    """Exponential moving average; the decay warms up as min(decay, (1 + t) / (10 + t)), to forget the start."""
    decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: new + decay * (old - new), ema, params)


def zero_sums(recipe: Recipe, state: TrainState, chunk: Chunk) -> Sums:
    """The sums before the first step, as scalars on the host: all 0, and -1 for `bad_step` (no loss was bad yet)."""
    batch = jax.eval_shape(lambda c: c.batch(0), chunk)
    sums = jax.eval_shape(lambda s, b, k: train_step(recipe, s, b, k)[1], state, batch, jax.random.key(0))
    zeros = {name: jnp.zeros((), jnp.float32) for name in sums}
    return zeros | {"steps": jnp.zeros((), jnp.float32), "bad_step": jnp.full((), -1, jnp.int32)}


def train_chunk(
    recipe: Recipe, state: TrainState, sums: Sums, chunk: Chunk, n: jax.Array, key: jax.Array
) -> tuple[TrainState, Sums]:
    """`n` train steps, at most as many as the chunk has batches.

    `n` is a traced number, so one program serves every n and gives the same bits however the steps are grouped.

    Args:
      recipe: static.
      state: the state, to be donated.
      sums: float32 sums over the steps so far; `bad_step` is the first step whose loss was not finite, or -1.
      chunk: batches of at least n steps.
      n: int32[], steps to do.
      key: the key of the run.
    """

    def one(k: jax.Array, carry: tuple[TrainState, Sums]) -> tuple[TrainState, Sums]:
        state, sums = carry
        next_state, new = train_step(recipe, state, chunk.batch(k), key)
        first_bad = (sums["bad_step"] < 0) & ~jnp.isfinite(new["loss"])
        total = {name: sums[name] + value.astype(jnp.float32) for name, value in new.items()}
        total["steps"] = sums["steps"] + 1
        total["bad_step"] = jnp.where(first_bad, next_state.step, sums["bad_step"])
        return next_state, total

    return jax.lax.fori_loop(0, n, one, (state, sums))


def compile_chunk(
    recipe: Recipe, state: TrainState, sums: Sums, chunk: Chunk, n: jax.Array, key: jax.Array
) -> jax.stages.Compiled:
    """`train_chunk` for arguments like these, compiled once: `program(state, sums, chunk, n, key) -> (state, sums)`.

    The state is donated, and comes back living where it lived.
    """
    shardings = jax.tree.map(lambda leaf: leaf.sharding, (state, sums))
    program = jax.jit(functools.partial(train_chunk, recipe), donate_argnums=0, out_shardings=shardings)
    return program.lower(state, sums, chunk, n, key).compile()
