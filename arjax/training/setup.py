"""From a config to everything a run needs, typed and checked; nothing below this file sees the config."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from arjax.build import build_dataset, build_model
from arjax.data import Dataset
from arjax.errors import UserError
from arjax.models import AutoregressiveModel
from arjax.objectives import make_objective
from arjax.training.checkpoint import CheckpointStore
from arjax.training.durations import total_steps
from arjax.training.optimizer import make_optimizer
from arjax.training.sharding import Rule, check_batch_size, make_mesh, replicated
from arjax.training.state import TrainState, abstract_state, eval_params, init_state, state_shardings, with_shardings
from arjax.training.step import Recipe


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a run is made of.

    Attributes:
      dataset: splits, event and context.
      mesh: the devices.
      rules: placement of parameters on the mesh; empty for the default ones.
      recipe: model, objective, optimizer: what a train step does.
      total_steps: length of the run.
      seed: of parameters, batches and noise.
    """

    dataset: Dataset
    mesh: Mesh
    rules: tuple[Rule, ...]
    recipe: Recipe
    total_steps: int
    seed: int

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


def build(config: ConfigDict, devices: Sequence[jax.Device] | None = None) -> Setup:
    """Builds the parts of a run from its config, for these devices (all there are, by default).

    Raises `UserError` for a mistake before anything compiles.
    """
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tensor, devices)
    train = config.train
    check_batch_size(train.batch_size, mesh)
    dataset = build_dataset(config)
    num_examples = len(dataset.splits["train"])
    steps = total_steps(train.steps, train.examples, train.epochs, train.batch_size, num_examples)
    options = config.optimizer.to_dict()
    optimizer = make_optimizer(options.pop("name"), options.pop("learning_rate"), steps, **options)
    recipe = Recipe(
        model=build_model(config, dataset),
        objective=make_objective(config.objective),
        optimizer=optimizer,
        ema_decay=train.ema_decay,
        transform=dataset.transform,
    )
    return Setup(dataset, mesh, tuple(config.mesh.rules), recipe, steps, config.seed)


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
