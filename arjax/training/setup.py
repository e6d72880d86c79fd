"""The parts of a run, typed, its first parameters where they come from another run, and its checkpoints."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import optax
from jax.sharding import Mesh

from arjax.core.errors import UserError, refuse, say_once
from arjax.core.files import inside
from arjax.core.options import LARGEST_INT32, opt
from arjax.core.programs import bytes_of, check_memory
from arjax.core.registry import Component
from arjax.data import Dataset
from arjax.data.sources import SPLITS
from arjax.data.vocabulary import check_same_tokens
from arjax.evaluation.exposure import open_truth
from arjax.evaluation.report import MOST_EXAMPLES, Measures
from arjax.evaluation.splits import Scoring
from arjax.models import Model
from arjax.models.checks import MISSING_VALUES
from arjax.models.extras import check_trained, in_sequence
from arjax.objectives import OBJECTIVES, Objective
from arjax.objectives.base import objectives_with
from arjax.parallel.sharding import Rule, check_batch_size, replicated
from arjax.samplers import Sampler
from arjax.samplers.request import DrawOptions
from arjax.training.optimizer import OptimizerOptions, make_optimizer
from arjax.training.record import Record, fingerprint_of_orders
from arjax.training.schedule_free import keeps_average
from arjax.training.schedules import make_schedule
from arjax.training.start import Trained, check_start, entries_that_fit, part_of_run, sources_of_parts
from arjax.training.state import StepSpec, TrainState, eval_params, init_state, placed_state
from arjax.training.stopping import total_steps

if TYPE_CHECKING:
    from arjax.training.checkpoint import CheckpointStore


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """The section `train` of a config: the length of a training, its batches, its pauses and its first parameters."""

    steps: int = opt(0, most=LARGEST_INT32, about="train steps; of steps, examples and epochs exactly one is above 0")
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


@dataclasses.dataclass(frozen=True)
class SampleOptions(DrawOptions):
    """The samples of a run."""

    num: int = opt(16, about="examples")
    sampler: str = opt("cached", about="a call string")


@dataclasses.dataclass(frozen=True)
class Setup:
    """The parts of a run."""

    dataset: Dataset
    mesh: Mesh
    rules: tuple[Rule, ...]  # of the placement of parameters; empty for the default ones
    spec: StepSpec
    schedule: optax.Schedule  # the learning rate of each step
    seed: int
    train: TrainOptions
    evaluate: EvaluateOptions
    open_run: Callable[[str], Trained]  # opens another run by its workdir
    sampler: Sampler
    sample: SampleOptions = SampleOptions()
    about: str = ""  # the network and its order in words, for the first lines of a run
    record: Record = dataclasses.field(default_factory=Record)

    @property
    def model(self) -> Model:
        return self.spec.model

    @property
    def scoring(self) -> Scoring:
        return self.evaluate.scoring(self.mesh, self.seed)

    @property
    def total_steps(self) -> int:
        return self.spec.total_steps

    @property
    def frozen(self) -> tuple[str, ...]:
        """The entries of the parameters that the objective leaves as they are in another run."""
        return self.spec.objective.frozen(self.model)

    @property
    def scored(self) -> Dataset:
        return self.dataset.thinned(self.evaluate.examples)

    @functools.cached_property
    def abstract_state(self) -> TrainState:
        return placed_state(self.spec, self.mesh, self.rules)

    def keys(self) -> tuple[jax.Array, jax.Array]:
        """The random keys of the initial parameters and of the steps, on the mesh."""
        split = jax.jit(lambda: tuple(jax.random.split(jax.random.key(self.seed))), out_shardings=replicated(self.mesh))
        return split()

    def trained_companions(self) -> dict[str, Trained]:
        """The frozen models that the objective reads, by name."""
        objective = self.spec.objective
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
            name = self.dataset.name
            raise UserError(f"the true conditionals of {name!r} are not known: name a run as the oracle")
        return Trained(truth.model, jax.device_put(truth.params, replicated(self.mesh)), 0, self.dataset)

    def first_params(self, models: Sequence[Model]) -> Any:
        """Returns the parameters of the run in `train.init_from` for these models; or those of some parts by their
        names, from `1=runs/coarse,2=runs/fine`; or, if the objective leaves some entries as they are, these and all
        others that fit.
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
        if left := sorted(set(self.frozen) - sources.keys()):
            these = ", ".join(left)
            raise UserError(
                f"the objective leaves {these} as they are: give train.init_from one run of the whole model"
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
        """Returns a fresh train state, created sharded, from the parameters of `train.init_from` if it names a run."""
        check_memory(bytes_of(self.abstract_state), "the parameters and the optimizer's state take", self.mesh.size)
        params = self.first_params((self.model,)) if self.train.init_from else None
        return init_state(self.spec, key, self.abstract_state, params)


def make_setup(
    *,
    model: Model,
    dataset: Dataset,
    objective: Objective,
    rule: Component,
    schedule: Component,
    optimizer: OptimizerOptions,
    train: TrainOptions,
    record: Record,
    **others: Any,
) -> Setup:
    """The parts of a run, put together and checked; `others` are fields of `Setup`."""
    check_batch_size(train.batch_size, others["mesh"], train.accumulate)
    dataset = dataclasses.replace(dataset, score_of_draws=objective.score_of_draws)
    length = total_steps(train.steps, train.examples, train.epochs, train.batch_size, len(dataset.splits["train"]))
    rate = optimizer.learning_rate, length, schedule, optimizer.warmup_steps, optimizer.end_factor
    learning_rate = make_schedule(*rate)
    spec = StepSpec(
        model=model,
        objective=objective,
        optimizer=make_optimizer(rule, learning_rate, clip_norm=optimizer.clip_norm, model=model),
        total_steps=length,
        ema_decay=train.ema_decay,
        transform=dataset.transform,
        accumulate=train.accumulate,
        log_scale=() if dataset.scale is None else tuple(dataset.log_scale_D.tolist()),
    )
    record = dataclasses.replace(record, orders=fingerprint_of_orders(model))
    setup = Setup(dataset=dataset, spec=spec, schedule=learning_rate, train=train, record=record, **others)
    objective.check(model)
    _check_parts(setup, schedule)
    setup.evaluate.check(model, dataset)
    tell_padding(model, dataset)
    return setup


def _check_parts(setup: Setup, schedule: Component) -> None:
    objective, averages, decay = setup.spec.objective, keeps_average(setup.spec.optimizer), setup.train.ema_decay
    this, name = "with this optimizer, which averages the parameters itself", OBJECTIVES.name_of(type(objective))
    lacks, holes = f"the data set {setup.dataset.name!r} has missing values, and", setup.dataset.has_holes
    kept = f"the objective {name!r} leaves {', '.join(setup.frozen[:3])} as they are in another run"
    others = f"take {objectives_with('holes')}"
    refuse(
        (averages and decay, f"train.ema_decay={decay} must be 0 {this}"),
        (averages and schedule.name != "constant", f"optimizer.schedule={schedule.name!r} must be 'constant' {this}"),
        (holes and "holes" not in setup.model.traits, f"{lacks} this model takes none: {MISSING_VALUES}"),
        (holes and "holes" not in objective.traits, f"{lacks} the objective {name!r} takes none: {others}"),
        (setup.frozen and not setup.train.init_from, f"{kept}: name it as train.init_from"),
    )


def tell_padding(model: Model, dataset: Dataset) -> None:
    """Says on stderr where scores of strings are given the padding, see `in_sequence`."""
    if dataset.end is not None and not in_sequence(model):
        say_once(
            "this model visits padding before sites of a string, and its scores of strings take the padding as given: "
            "they are estimates, which say too little of the lengths; in raster order they are exact"
        )


def latest_store(workdir: str | os.PathLike) -> CheckpointStore:
    """The newest states of a run: everything that resuming needs."""
    return _store(workdir, "latest", keep=2)


def best_store(workdir: str | os.PathLike) -> CheckpointStore:
    """The parameters that were best on validation."""
    return _store(workdir, "best", keep=1)


def _store(workdir: str | os.PathLike, name: str, keep: int) -> CheckpointStore:
    from arjax.training.checkpoint import CheckpointStore  # Orbax takes a second, and configs are read without it

    return CheckpointStore(inside(workdir, f"checkpoints/{name}"), keep)


def restore_params(setup: Setup, workdir: str | os.PathLike) -> tuple[Any, int, dict[str, Any]]:
    """Returns the best parameters of a run, or the latest before a validation, on the mesh, with step and note."""
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
