"""All that training changes, as one pytree, and where it lives on the mesh."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from arjax.models import AutoregressiveModel
from arjax.parallel.sharding import Rule, param_shardings, replicated


class TrainState(flax.struct.PyTreeNode):
    """What a train step maps to its successor.

    Attributes:
      step: int32[], number of steps done.
      params: parameters, float32.
      opt_state: state of the optimizer.
      ema: exponential moving average of the parameters, or an empty dict when none is kept.
    """

    step: jax.Array
    params: Any
    opt_state: Any
    ema: Any


def eval_params(state: TrainState) -> Any:
    """The parameters to validate, test and sample with: the moving average where there is one."""
    return state.ema or state.params


def fresh_state(
    model: AutoregressiveModel, optimizer: optax.GradientTransformation, key: jax.Array, ema: bool
) -> TrainState:
    """The state before the first step; a pure function, to be jitted or traced."""
    params = model.init(key)
    # The average starts as a copy: two donated leaves must not share a buffer.
    average = jax.tree.map(jnp.copy, params) if ema else {}
    return TrainState(step=jnp.zeros((), jnp.int32), params=params, opt_state=optimizer.init(params), ema=average)


def abstract_state(model: AutoregressiveModel, optimizer: optax.GradientTransformation, ema: bool) -> TrainState:
    """Shapes and types of the state; nothing is computed."""
    return jax.eval_shape(lambda key: fresh_state(model, optimizer, key, ema), jax.random.key(0))


def state_shardings(
    state: TrainState, optimizer: optax.GradientTransformation, mesh: Mesh, rules: tuple[Rule, ...] = ()
) -> TrainState:
    """Sharding of every leaf of a (real or abstract) state: moments and averages lie where their parameter lies."""
    params = param_shardings(state.params, mesh, rules)
    moments = optax.tree_utils.tree_map_params(
        optimizer,
        lambda _, sharding: sharding,
        state.opt_state,
        params,
        transform_non_params=lambda _: replicated(mesh),
    )
    return TrainState(step=replicated(mesh), params=params, opt_state=moments, ema=params if state.ema else {})


def with_shardings(abstract: Any, shardings: Any) -> Any:
    """Abstract arrays that know where they live: the target of a restored checkpoint."""
    return jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), abstract, shardings)


def init_state(
    model: AutoregressiveModel,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    mesh: Mesh,
    rules: tuple[Rule, ...] = (),
    ema: bool = False,
) -> TrainState:
    """A fresh state, created sharded: no device ever holds more than its part."""
    shardings = state_shardings(abstract_state(model, optimizer, ema), optimizer, mesh, rules)
    return jax.jit(lambda key: fresh_state(model, optimizer, key, ema), out_shardings=shardings)(key)
