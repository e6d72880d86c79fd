"""The programs of small models, lowered for accelerators that need not be there."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, AxisType
from optimizers import make_optimizer

from arjax.core.batch import Batch
from arjax.models import AutoregressiveModel, Model
from arjax.objectives import make_objective
from arjax.parallel.sharding import AXES, batch_sharding, replicated
from arjax.samplers import Cached, Request, Sampler
from arjax.samplers.base import run_sampler
from arjax.testing.examples import random_context, random_x
from arjax.training.feed import ResidentChunk
from arjax.training.state import StepSpec, abstract_state, state_shardings, with_shardings
from arjax.training.step import train_chunk, zero_sums

PLATFORMS = ("cuda", "tpu")
MESH = AbstractMesh((2, 2, 2), AXES, axis_types=(AxisType.Auto,) * len(AXES))
#: Examples in a batch, and batches in a chunk.
BATCH, STEPS = 8, 2


class Program(NamedTuple):
    """A jitted function, and the shapes of its arguments."""

    function: Any
    arguments: tuple[Any, ...]


def lowered(program: Program) -> jax.export.Exported:
    """The program for all of `PLATFORMS`; raises where an operation has no form there, or calls back to Python."""
    return jax.export.export(program.function, platforms=PLATFORMS)(*program.arguments)


def refusal(make: Callable[..., Program], *arguments: Any, num_devices: int = 1) -> str:
    """Why the program cannot be lowered for so many devices of `PLATFORMS`, or "" where it can."""
    program = make(*arguments)
    try:
        found = lowered(program)
    except (NotImplementedError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "" if found.nr_devices == num_devices else f"it is for {found.nr_devices} devices"


def train_steps(
    model: Model, objective: str = "teacher_forcing", mesh: AbstractMesh | None = None, optimizer: str = "adamw"
) -> Program:
    """What `compile_chunk` compiles: steps of gradient descent, with an average of the parameters."""
    rule = make_optimizer(optimizer, 1e-3, 10, clip_norm=1.0)
    spec = StepSpec(model, make_objective(objective), rule, total_steps=10, ema_decay=0.9)
    everywhere, of_batch = (replicated(mesh), batch_sharding(mesh)) if mesh else (None, None)
    rows = jax.ShapeDtypeStruct((STEPS, BATCH), jnp.int32, sharding=everywhere)
    chunk = ResidentChunk(_shapes(_examples(model), everywhere), rows, Batch.take, of_batch)
    state = abstract_state(spec)
    sums = _shapes(zero_sums(spec, state, chunk), everywhere)
    if mesh:
        state = with_shardings(state, state_shardings(state, spec, mesh))
    placed = jax.tree.map(lambda leaf: leaf.sharding, (state, sums)) if mesh else None
    program = jax.jit(functools.partial(train_chunk, spec), donate_argnums=0, out_shardings=placed)
    return Program(program, (state, sums, chunk, *_shapes((np.int32(0), jax.random.key(0)), everywhere)))


def score(model: Model) -> Program:
    return Program(_score, _shapes((model, model.param_shapes, _examples(model), jax.random.key(0))))


def draw(model: Model) -> Program:
    context = random_context(model.context_spec, BATCH)
    return Program(_draw, _shapes((model, model.param_shapes, _keys(), context)))


def draw_after_prompt(model: AutoregressiveModel, sampler: Sampler | None = None) -> Program:
    """A draw with observed sites: by default with the step form of the network, and `extend` for the prompt."""
    sites = np.zeros(model.event.num_sites, bool)
    request = Request(_examples(model).x, sites, random_context(model.context_spec, BATCH))
    return Program(run_sampler, _shapes((sampler or Cached(), model, model.param_shapes, _keys(), request)))


@jax.jit
def _score(model: Model, params: Any, batch: Batch, key: jax.Array) -> Any:
    return model.score(params, batch, key=key)


@jax.jit
def _draw(model: Model, params: Any, keys: jax.Array, context: Any) -> Any:
    return model.draw(params, keys, context=context)


def _examples(model: Model) -> Batch:
    return Batch(random_x(model.event, BATCH), random_context(model.context_spec, BATCH) or {})


def _keys() -> jax.ShapeDtypeStruct:
    return jax.eval_shape(lambda: jax.random.split(jax.random.key(0), BATCH))


def _shapes(tree: Any, sharding: Any = None) -> Any:
    """The shapes and types of arrays and numbers, with one placement for all."""

    def shape(leaf: Any) -> jax.ShapeDtypeStruct:
        found = leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jax.typeof(leaf)
        return jax.ShapeDtypeStruct(found.shape, found.dtype, sharding=sharding)

    return jax.tree.map(shape, tree)
