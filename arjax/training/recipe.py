"""The static description of a train step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import optax

from arjax.core.batch import Batch
from arjax.models import Model
from arjax.objectives import Objective


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The description of a train step, all static.

    Attributes:
      model: the trained model.
      objective: the minimised function.
      optimizer: turns gradients into updates.
      total_steps: length of the run, which the objective's `progress` refers to.
      ema_decay: decay of the average of the parameters; 0 keeps none.
      transform: `(key, batch, train) -> batch` run inside the step, such as dynamic binarization, or None.
      accumulate: micro-batches that a batch is cut into; their gradients are accumulated.
    """

    model: Model
    objective: Objective
    optimizer: optax.GradientTransformation
    total_steps: int
    ema_decay: float = 0.0
    transform: Callable[[jax.Array, Batch, bool], Batch] | None = None
    accumulate: int = 1
