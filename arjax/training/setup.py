"""The parts of a run, typed, its first parameters where they come from another run, and its checkpoints."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from arjax.core.errors import UserError
from arjax.core.memory import bytes_of, check_memory
from arjax.core.output import say_once
from arjax.core.registry import Component, parse_call
from arjax.core.run_code import tell_changed_code
from arjax.data import Dataset
from arjax.data.vocabulary import check_same_tokens
from arjax.evaluation.report import Measures
from arjax.models import Model, recipe_of
from arjax.models.autoregressive import has_conditionals
from arjax.models.checks import TAKES_HOLES
from arjax.models.kinds import arrays_of
from arjax.objectives import OBJECTIVES, Companion, Objective
from arjax.parallel.sharding import Rule, check_batch_size, forms_of, replicated
from arjax.samplers import Sampler
from arjax.training.checkpoint import CheckpointStore
from arjax.training.optimizer import make_optimizer
from arjax.training.schedule_free import keeps_average
from arjax.training.schedules import make_schedule
from arjax.training.state import (
    Recipe,
    TrainState,
    abstract_state,
    eval_params,
    init_state,
    state_shardings,
    with_shardings,
)
from arjax.training.workdir import check_data, check_orders

#: Last names of the entries of a recipe by which values get their meaning.
_MEANING = ("kind", "num_levels", "value_shape", "name")
#: Entries of a recipe that change the training or the size of the grid, not the meaning of a parameter.
_FREE = ("dtype", "grid_shape", "ordering", "partition", "orders", "graph")


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
    """The section `evaluate` of a config: the numbers of a report.

    Attributes:
      split: the one that is scored at the end.
      ranking: how many of the examples with the most bits, and with the fewest, an evaluation shows; 0: none.
    """

    split: str = "test"
    ranking: int = 0


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
      code: the files of the user's own code, with their fingerprints.
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
    code: Mapping[str, str] = dataclasses.field(default_factory=dict)

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
        abstract = abstract_state(self.recipe, self.mesh)
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
        log_scale=() if dataset.scale is None else tuple(dataset.log_scale_D.tolist()),
    )
    check_average(recipe, schedule)
    setup = Setup(dataset=dataset, recipe=recipe, schedule=learning_rate, train=train, **others)
    objective.check(model)
    check_holes(model, dataset, objective)
    tell_padding(model, dataset)
    if setup.frozen and not train.init_from:
        name, kept = OBJECTIVES.name_of(type(objective)), ", ".join(setup.frozen[:3])
        raise UserError(f"the objective {name!r} leaves {kept} as they are in another run: name it as train.init_from")
    setup.evaluate.check(model, dataset)
    return setup


def check_average(recipe: Recipe, schedule: Component) -> None:
    """Raises `UserError` for a second average, or a rate that falls, beside an optimizer that averages parameters."""
    if not keeps_average(recipe.optimizer):
        return
    if recipe.ema_decay:
        raise UserError(
            f"train.ema_decay={recipe.ema_decay} must be 0 with this optimizer, which averages the parameters itself"
        )
    if schedule.name != "constant":
        raise UserError(
            f"optimizer.schedule={schedule.name!r} must be 'constant', with or without a warm-up, with this optimizer: "
            "its average of the parameters takes the place of a rate that falls"
        )


def tell_padding(model: Model, dataset: Dataset) -> None:
    """Says on stderr where scores of strings are given the padding, see `Model.in_sequence`."""
    if dataset.end is not None and not model.in_sequence:
        say_once(
            "this model visits padding before sites of a string, and its scores of strings take the padding as given: "
            "they are estimates, which say too little of the lengths; in raster order they are exact"
        )


def check_holes(model: Model, dataset: Dataset, objective: Objective) -> None:
    """Raises `UserError` for a data set with missing values whose model or objective takes none."""
    if not dataset.has_holes:
        return
    if not model.takes_holes:
        raise UserError(f"the data set {dataset.name!r} has missing values, and this model takes none: {TAKES_HOLES}")
    if not objective.TAKES_HOLES:
        able = " or ".join(name for name in OBJECTIVES.names() if OBJECTIVES.get(name).TAKES_HOLES is True)
        raise UserError(
            f"the data set {dataset.name!r} has missing values, and the objective {objective.name!r} takes none: take "
            f"{able}"
        )


def check_start(
    model: Model, data: Dataset | None, params: Any, other: Trained, workdir: str, entries: tuple[str, ...] = ()
) -> None:
    """Says on stderr how a run differs that gives its parameters to a model, where they may still be meant.

    Args:
      model: the model of this run, or a part of it.
      data: its data set; None for a part, which has values of its own.
      params: shapes and types of its parameters.
      other, workdir: the other run and its folder.
      entries: of the parameters that are read, named as the parts of the model; (): all.

    Raises:
      UserError: parameters of other names, shapes or types; values of other kinds, levels or tokens, or another family
        of conditionals.
    """
    check_fits(params, other.params, workdir)
    named = f"train.init_from={workdir}"
    if data is not None:
        check_same_tokens(data.vocabulary, other.dataset.vocabulary, named)
    different = list(_differences(model, other.model, entries))
    refused = [each for each, last in different if last in _MEANING]
    if refused:
        raise UserError(f"the parameters of {named} do not fit this model; {'; '.join(refused[:3])}")
    told = [each for each, _ in different]
    if _has_other_order(model, other.model, entries):
        told.insert(0, "it was trained in another order")
    if data is not None and not _scaled_alike(data, other.dataset):
        told.append("its data are standardised by other means and scales")
    if told:
        say_once(f"the first parameters, of {named}, have another meaning there: {'; '.join(told)}")


def sources_of_parts(text: str, model: Model) -> dict[str, str]:
    """The workdirs of the runs that give the parameters of parts, by the names of these; none where `train.init_from`
    names one run for the whole model. Raises `UserError` where only some pieces of the text name a part, or one twice.
    """
    pieces = [piece.strip().partition("=") for piece in text.split(",")]
    named = [(name.strip(), workdir.strip()) for name, equals, workdir in pieces if equals]
    if not any(name in model.named_parts for name, _ in named):
        return {}
    sources = dict(named)
    if len(sources) < len(pieces) or not all(sources.values()) or sources.keys() - model.named_parts.keys():
        raise UserError(
            f"train.init_from={text!r} must name a run for each of some parts once, such as 1=runs/a,2=runs/b; the "
            f"parts of this model are {', '.join(model.named_parts)}"
        )
    return sources


def part_of_run(name: str, params: Any, other: Trained) -> Trained:
    """The run as one of the part of that name: of a model that is the part itself, with `params`, or that has it."""
    itself = forms_of(params).keys() == forms_of(other.params).keys()
    if itself or name not in other.model.named_parts:
        return other
    return dataclasses.replace(other, model=other.model.named_parts[name], params=other.params[name])


def entries_that_fit(model: Model, needed: Sequence[str], params: Any, other: Trained, workdir: str) -> tuple[str, ...]:
    """The entries of the parameters that are read from another run: those that are needed, and all others of the same
    shapes and meaning. Says on stderr which ones begin anew.
    """
    fits = list(needed)
    for name in params.keys() - set(needed):
        alike = forms_of(params[name]) == forms_of(other.params.get(name, {}))
        if alike and not list(_differences(model, other.model, (name,))):
            fits.append(name)
    if left := sorted(params.keys() - set(fits)):
        say_once(f"train.init_from={workdir} has no {', '.join(left)} of this form, which will begin anew")
    return tuple(fits)


def _differences(here: Model, there: Model, entries: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Entries of the recipes of two models that differ, in words, and the last of their names."""
    try:
        ours, theirs = (dict(_leaves(recipe_of(model).as_json())) for model in (here, there))
    except UserError:  # a model that was put together by hand: only its parameters are compared
        return
    for name in sorted(ours.keys() | theirs.keys()):
        if entries and name.split(".")[1:2] not in [[entry] for entry in entries]:
            continue
        last = name.rpartition(".")[2]
        if ours.get(name) != theirs.get(name) and last not in _FREE and "dropout" not in last:
            yield f"{name} was {theirs.get(name)!r} there and is {ours.get(name)!r} here", last


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The values in nested objects by dotted names; some call strings as objects."""
    if name.rpartition(".")[2] in ("conditional", "quantizer") and value:
        call, options = parse_call(value)
        value = {"name": call, **options}
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(part, Mapping) for part in value):
        for i, part in enumerate(value):
            yield from _leaves(part, f"{name}.{i}")
    else:
        yield name, value


def _has_other_order(here: Model, there: Model, entries: tuple[str, ...] = ()) -> bool:
    """Whether two models on one grid have different orders, blocks or graphs, and the other one was not trained on
    the order of this one among several.
    """
    ours, theirs = dict(arrays_of(here)), dict(arrays_of(there))
    if entries:
        kept = tuple(f"{entry}/" for entry in entries)
        ours, theirs = ({name: a for name, a in arrays.items() if name.startswith(kept)} for arrays in (ours, theirs))
    order = here.factorization if has_conditionals(here) and here.orders is None else None
    if order is not None and there.orders is not None and there.orders.has(order):
        return False
    if any(ours[name].shape != theirs[name].shape for name in ours.keys() & theirs.keys() if name.endswith("order")):
        return False  # of longer sequences, say
    return ours.keys() != theirs.keys() or any(not np.array_equal(ours[name], theirs[name]) for name in ours)


def _scaled_alike(here: Dataset, there: Dataset) -> bool:
    """Whether real data were standardised alike, or not at all."""

    def alike(own: Any, other: Any) -> bool:
        if own is None or other is None:
            return own is other
        return np.shape(own) == np.shape(other) and np.allclose(own, other, rtol=1e-3)

    return alike(here.scale, there.scale) and alike(here.shift, there.shift)


def check_fits(wanted: Any, found: Any, workdir: str) -> None:
    """Raises `UserError` unless the parameters of a run have the expected names, shapes and types."""
    here, there = forms_of(wanted), forms_of(found)
    other = [name for name in here if name in there and here[name] != there[name]]
    problems = {
        "missing there": [name for name in here if name not in there],
        "left over": [name for name in there if name not in here],
        "of another shape": [f"{name} ({there[name]} there, {here[name]} here)" for name in other],
    }
    told = [f"{kind}: {', '.join(n[:3])}{', ...' if len(n) > 3 else ''}" for kind, n in problems.items() if n]
    if told:
        raise UserError(f"the parameters of train.init_from={workdir} do not fit this model; {'; '.join(told)}")


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
      UserError: there is no checkpoint, none is readable, the best parameters were there and are gone, files of the
        data set have changed, or the order that is read off the data is another one.
    """
    check_data(setup.dataset, workdir)
    tell_changed_code(workdir)
    best = best_store(workdir)
    while (found := best.restore(setup.abstract_state.params)) is None:
        latest = latest_store(workdir).restore(setup.abstract_state)
        if best.steps():
            continue  # a run has saved its first best parameters meanwhile
        if latest is None:
            raise UserError(f"{workdir} holds no checkpoint yet: train there first")
        step, state, extra = latest
        check_orders(setup.model, extra, workdir)
        if extra["best_value"] is not None:
            raise UserError(f"{best.directory} is gone: the best parameters of this run cannot be used")
        return eval_params(state), step, {}
    step, params, extra = found
    check_orders(setup.model, extra, workdir)
    setup.model.check_trained(params)
    return params, step, extra
