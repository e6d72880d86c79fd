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

from arjax.core.errors import UserError, say_once
from arjax.core.options import opt
from arjax.core.programs import bytes_of, check_memory
from arjax.core.registry import Component
from arjax.core.values import parse_call
from arjax.data import Dataset
from arjax.data.sources import SPLITS
from arjax.data.vocabulary import check_same_tokens
from arjax.evaluation.exposure import open_truth
from arjax.evaluation.report import MOST_EXAMPLES, Measures
from arjax.evaluation.splits import Scoring
from arjax.models import Model, recipe_of
from arjax.models.checks import MISSING_VALUES
from arjax.models.extras import check_trained, in_sequence
from arjax.models.kinds import arrays_of
from arjax.objectives import OBJECTIVES, Companion, Objective
from arjax.objectives.base import objectives_with
from arjax.parallel.sharding import Rule, check_batch_size, forms_of, replicated
from arjax.samplers import Sampler
from arjax.training.checkpoint import CheckpointStore
from arjax.training.optimizer import DECAYING, make_optimizer
from arjax.training.record import Record, orders_of
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
from arjax.training.stopping import LARGEST, total_steps

#: Last names of the entries of a recipe by which values get their meaning.
_MEANING = ("kind", "num_levels", "value_shape", "name")
#: Entries of a recipe that change the training or the size of the grid, not the meaning of a parameter.
_FREE = ("dtype", "grid_shape", "ordering", "partition", "orders", "graph")


@dataclasses.dataclass(frozen=True)
class OptimizerOptions:
    """The section `optimizer` of a config. A rule that has more options has them beside these."""

    name: str = "adam"
    learning_rate: float = opt(1e-3, above=0, about="the peak of the schedule")
    schedule: str = opt("constant", about="a call string")
    warmup_steps: int = 0
    end_factor: float = opt(0.0, least=0, most=1, about="learning rate at the end, as a fraction of its peak")
    weight_decay: float = opt(0.0, least=0)
    decay_pattern: str = opt(DECAYING, about="paths of the parameters that decay")
    cautious_decay: bool = opt(False, about="True: only where the decay has the direction of the update")
    clip_norm: float = opt(0.0, least=0, about="the largest norm of a gradient; 0: gradients are not clipped")
    b1: float = opt(0.9, least=0, below=1)
    b2: float = opt(0.999, least=0, below=1)
    eps: float = opt(1e-8, above=0, about="added to the root of the second moment of Adam")


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """The section `train` of a config: the length of a training, its batches, its pauses and its first parameters."""

    steps: int = opt(0, most=LARGEST, about="train steps; of steps, examples and epochs exactly one is above 0")
    examples: int = opt(0, most=2**53)
    epochs: float = opt(0.0, least=0)
    batch_size: int = opt(64, most=MOST_EXAMPLES)
    steps_per_dispatch: int = opt(16, about="train steps of one compiled program")
    log_every: int = 100
    eval_every: int = 500
    checkpoint_every: int = 500
    patience: int = opt(0, about="evaluations without a better validation score; 0: never stop early")
    ema_decay: float = opt(0.0, least=0, below=1, about="of an average of the parameters; 0: no average")
    accumulate: int = opt(1, about="micro-batches that a batch is cut into")
    init_from: str = opt("", about="workdir of the run that gives the initial parameters")
    data_on_device: bool = True
    writers: str = opt("", about="of metrics, in addition to metrics.jsonl: tensorboard, wandb(project='...')")


@dataclasses.dataclass(frozen=True)
class EvaluateOptions(Measures):
    """The section `evaluate` of a config: the numbers of a report."""

    split: str = opt("test", choices=SPLITS, about="the split that is scored at the end")
    ranking: int = opt(0, about="how many of the examples with the most bits, and with the fewest, are shown")


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
      record: the identity of the run.
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
    record: Record = dataclasses.field(default_factory=Record)

    @property
    def model(self) -> Model:
        """The trained model."""
        return self.recipe.model

    @property
    def scoring(self) -> Scoring:
        """How a split is scored."""
        return self.evaluate.scoring(self.mesh, self.seed)

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
        companions = {name: self._companion(workdir) for name, workdir in objective.companions().items()}
        objective.check_companions(self.model, {name: trained.companion for name, trained in companions.items()})
        for trained in companions.values():
            check_same_tokens(self.dataset.vocabulary, trained.dataset.vocabulary, "the oracle")
        return companions

    def _companion(self, workdir: str) -> Trained:
        """The run in a folder, or the known truth of the data set for ""."""
        if workdir:
            return self.open_run(workdir)
        if (truth := open_truth(self.dataset)) is None:
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
            params = {name: other.params[name] for name in entries if name in other.params}
            other = dataclasses.replace(other, params=params)
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
        params = {}
        for name, workdir in sources.items():
            wanted = self.abstract_state.params[name]
            other = part_of_run(name, wanted, self.open_run(workdir))
            for model in models:
                check_start(model.named_parts[name], None, wanted, other, workdir)
            params[name] = other.params
        return params

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
    train: TrainOptions,
    record: Record,
    **others: Any,
) -> Setup:
    """The parts of a run, put together and checked; arguments are named as in `Setup`, `Recipe` and `make_optimizer`.

    `rate` has the options of `make_schedule` beside the schedule, by name; `record` is that of the run without the
    orders of its model; `others` are the other fields of `Setup`. Raises `UserError` for numbers out of range, or parts
    that do not fit one another.
    """
    check_batch_size(train.batch_size, others["mesh"], train.accumulate)
    length = total_steps(train.steps, train.examples, train.epochs, train.batch_size, len(dataset.splits["train"]))
    learning_rate = make_schedule(total_steps=length, schedule=schedule, **rate)
    recipe = Recipe(
        model=model,
        objective=objective,
        optimizer=make_optimizer(optimizer, learning_rate, length, clip_norm=clip_norm, model=model),
        total_steps=length,
        ema_decay=train.ema_decay,
        transform=dataset.transform,
        accumulate=train.accumulate,
        log_scale=() if dataset.scale is None else tuple(dataset.log_scale_D.tolist()),
    )
    check_average(recipe, schedule)
    record = dataclasses.replace(record, orders=orders_of(model))
    setup = Setup(dataset=dataset, recipe=recipe, schedule=learning_rate, train=train, record=record, **others)
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
    """Says on stderr where scores of strings are given the padding, see `in_sequence`."""
    if dataset.end is not None and not in_sequence(model):
        say_once(
            "this model visits padding before sites of a string, and its scores of strings take the padding as given: "
            "they are estimates, which say too little of the lengths; in raster order they are exact"
        )


