"""The train step, and many of them in one dispatch.

A loss is a sum of means, sum_i T_i / C_i. The totals T_i, their gradients and the counts C_i add up over micro-batches;
the division comes last. So an accumulated gradient is that of the whole batch, to rounding, also where masks and
weights leave each micro-batch another number of scored values.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from arjax.core.batch import Array, Batch
from arjax.core.programs import compile_if_it_fits
from arjax.models import Model
from arjax.objectives import Companions, Loss, Metrics, ObjectiveState, Step, weighted_sum
from arjax.parallel.sharding import on_mesh, path_string
from arjax.training.feed import Chunk
from arjax.training.schedule_free import follow
from arjax.training.state import ObjectiveTrainState, StepSpec, TrainState

#: Gradients by (parameters of the model, parameters of the objective).
Gradients = tuple[Any, Any]
_METRICS = "metrics/"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MetricSums:
    """Metrics and losses, float32[], summed over steps; `bad_step`: the first whose loss was not finite, or -1."""

    metrics: Metrics
    loss: Array
    steps: Array
    bad_step: Array


def train_step(
    spec: StepSpec, state: TrainState, batch: Batch, key: jax.Array, companions: Companions | None = None
) -> tuple[TrainState, Loss]:
    """The state after one step, and its loss. `key` is that of the run: that of the step follows from it."""
    aux = state.objective
    batch, step = _inputs(spec, state, batch, key, companions)
    loss, (gradients, aux_gradients) = loss_and_gradients(spec, state.params, aux, batch, step)
    updates, opt_state = spec.optimizer.update(gradients, state.opt_state, state.params)
    moved = optax.apply_updates(state.params, updates)
    frozen = {name: state.params[name] for name in spec.objective.frozen(spec.model)}
    params, aux_state = spec.objective.after_step(spec.model, moved | frozen if frozen else moved, loss.state)
    opt_state = follow(opt_state, moved, params)
    ema = average(state.ema, params, state.step, spec.ema_decay) if spec.ema_decay else state.ema
    if jax.tree.leaves(aux.params):
        updates, aux_opt_state = spec.objective.optimizer().update(aux_gradients, aux.opt_state, aux.params)
        aux = ObjectiveTrainState(optax.apply_updates(aux.params, updates), aux_state, aux_opt_state)
    else:
        aux = dataclasses.replace(aux, state=aux_state)
    return TrainState(state.step + 1, params, opt_state, ema, aux), _in_data_units(spec, loss, batch)


def _in_data_units(spec: StepSpec, loss: Loss, batch: Batch) -> Loss:
    """With the nats of its metrics as those of densities in the units of the data."""
    if not spec.log_scale or loss.metrics.nll is None or "of_tokens" in spec.objective.traits:
        return loss
    shape, log_scale_D = (len(batch), len(spec.log_scale)), jnp.asarray(spec.log_scale, jnp.float32)
    scored_BD = jnp.ones(shape) if batch.mask is None else jnp.asarray(batch.mask > 0, jnp.float32).reshape(shape)
    units = weighted_sum(batch.weight, scored_BD @ log_scale_D)
    return dataclasses.replace(loss, metrics=dataclasses.replace(loss.metrics, nll=loss.metrics.nll + units))


def _inputs(
    spec: StepSpec, state: TrainState, batch: Batch, key: jax.Array, companions: Companions | None
) -> tuple[Batch, Step]:
    transform_key, objective_key = jax.random.split(jax.random.fold_in(key, state.step))
    if spec.transform is not None:
        batch = spec.transform(transform_key, batch, True)
    progress = state.step.astype(jnp.float32) / spec.total_steps
    return batch, Step(objective_key, progress, companions or {})


def average(ema: Any, params: Any, step: jax.Array, decay: float) -> Any:
    """Exponential moving average; the decay warms up as min(decay, (1 + t) / (10 + t)), to forget the start."""
    rate = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: new + rate * (old - new), ema, params)


def zero_sums(
    spec: StepSpec, state: TrainState, chunk: Chunk, companions: Companions | None = None, members: tuple[int, ...] = ()
) -> MetricSums:
    """The sums before the first step, on the host; `members`: the shape of a population of which one state is given."""

    def metrics(state: TrainState, chunk: Chunk, companions: Companions | None) -> Metrics:
        batch, step = _inputs(spec, state, chunk.batch(0), jax.random.key(0), companions)
        loss = spec.objective.loss(spec.model, state.params, state.objective, batch, step)
        return loss.metrics  # no gradient: that is traced once

    shapes = jax.eval_shape(metrics, state, chunk, companions)
    zeros = jax.tree.map(lambda leaf: np.zeros((*members, *leaf.shape), np.float32), shapes)
    none = np.zeros(members, np.float32)
    return MetricSums(metrics=zeros, loss=none, steps=none, bad_step=np.full(members, -1, np.int32))


def named(sums: MetricSums) -> dict[str, Any]:
    """The leaves of sums by name: `nll`, `loss`, ..., and `means/NAME/total`, `means/NAME/count`."""
    leaves = jax.tree_util.tree_leaves_with_path(sums)
    return {path_string(path).removeprefix(_METRICS): leaf for path, leaf in leaves}


def from_named(zeros: MetricSums, values: Mapping[str, Any]) -> MetricSums:
    """The inverse of `named`, in the types of `zeros`; a name that is missing is as in `zeros`."""

    def leaf(path: Any, zero: np.ndarray) -> np.ndarray:
        return np.asarray(values.get(path_string(path).removeprefix(_METRICS), zero), zero.dtype)

    return jax.tree_util.tree_map_with_path(leaf, zeros)


def train_chunk(
    spec: StepSpec,
    state: TrainState,
    sums: MetricSums,
    chunk: Chunk,
    n: jax.Array,
    key: jax.Array,
    companions: Companions | None = None,
    model: Model | None = None,
) -> tuple[TrainState, MetricSums]:
    """Makes `n` train steps, at most as many as the chunk has batches. `n`, int32[], is traced: one program is enough
    for every n, and gives the same bits for any grouping of the steps. `model` replaces that of the spec: a member of a
    population.
    """
    spec = spec if model is None else dataclasses.replace(spec, model=model)

    def one(k: jax.Array, carry: tuple[TrainState, MetricSums]) -> tuple[TrainState, MetricSums]:
        state, sums = carry
        next_state, loss = train_step(spec, state, chunk.batch(k), key, companions)
        first_bad = (sums.bad_step < 0) & ~jnp.isfinite(loss.value)
        metrics = jax.tree.map(lambda old, new: old + new.astype(jnp.float32), sums.metrics, loss.metrics)
        bad_step = jnp.where(first_bad, next_state.step, sums.bad_step)
        return next_state, MetricSums(metrics, sums.loss + loss.value, sums.steps + 1, bad_step)

    return jax.lax.fori_loop(0, n, one, (state, sums))


def compile_chunk(
    spec: StepSpec,
    state: TrainState,
    sums: MetricSums,
    *rest: Any,
    mapped: Callable[[Callable], Callable] = lambda chunk: chunk,
) -> jax.stages.Compiled:
    """Compiles `train_chunk` for arguments like these: `program(state, sums, ...) -> (state, sums)`. The state is
    donated, and the new one has the same shardings. `mapped` turns the function into one of several members, with their
    models in `rest`.
    """
    shardings = jax.tree.map(lambda leaf: leaf.sharding, (state, sums))
    chunk = mapped(functools.partial(train_chunk, spec))
    program = jax.jit(chunk, donate_argnums=0, out_shardings=shardings)
    placed: Any = state.step.sharding  # on a mesh, as all of the state
    with on_mesh(placed.mesh):
        return compile_if_it_fits("the arrays of a train step", program, state, sums, *rest)


def loss_and_gradients(
    spec: StepSpec, params: Any, aux: ObjectiveState, batch: Batch, step: Step
) -> tuple[Loss, Gradients]:
    """The loss of the batch and its gradients by the parameters of the model and of the objective."""
    if spec.accumulate > 1:
        return _accumulated(spec, params, aux, batch, step)
    loss, pull_back = _totals(spec, params, aux, batch, step)
    return loss, pull_back(tuple(1 / term.divisor for term in loss.terms))


def _totals(
    spec: StepSpec, params: Any, aux: ObjectiveState, batch: Batch, step: Step
) -> tuple[Loss, Callable[[tuple[jax.Array, ...]], Gradients]]:
    """The loss, and the function from cotangents of its totals to gradients."""

    def totals(params: Any, aux_params: Any) -> tuple[tuple[jax.Array, ...], Loss]:
        loss = spec.objective.loss(spec.model, params, ObjectiveState(aux_params, aux.state), batch, step)
        return tuple(term.total for term in loss.terms), jax.lax.stop_gradient(loss)

    _, pull_back, loss = jax.vjp(totals, params, aux.params, has_aux=True)
    return loss, pull_back


def _accumulated(spec: StepSpec, params: Any, aux: ObjectiveState, batch: Batch, step: Step) -> tuple[Loss, Gradients]:
    """One micro-batch after the other; each starts from the state of the objective after the one before it."""
    num = spec.accumulate

    def part(state: Any, batch: Batch, k: jax.Array) -> tuple[Loss, tuple[Gradients, ...]]:
        micro_step = Step(jax.random.fold_in(step.key, k), step.progress, step.companions)
        loss, pull_back = _totals(spec, params, ObjectiveState(aux.params, state), batch, micro_step)
        units = jnp.eye(len(loss.terms), dtype=jnp.float32)
        return loss, tuple(pull_back(tuple(unit)) for unit in units)  # one gradient for each term

    def one(carry: Any, xs: tuple[Batch, jax.Array]) -> tuple[Any, None]:
        sums, state = carry
        loss, gradients = part(state, *xs)
        return (jax.tree.map(jnp.add, sums, (loss.terms, loss.metrics, gradients)), loss.state), None

    xs = cut_batch(batch, num), jnp.arange(num)
    shapes, gradient_shapes = jax.eval_shape(part, aux.state, *jax.tree.map(lambda array: array[0], xs))
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), (shapes.terms, shapes.metrics, gradient_shapes))
    ((terms, metrics, gradients), state), _ = jax.lax.scan(one, (zeros, aux.state), xs)
    # sum_i G_i / C_i
    scaled = [jax.tree.map(lambda g, c=term.divisor: g / c, g) for term, g in zip(terms, gradients, strict=True)]
    return Loss(terms, metrics, state), jax.tree.map(lambda *parts: sum(parts), *scaled)


def cut_batch(batch: Batch, num: int) -> Batch:
    """Returns the batch in parts [num, B / num, ...]: rows k, k + num, ... are part k and stay on their devices."""
    return jax.tree.map(lambda rows: jnp.moveaxis(rows.reshape(len(rows) // num, num, *rows.shape[1:]), 1, 0), batch)
