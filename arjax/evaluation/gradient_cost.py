"""The price of a gradient: its variance over the draws of the objective, its time and its memory."""

from __future__ import annotations

import dataclasses
import functools
import statistics
from typing import Any

import jax
import jax.numpy as jnp
import optax

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.evaluation.speed import time_in_turns
from arjax.models import Model
from arjax.objectives import Companions, Objective, ObjectiveState, Step


@dataclasses.dataclass(frozen=True)
class GradientCost:
    """The price of the gradient of a loss, at fixed parameters, for a fixed batch.

    Attributes:
      variance: E |g - E g|^2 over the keys of the step, an unbiased estimate: the sum of the variances of all entries.
      squared_norm: |E g|^2, likewise without bias.
      relative_variance: the variance over the squared norm; inf where that is not above 0.
      seconds: of the loss and its gradient, the median of the rounds.
      temporary_bytes: the memory of the compiled program beside its arguments and results; -1 where the backend does
        not say.
      num: the number of keys.
    """

    variance: float
    squared_norm: float
    relative_variance: float
    seconds: float
    temporary_bytes: int
    num: int


def gradient_cost(
    objective: Objective,
    model: Model,
    params: Any,
    batch: Batch,
    *,
    key: jax.Array,
    num: int = 64,
    rounds: int = 5,
    min_seconds: float = 0.2,
    progress: float = 0.0,
    own: ObjectiveState | None = None,
    companions: Companions | None = None,
) -> GradientCost:
    """Measures the gradient of an objective by the parameters of the model. For a curve against the length of the
    sequences, call it with a model and a batch of each length. Raises `UserError`: fewer than 2 keys, or a model that
    the objective cannot train.

    Args:
      batch: its examples stay the same, so the variance is that of draws (and of dropout) alone.
      key: of all keys of the steps.
      num: keys, at least 2.
      min_seconds: about the duration of a round.
      progress: part of the run that is done, for objectives with a schedule.
      own: parameters and state of the objective; None: fresh ones.
    """
    if num < 2:
        raise UserError(f"a variance needs at least 2 gradients, not {num}")
    objective.check(model)
    own = objective.init(model, jax.random.fold_in(key, 0)) if own is None else own
    keys = jax.random.split(jax.random.fold_in(key, 1), num)
    arguments = (model, params, own, jax.tree.map(jnp.asarray, batch), jnp.float32(progress), dict(companions or {}))
    program = jax.jit(functools.partial(_gradient, objective)).lower(*arguments, keys[0]).compile()
    seconds = time_in_turns({"step": lambda: program(*arguments, keys[0])}, rounds, min_seconds)["step"]
    mean, spread = jax.tree.map(jnp.zeros_like, params), jnp.float32(0.0)
    for n, one in enumerate(keys):
        mean, spread = _include(mean, spread, program(*arguments, one), n)
    variance = float(spread) / (num - 1)
    squared_norm = float(optax.tree_utils.tree_vdot(mean, mean)) - variance / num
    relative = variance / squared_norm if squared_norm > 0 else float("inf")
    memory = program.memory_analysis()
    temporary = -1 if memory is None else memory.temp_size_in_bytes
    return GradientCost(variance, squared_norm, relative, statistics.median(seconds), temporary, num)


def _gradient(
    objective: Objective,
    model: Model,
    params: Any,
    own: ObjectiveState,
    batch: Batch,
    progress: jax.Array,
    companions: Companions,
    key: jax.Array,
) -> Any:
    step = Step(key, progress, companions)
    return jax.grad(lambda params: objective.loss(model, params, own, batch, step).value)(params)


@jax.jit
def _include(mean: Any, spread: jax.Array, gradient: Any, n: jax.Array) -> tuple[Any, jax.Array]:
    """Mean and sum of squared deviations of n gradients and one more, by Welford's update: no cancellation."""
    off = jax.tree.map(jnp.subtract, gradient, mean)
    mean = jax.tree.map(lambda m, d: m + d / (n + 1), mean, off)
    return mean, spread + optax.tree_utils.tree_vdot(off, jax.tree.map(jnp.subtract, gradient, mean))
