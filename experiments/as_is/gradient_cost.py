"""The price of a gradient: its variance over the draws of the objective, its time and its memory."""

from __future__ import annotations

import dataclasses
import functools
import statistics
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from arjax.core.batch import Batch
from arjax.models import Model
from arjax.objectives import Objective, ObjectiveState, Step

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from timing import time_in_turns


@dataclasses.dataclass(frozen=True)
class GradientCost:
    """The price of the gradient of a loss, at fixed parameters, for a fixed batch.

    Attributes:
      variance: E |g - E g|^2 over the keys of the step, an unbiased estimate: the sum of the variances of all entries.
      squared_norm: |E g|^2, also unbiased.
      relative_variance: the variance over the squared norm; inf where the latter is not above 0.
      seconds: of the loss and its gradient, the median of the rounds.
      temporary_bytes: the memory of the compiled program beside its arguments and results; -1 where the backend does
        not report it.
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
) -> GradientCost:
    """Measures the gradient of an objective by the parameters of the model, at the beginning of a run.

    Args:
      batch: the same in all gradients, so the variance is that of draws (and of dropout) alone.
      num: keys of steps, at least 2.
      min_seconds: the approximate duration of a round.
    """
    objective.check(model)
    state = objective.init(model, jax.random.fold_in(key, 0))
    keys = jax.random.split(jax.random.fold_in(key, 1), num)
    arguments = (model, params, state, jax.tree.map(jnp.asarray, batch))
    program = jax.jit(functools.partial(_gradient, objective)).lower(*arguments, keys[0]).compile()
    seconds = time_in_turns({"step": lambda: program(*arguments, keys[0])}, rounds, min_seconds)["step"]
    mean, spread = jax.tree.map(jnp.zeros_like, params), jnp.float32(0.0)
    for n, step_key in enumerate(keys):
        mean, spread = _include(mean, spread, program(*arguments, step_key), n)
    variance = float(spread) / (num - 1)
    squared_norm = float(optax.tree_utils.tree_vdot(mean, mean)) - variance / num
    relative = variance / squared_norm if squared_norm > 0 else float("inf")
    memory = program.memory_analysis()
    temporary = -1 if memory is None else memory.temp_size_in_bytes
    return GradientCost(variance, squared_norm, relative, statistics.median(seconds), temporary, num)


def _gradient(
    objective: Objective, model: Model, params: Any, state: ObjectiveState, batch: Batch, key: jax.Array
) -> Any:
    step = Step(key, jnp.float32(0.0), {})
    return jax.grad(lambda params: objective.loss(model, params, state, batch, step).value)(params)


@jax.jit
def _include(mean: Any, spread: jax.Array, gradient: Any, n: jax.Array) -> tuple[Any, jax.Array]:
    """Mean and sum of squared deviations of n gradients and one more, by Welford's update: no cancellation."""
    off = jax.tree.map(jnp.subtract, gradient, mean)
    mean = jax.tree.map(lambda m, d: m + d / (n + 1), mean, off)
    return mean, spread + optax.tree_utils.tree_vdot(off, jax.tree.map(jnp.subtract, gradient, mean))
