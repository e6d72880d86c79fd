"""Everything that a run needs, typed, and the checkpoints of its workdir."""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from arjax.core.errors import UserError
from arjax.data import Dataset
from arjax.models import AutoregressiveModel
from arjax.parallel.sharding import Rule, replicated
from arjax.training.checkpoint import CheckpointStore
from arjax.training.state import TrainState, abstract_state, eval_params, init_state, state_shardings, with_shardings
from arjax.training.step import Recipe


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """How the loop trains: the section `train` of a config, but for the durations and the average of the parameters.

    Attributes:
      batch_size: examples per step, over all devices.
      steps_per_dispatch: steps that the device does in one call, at most.
      log_every, eval_every, checkpoint_every: steps.
      patience: validations without a better score after which training ends; 0: never.
      data_on_device: whether the training split is kept on every device.
    """

    batch_size: int
    steps_per_dispatch: int = 16
    log_every: int = 100
    eval_every: int = 500
    checkpoint_every: int = 500
    patience: int = 0
    data_on_device: bool = True


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """How a run is scored: the section `evaluate` of a config.

    Attributes:
      batch_size: examples scored at once.
      split: the one that is scored at the end.
      num_orders: orders that an order-agnostic model is averaged over.
    """

    batch_size: int = 128
    split: str = "test"
    num_orders: int = 1


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a run is made of.

    Attributes:
      dataset: splits, event and context.
      mesh: the devices.
      rules: placement of parameters on the mesh; empty for the default ones.
      recipe: model, objective, optimizer: what a train step does.
      schedule: the learning rate of each step.
      total_steps: length of the run.
      seed: of parameters, batches and noise.
      train: how the loop trains.
      evaluate: how the run is scored.
    """

    dataset: Dataset
    mesh: Mesh
    rules: tuple[Rule, ...]
    recipe: Recipe
    schedule: optax.Schedule
    total_steps: int
    seed: int
    train: TrainOptions
    evaluate: EvaluateOptions

    @property
    def model(self) -> AutoregressiveModel:
        """What is trained."""
        return self.recipe.model

    @functools.cached_property
    def abstract_state(self) -> TrainState:
        """Shapes, types and shardings of the train state."""
        abstract = abstract_state(self.model, self.recipe.optimizer, bool(self.recipe.ema_decay))
        return with_shardings(abstract, state_shardings(abstract, self.recipe.optimizer, self.mesh, self.rules))

    def keys(self) -> tuple[jax.Array, jax.Array]:
        """The random keys of the initial parameters and of the steps, on the mesh."""
        split = jax.jit(lambda: tuple(jax.random.split(jax.random.key(self.seed))), out_shardings=replicated(self.mesh))
        return split()

    def init_state(self, key: jax.Array) -> TrainState:
        """A fresh train state, created sharded."""
        recipe = self.recipe
        return init_state(recipe.model, recipe.optimizer, key, self.mesh, self.rules, bool(recipe.ema_decay))


def latest_store(workdir: str | os.PathLike) -> CheckpointStore:
    """The newest states of a run: everything that resuming needs."""
    return CheckpointStore(Path(workdir) / "checkpoints" / "latest", keep=2)


def best_store(workdir: str | os.PathLike) -> CheckpointStore:
    """The parameters that were best on validation."""
    return CheckpointStore(Path(workdir) / "checkpoints" / "best", keep=1)


def restore_params(setup: Setup, workdir: str | os.PathLike) -> tuple[Any, int, dict[str, Any]]:
    """The parameters of a finished or running workdir that were best on validation, or the latest before there are any.

    Returns:
      The parameters on the mesh, the step they are of, and what the checkpoint says (`value`: validation nats).

    Raises:
      UserError: there is no checkpoint, none is readable, or the best parameters were there and are gone.
    """
    best_checkpoints = best_store(workdir)
    while True:
        best = best_checkpoints.restore(setup.abstract_state.params)
        if best is not None:
            step, params, extra = best
            return params, step, extra
        latest = latest_store(workdir).restore(setup.abstract_state)
        if not best_checkpoints.steps():  # else a run has saved its first best parameters meanwhile
            break
    if latest is None:
        raise UserError(f"{workdir} holds no checkpoint yet: train there first")
    step, state, extra = latest
    if extra["best_value"] is not None:
        raise UserError(f"{best_checkpoints.directory} is gone: the best parameters of this run cannot be used")
    return eval_params(state), step, {}
