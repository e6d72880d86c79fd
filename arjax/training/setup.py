"""The parts of a run, typed, and the checkpoints of its workdir."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from arjax.core.errors import UserError
from arjax.core.memory import bytes_of, check_memory
from arjax.core.registry import Component
from arjax.data import Dataset
from arjax.data.vocabulary import check_same_tokens
from arjax.evaluation.report import Measures
from arjax.models import Model
from arjax.objectives import OBJECTIVES, Companion, Objective
from arjax.parallel.sharding import Rule, check_batch_size, replicated
from arjax.samplers import Sampler
from arjax.training.checkpoint import CheckpointStore
from arjax.training.optimizer import make_optimizer
from arjax.training.schedules import make_schedule
from arjax.training.starting import check_start, entries_that_fit, part_of_run, sources_of_parts
from arjax.training.state import (
    Recipe,
    TrainState,
    abstract_state,
    eval_params,
    init_state,
    state_shardings,
    with_shardings,
)
from arjax.training.workdir import check_data


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """Options of the loop: the fields of the section `train` of a config, see docs/configs.md."""

    batch_size: int
    steps_per_dispatch: int = 16
    log_every: int = 100
    eval_every: int = 500
    checkpoint_every: int = 500
    patience: int = 0
    data_on_device: bool = True
    init_from: str = ""
    writers: tuple[Component, ...] = ()


@dataclasses.dataclass(frozen=True)
class EvaluateOptions(Measures):
    """The section `evaluate` of a config: the numbers of a report, and `split`, the one that is scored at the end."""

    split: str = "test"


@dataclasses.dataclass(frozen=True)
class Trained:
    """The model of another run, its best parameters on the mesh, their step, and the data that it was trained on."""

    model: Model
    params: Any
    step: int
    dataset: Dataset

    @property
    def companion(self) -> Companion:
        """The part of it that an objective reads."""
        return Companion(self.model, self.params)


@dataclasses.dataclass(frozen=True)
class Setup:
    """The parts of a run.

    Attributes:
      dataset: splits, event and context.
      mesh, rules: the devices, and the placement of parameters on them; empty for the default one.
      recipe: the description of a train step: model, objective, optimizer.
      schedule: the learning rate of each step.
      seed: of parameters, batches and noise.
      train, evaluate: options of the loop and of the scores.
      open_run: opens another run by its workdir.
      sampler: draws the samples of the run.
      about: the network and its order in words, for the first lines of a run.
    """

    dataset: Dataset
    mesh: Mesh
    rules: tuple[Rule, ...]
    recipe: Recipe
    schedule: optax.Schedule
    seed: int
    train: TrainOptions
    evaluate: EvaluateOptions
    open_run: Callable[[str], Trained]
    sampler: Sampler
    about: str = ""

    @property
    def model(self) -> Model:
        """The trained model."""
        return self.recipe.model

    @property
    def total_steps(self) -> int:
        """The length of the run."""
        return self.recipe.total_steps

    @property
    def frozen(self) -> tuple[str, ...]:
        """The entries of the parameters that the objective leaves as they are in another run."""
        return self.recipe.objective.frozen(self.model)

    @property
    def scored(self) -> Dataset:
        """The data set with the examples that are scored."""
        return self.dataset.thinned(self.evaluate.examples)

    @functools.cached_property
    def abstract_state(self) -> TrainState:
        """Shapes, types and shardings of the train state."""
        abstract = abstract_state(self.recipe)
        return with_shardings(abstract, state_shardings(abstract, self.recipe, self.mesh, self.rules))

    def keys(self) -> tuple[jax.Array, jax.Array]:
        """The random keys of the initial parameters and of the steps, on the mesh."""
        split = jax.jit(lambda: tuple(jax.random.split(jax.random.key(self.seed))), out_shardings=replicated(self.mesh))
        return split()

    def trained_companions(self) -> dict[str, Trained]:
        """The frozen models that the objective reads, by name; raises `UserError` when one does not fit."""
        objective = self.recipe.objective
        found = {name: self._companion(workdir) for name, workdir in objective.companions().items()}
        objective.check_companions(self.model, {name: trained.companion for name, trained in found.items()})
        for trained in found.values():
            check_same_tokens(self.dataset.vocabulary, trained.dataset.vocabulary, "the oracle")
        return found

    def _companion(self, workdir: str) -> Trained:
        """The run in a folder, or the known truth of the data set for ""."""
        if workdir:
            return self.open_run(workdir)
        if (truth := self.dataset.truth) is None:
            raise UserError(
                f"the objective reads the true conditionals, which the data set {self.dataset.name!r} has not: name a "
                "run as its oracle"
            )
        return Trained(truth.model, jax.device_put(truth.params, replicated(self.mesh)), 0, self.dataset)

    def first_params(self, models: Sequence[Model]) -> Any:
        """The parameters of the run in `train.init_from`, for these models, which have those of this one; or those of
        some parts by their names, each of a run of its own, from `1=runs/coarse,2=runs/fine`.

        Where the objective leaves some entries as they are, these, and all others that fit.

        Raises:
          UserError: there is no such run, or its parameters are not those of the models.
        """
        source, wanted, entries = self.train.init_from, self.abstract_state.params, self.frozen
        if sources := sources_of_parts(source, self.model):
            return self._params_of_parts(sources, models)
        other = self.open_run(source)
        if entries:
            entries = entries_that_fit(self.model, entries, wanted, other, source)
            wanted = {name: wanted[name] for name in entries}
            found = {name: other.params[name] for name in entries if name in other.params}
            other = dataclasses.replace(other, params=found)
        for model in models:
            check_start(model, self.dataset, wanted, other, source, entries)
        return other.params

    def _params_of_parts(self, sources: Mapping[str, str], models: Sequence[Model]) -> dict[str, Any]:
        """The parameters of some parts by their names, each of a run of its own."""
        if left := sorted(set(self.frozen) - sources.keys()):
            raise UserError(
                f"the objective leaves {', '.join(left)} as they are in a run: give train.init_from one run for the "
                "whole model"
            )
        found = {}
        for name, workdir in sources.items():
            wanted = self.abstract_state.params[name]
            other = part_of_run(name, wanted, self.open_run(workdir))
            for model in models:
                check_start(model.named_parts[name], None, wanted, other, workdir)
            found[name] = other.params
        return found

    def init_state(self, key: jax.Array) -> TrainState:
        """A fresh train state, created sharded, from the parameters of the run in `train.init_from` if one is named.

        Raises `UserError` as `first_params`, and where the state is larger than the memory of the devices.
        """
        check_memory(bytes_of(self.abstract_state), "the parameters and the optimizer's state take", self.mesh.size)
        params = self.first_params((self.model,)) if self.train.init_from else None
        return init_state(self.recipe, key, self.mesh, self.rules, params)


def make_setup(
    *,
    model: Model,
    dataset: Dataset,
    objective: Objective,
    optimizer: Component,
    schedule: Component,
    rate: Mapping[str, Any],
    clip_norm: float,
    total_steps: int,
    ema_decay: float,
    train: TrainOptions,
    accumulate: int = 1,
    **others: Any,
) -> Setup:
    """The parts of a run, put together and checked; arguments are named as in `Setup`, `Recipe` and `make_optimizer`.

    `rate` has the options of `make_schedule` beside the schedule, by name; `others` the other fields of `Setup`. Raises
    `UserError` for numbers out of range, or parts that do not fit one another.
    """
    check_batch_size(train.batch_size, others["mesh"], accumulate)
    learning_rate = make_schedule(total_steps=total_steps, schedule=schedule, **rate)
    recipe = Recipe(
        model=model,
        objective=objective,
        optimizer=make_optimizer(optimizer, learning_rate, total_steps, clip_norm=clip_norm),
        total_steps=total_steps,
        ema_decay=ema_decay,
        transform=dataset.transform,
        accumulate=accumulate,
    )
    setup = Setup(dataset=dataset, recipe=recipe, schedule=learning_rate, train=train, **others)
    objective.check(model)
    if setup.frozen and not train.init_from:
        name, kept = OBJECTIVES.name_of(type(objective)), ", ".join(setup.frozen[:3])
        raise UserError(f"the objective {name!r} leaves {kept} as they are in another run: name it as train.init_from")
    setup.evaluate.check(model, dataset)
    return setup


def latest_store(workdir: str | os.PathLike) -> CheckpointStore:
    """The newest states of a run: everything that resuming needs."""
    return CheckpointStore(Path(workdir) / "checkpoints" / "latest", keep=2)


def best_store(workdir: str | os.PathLike) -> CheckpointStore:
    """The parameters that were best on validation."""
    return CheckpointStore(Path(workdir) / "checkpoints" / "best", keep=1)


def restore_params(setup: Setup, workdir: str | os.PathLike) -> tuple[Any, int, dict[str, Any]]:
    """The parameters of a finished or running workdir that were best on validation, or the latest before there are any.

    Returns them on the mesh, with their step and the note of the checkpoint (`value`: validation nats; `scores`: all
    numbers of that validation).

    Raises:
      UserError: there is no checkpoint, none is readable, the best parameters were there and are gone, or files of the
        data set have changed.
    """
    check_data(setup.dataset, workdir)
    best = best_store(workdir)
    while (found := best.restore(setup.abstract_state.params)) is None:
        latest = latest_store(workdir).restore(setup.abstract_state)
        if best.steps():
            continue  # a run has saved its first best parameters meanwhile
        if latest is None:
            raise UserError(f"{workdir} holds no checkpoint yet: train there first")
        step, state, extra = latest
        if extra["best_value"] is not None:
            raise UserError(f"{best.directory} is gone: the best parameters of this run cannot be used")
        return eval_params(state), step, {}
    step, params, extra = found
    setup.model.check_trained(params)
    return params, step, extra
