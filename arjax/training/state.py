"""The train state, as one pytree, and its shardings on the mesh; the static description of a train step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from arjax.core.batch import Batch
from arjax.models import Model
from arjax.objectives import Objective, ObjectiveState
from arjax.parallel.sharding import Rule, param_shardings, path_string, replicated
from arjax.training.schedule_free import average_of

#: For a program that runs once on CPUs: it compiles in two thirds of the time. On a mesh, the optimisation level
#: changes the last bits of some values in JAX 0.12.
RUNS_ONCE = {"xla_backend_optimization_level": 1}


@dataclasses.dataclass(frozen=True)
class StepSpec:
    """The description of a train step, all static."""

    model: Model
    objective: Objective
    optimizer: optax.GradientTransformation
    total_steps: int  # of the run, which the objective's `progress` refers to
    ema_decay: float = 0.0
    transform: Callable[[jax.Array, Batch, bool], Batch] | None = None  # `(key, batch, train)`, as a binarization
    accumulate: int = 1  # micro-batches that a batch is cut into
    #: `Dataset.log_scale_D` of standardised data: the metrics have nats in the units of the data; the loss need not.
    log_scale: tuple[float, ...] = ()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ObjectiveTrainState(ObjectiveState):
    """The parameters and the state of the objective, and the state of `Objective.optimizer`."""

    opt_state: Any = ()


class TrainState(flax.struct.PyTreeNode):
    """The state that a train step updates; the average is an empty dict where a run has none."""

    step: jax.Array
    params: Any
    opt_state: Any
    ema: Any
    objective: ObjectiveTrainState = flax.struct.field(default_factory=ObjectiveTrainState)


def eval_params(state: TrainState) -> Any:
    """The parameters to validate, test and sample with: an average where the run or the optimizer keeps one."""
    return state.ema or average_of(state.opt_state, state.params)


def parts_of_optimizer(state: TrainState) -> dict[str, str]:
    """The part of the optimizer, such as "muon", that moves each parameter, by path; {} where one rule moves all."""

    def masked(tree: Any) -> Any:
        return jax.tree.structure(tree, is_leaf=_is_masked)

    def is_partition(node: Any) -> bool:
        return isinstance(node, optax.transforms.PartitionState)

    paths = [path_string(path) for path, _ in jax.tree.leaves_with_path(state.params)]
    parts: dict[str, str] = {}
    of_params = jax.tree.structure(state.params)
    for partition in filter(is_partition, jax.tree.leaves(state.opt_state, is_leaf=is_partition)):
        for name, inner in partition.inner_states.items():
            for moments in jax.tree.leaves(inner, is_leaf=lambda tree: masked(tree) == of_params):
                if masked(moments) == of_params:
                    leaves = jax.tree.leaves(moments, is_leaf=_is_masked)
                    parts |= {path: name for path, leaf in zip(paths, leaves, strict=True) if not _is_masked(leaf)}
    return parts


def _is_masked(moment: Any) -> bool:
    """Whether this stands in the place of a parameter that another part of the optimizer moves."""
    return isinstance(moment, optax.MaskedNode)


def fresh_state(spec: StepSpec, key: jax.Array, params: Any = None) -> TrainState:
    """The state before the first step, from `params`, which may be some entries of those of the model; pure."""
    if params is None or params.keys() != spec.model.param_shapes.keys():
        params = {**spec.model.init(key), **(params or {})}
    params = spec.objective.start(spec.model, params)
    # The average starts as a copy: two donated leaves must not share a buffer.
    average = jax.tree.map(jnp.copy, params) if spec.ema_decay else {}
    initial = spec.objective.init(spec.model, jax.random.fold_in(key, 2))
    opt_state = spec.objective.optimizer().init(initial.params) if jax.tree.leaves(initial.params) else ()
    objective = ObjectiveTrainState(initial.params, initial.state, opt_state)
    return TrainState(jnp.zeros((), jnp.int32), params, spec.optimizer.init(params), average, objective)


def abstract_state(spec: StepSpec, mesh: Mesh | None = None) -> TrainState:
    """Shapes and types of the state, traced with a key on the mesh, so that `init_state` finds the same trace."""
    key = jax.eval_shape(jax.random.key, 0)
    key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=None if mesh is None else replicated(mesh))
    return jax.eval_shape(lambda key: fresh_state(spec, key), key)


def state_shardings(state: TrainState, spec: StepSpec, mesh: Mesh, rules: tuple[Rule, ...] = ()) -> TrainState:
    """The sharding of every leaf: that of its parameter for moments and averages of the same shape."""
    everywhere: Any = replicated(mesh)  # in the place of an array

    def place(moment: Any, sharding: Any, param: Any) -> Any:
        if _is_masked(moment):
            return moment
        return sharding if moment.shape == param.shape else everywhere

    def moments(optimizer: optax.GradientTransformation, opt_state: Any, shardings: Any, params: Any) -> Any:
        return optax.tree_utils.tree_map_params(
            optimizer,
            place,
            opt_state,
            shardings,
            params,
            transform_non_params=lambda _: everywhere,
            is_leaf=_is_masked,
        )

    params, aux = param_shardings(state.params, mesh, rules), state.objective
    params_of_aux, opt_state_of_aux = param_shardings(aux.params, mesh, rules), ()
    if jax.tree.leaves(aux.params):
        opt_state_of_aux = moments(spec.objective.optimizer(), aux.opt_state, params_of_aux, aux.params)
    placed = ObjectiveTrainState(params_of_aux, jax.tree.map(lambda _: everywhere, aux.state), opt_state_of_aux)
    opt_state = moments(spec.optimizer, state.opt_state, params, state.params)
    return TrainState(everywhere, params, opt_state, params if state.ema else {}, placed)


def with_shardings(abstract: Any, shardings: Any) -> Any:
    """Abstract arrays with their shardings: the target of a restored checkpoint."""
    return jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), abstract, shardings)


def placed_state(spec: StepSpec, mesh: Mesh, rules: tuple[Rule, ...] = ()) -> TrainState:
    """The `abstract_state` with the sharding of each leaf."""
    abstract = abstract_state(spec, mesh)
    return with_shardings(abstract, state_shardings(abstract, spec, mesh, rules))


def init_state(spec: StepSpec, key: jax.Array, placed: TrainState, params: Any = None) -> TrainState:
    """A fresh state, created as `placed`: no device ever holds more than its part. `params`: as for `fresh_state`."""
    shardings: Any = jax.tree.map(lambda leaf: leaf.sharding, placed)
    program = jax.jit(
        lambda key, params: fresh_state(spec, key, params),
        out_shardings=shardings,
        compiler_options=RUNS_ONCE if shardings.step.mesh.devices.flat[0].platform == "cpu" else None,
    )
    return program(key, params)
