"""The programs of small models, lowered for accelerators that need not be there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, AxisType

from arjax.core.batch import Batch
from arjax.models import AutoregressiveModel, Model
from arjax.objectives import make_objective
from arjax.parallel.sharding import AXES, batch_sharding, replicated
from arjax.samplers import Cached, DrawOptions
from arjax.samplers.base import run
from arjax.testing.examples import random_context, random_x
from arjax.training.feed import ResidentChunk
from arjax.training.optimizer import make_optimizer
from arjax.training.state import Recipe, abstract_state, state_shardings, with_shardings
from arjax.training.step import train_chunk, zero_sums

PLATFORMS = ("cuda", "tpu")
MESH = AbstractMesh((2, 2, 2), AXES, axis_types=(AxisType.Auto,) * len(AXES))
#: Examples in a batch, and batches in a chunk.
BATCH, STEPS = 8, 2


def lower(function: Callable, *args: Any) -> dict[str, str]:
    """The program of a jitted function by platform; the arguments are arrays or their shapes."""
    traced = function.trace(*args)
    return {name: traced.lower(lowering_platforms=(name,)).as_text() for name in PLATFORMS}


def shapes_of(tree: Any, sharding: Any = None) -> Any:
    """Shapes and types of the arrays, with one placement for all."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), jnp.asarray(leaf).dtype, sharding=sharding), tree)


def examples_of(model: Model) -> Batch:
    return Batch(random_x(model.event, BATCH), random_context(model.context_spec, BATCH) or {})


def train_steps(model: Model, objective: str = "teacher_forcing", mesh: AbstractMesh | None = None):
    """The program of the training loop, see `compile_chunk`, and its arguments."""
    optimizer = make_optimizer("adamw", 1e-3, 10, weight_decay=0.1, clip_norm=1.0)
    recipe = Recipe(model, make_objective(objective), optimizer, total_steps=10, ema_decay=0.9)
    everywhere, of_batch = (replicated(mesh), batch_sharding(mesh)) if mesh else (None, None)
    state = abstract_state(recipe)
    examples, rows = shapes_of(examples_of(model), everywhere), jnp.zeros((STEPS, BATCH), jnp.int32)
    chunk = ResidentChunk(examples, shapes_of(rows, everywhere), Batch.take, of_batch)
    sums = shapes_of(zero_sums(recipe, state, chunk), everywhere)
    if mesh:
        state = with_shardings(state, state_shardings(state, recipe, mesh))
    shardings = jax.tree.map(lambda leaf: leaf.sharding, (state, sums)) if mesh else None
    program = jax.jit(functools.partial(train_chunk, recipe), donate_argnums=0, out_shardings=shardings)
    n, key = (shapes_of(leaf, everywhere) for leaf in (jnp.int32(0), jax.random.key(0)))
    return program, (state, sums, chunk, n, key)


@jax.jit
def score(model: Model, params: Any, batch: Batch, key: jax.Array) -> Any:
    return model.score(params, batch, key=key)


@jax.jit
def draw(model: Model, params: Any, keys: jax.Array, context: Any) -> Any:
    return model.draw(params, keys, context=context)


def keys() -> jax.Array:
    return jax.random.split(jax.random.key(0), BATCH)


def draw_after_prompt(model: AutoregressiveModel):
    """The step form, and `extend` for a prompt."""
    canvas = jnp.zeros((BATCH, *model.event.shape), model.event.dtype)
    options = DrawOptions(observed=jnp.zeros(model.event.num_sites, bool), context=random_context(model.context_spec, BATCH))
    return run, (Cached(), model, model.param_shapes, keys(), canvas, options)