def check_holes(model: Model, dataset: Dataset, objective: Objective) -> None:
    """Raises `UserError` for a data set with missing values whose model or objective takes none."""
    if not dataset.has_holes:
        return
    if "holes" not in model.traits:
        raise UserError(
            f"the data set {dataset.name!r} has missing values, and this model takes none: {MISSING_VALUES}"
        )
    if "holes" not in objective.traits:
        raise UserError(
            f"the data set {dataset.name!r} has missing values, and the objective {objective.name!r} takes none: take "
            f"{objectives_with('holes')}"
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
    differences = [each for each, _ in different]
    if _has_other_order(model, other.model, entries):
        differences.insert(0, "it was trained in another order")
    if data is not None and not _scaled_alike(data, other.dataset):
        differences.append("its data are standardised by other means and scales")
    if differences:
        say_once(f"the first parameters, of {named}, have another meaning there: {'; '.join(differences)}")


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


def _has_other_order(here: Any, there: Model, entries: tuple[str, ...] = ()) -> bool:
    """Whether two models on one grid have different orders, blocks or graphs, and the other one was not trained on
    the order of this one among several.
    """
    ours, theirs = dict(arrays_of(here)), dict(arrays_of(there))
    if entries:
        kept = tuple(f"{entry}/" for entry in entries)
        ours, theirs = ({name: a for name, a in arrays.items() if name.startswith(kept)} for arrays in (ours, theirs))
    order = here.factorization if "conditionals" in here.traits and here.orders is None else None
    if order is not None and there.orders is not None and there.orders.has(order):
        return False
    if any(ours[name].shape != theirs[name].shape for name in ours.keys() & theirs.keys() if name.endswith("order")):
        return False  # of longer sequences, say
    return ours.keys() != theirs.keys() or any(not np.array_equal(ours[name], theirs[name]) for name in ours)


def _scaled_alike(here: Dataset, there: Dataset) -> bool:
    """Whether real data were standardised alike, or not at all."""

    def alike(a: Any, b: Any) -> bool:
        if a is None or b is None:
            return a is b
        return np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-3)

    return alike(here.scale, there.scale) and alike(here.shift, there.shift)


def check_fits(wanted: Any, params: Any, workdir: str) -> None:
    """Raises `UserError` unless the parameters of a run have the expected names, shapes and types."""
    here, there = forms_of(wanted), forms_of(params)
    other = [name for name in here if name in there and here[name] != there[name]]
    problems = {
        "missing there": [name for name in here if name not in there],
        "left over": [name for name in there if name not in here],
        "of another shape": [f"{name} ({there[name]} there, {here[name]} here)" for name in other],
    }
    problems_in_words = [
        f"{kind}: {', '.join(n[:3])}{', ...' if len(n) > 3 else ''}" for kind, n in problems.items() if n
    ]
    if problems_in_words:
        raise UserError(
            f"the parameters of train.init_from={workdir} do not fit this model; {'; '.join(problems_in_words)}"
        )


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
      UserError: there is no checkpoint, none is readable, the best parameters were there and are gone, or the run has
        other data or another order.
    """
    setup.record.check(workdir)
    best = best_store(workdir)
    while (checkpoint := best.restore(setup.abstract_state.params)) is None:
        latest = latest_store(workdir).restore(setup.abstract_state)
        if best.steps():
            continue  # a run has saved its first best parameters meanwhile
        if latest is None:
            raise UserError(f"{workdir} holds no checkpoint yet: train there first")
        step, state, extra = latest
        if extra["best_value"] is not None:
            raise UserError(f"{best.directory} is gone: the best parameters of this run cannot be used")
        return eval_params(state), step, {}
    step, params, extra = checkpoint
    check_trained(setup.model, params)
    return params, step, extra
