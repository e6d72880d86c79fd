"""Training on arrays in memory: no config, and no files unless a folder is given."""

from __future__ import annotations

import contextlib
import inspect
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from arjax.api.fitting import silence, stopped
from arjax.api.trained_model import Fitted, Settings, TrainedModel, as_history
from arjax.core.arrays import fingerprint_of_arrays
from arjax.core.errors import UserError, refuse
from arjax.core.files import only_run_in, writable_folder
from arjax.core.options import LARGEST, check_names, checked_arguments, defaults, typed_fields
from arjax.core.registry import Component
from arjax.data import Dataset, from_arrays
from arjax.data.sources import ArraySource
from arjax.models import Model, recipe_of
from arjax.models.extras import model_in_words
from arjax.objectives import make_objective
from arjax.parallel.sharding import make_mesh, replicated
from arjax.reporting.writers import read_metrics
from arjax.samplers import make_sampler
from arjax.training.loop import train as train_setup
from arjax.training.optimizer import OPTIMIZERS, SHARED, OptimizerOptions, read_rule
from arjax.training.record import CONFIG_NAME, Record, flat_fields
from arjax.training.results import entries_of_run
from arjax.training.schedules import SCHEDULES
from arjax.training.setup import EvaluateOptions, Setup, TrainOptions, make_setup, restore_params
from arjax.training.start import Trained

#: The model `init_from` of `fit_arrays`, where a config has the workdir of a run.
GIVEN = "the given model"
Arrays = np.ndarray | Mapping[str, np.ndarray]
#: The fields of the section `optimizer` of every rule.
OF_OPTIMIZER = {"learning_rate", "schedule", "warmup_steps", "end_factor", "clip_norm"}


@checked_arguments(seed=0)
def fit_arrays(
    model: Model,
    *,
    train: Arrays | Dataset,
    validation: Arrays | None = None,
    test: Arrays | None = None,
    objective: str = "",
    optimizer: str = "adam",
    num_orders: int = 1,
    seed: int = 0,
    init_from: TrainedModel | None = None,
    standardise: str = "",
    workdir: str | os.PathLike | None = None,
    quiet: bool = False,
    name: str = "arrays",
    **options: Any,
) -> Fitted:
    """Trains a model on arrays by the loop of all runs, and scores it.

        model = arjax.make_model(arjax.EventSpec((5,)), "made")
        fitted = arjax.fit_arrays(model, train=x, validation=y, steps=2000)

    The parameters are the best ones on validation or, without a validation split, those of the last step. An interrupt
    ends the training with a `KeyboardInterrupt`; with a `workdir` the state is saved, and the same call continues.

    Args:
      train: examples [N, *grid, *value], or a dict with `x` and possibly `context` (of several parts a dict), `mask`
        [N, *grid] and `weight` [N]; items that are read one by one, see `from_arrays`; or a whole data set with all its
        splits, as from `arjax.make_dataset`.
      validation: likewise, to choose the parameters and to stop early.
      test: likewise, for the score at the end; None: the validation split, or else the train split, is scored.
      objective: call string; "": `order_agnostic` for a model with several orders, else `teacher_forcing`.
      optimizer: a rule, such as "adam" or "adamw".
      num_orders: orders of the mixture that is scored, of a model with several.
      seed: of parameters, batches and noise.
      init_from: a trained model, as from `arjax.load`, `arjax.open_run` or `fit_arrays`, whose parameters must be those
        of `model`: the training begins with them. None: with fresh ones.
      standardise: "sites" or "values": the model sees real values in standard units, of each place or of all sites
        alike, and scores are densities in the units of the arrays, see `from_arrays`. The methods of the result take
        standardised examples, as its method `standardise` makes them; a model of `init_from` must have been trained on
        standardised values, too, and the `data` that `make_model` reads, as for EM, must be standardised. "": values
        are not changed.
      workdir: folder for checkpoints, metrics, results and `model.safetensors`; None: no files are kept.
      name: of the arrays, in the report.
      **options: the other fields of the sections `train` and `optimizer` of a config, such as `epochs`, `batch_size`,
        `eval_every`, `patience`, `ema_decay`, `learning_rate`, `schedule`, `warmup_steps`, `weight_decay` and
        `clip_norm`. Without a length, the training has 2,000 steps; `eval_every` is 100.

    Raises:
      UserError: arrays that do not fit the model, an option out of range, a folder with another training.
      TrainingDiverged: a `UserError` for a loss that is not finite.
    """
    if not hasattr(type(model), "param_shapes"):
        raise UserError(f"model must be a model, as from arjax.make_model, not {model!r}")
    dataset = _dataset(model, train, validation, test, {"name": name, "standardise": standardise})
    chosen = {"objective": objective, "optimizer": optimizer, "num_orders": num_orders, "seed": int(seed)}
    sections = _sections(optimizer, options, is_kept=workdir is not None)
    given = _given(init_from)
    begins = {} if given is None else {"init_from": fingerprint_of_arrays(given.params)}
    record = Record() if workdir is None else _record(model, dataset, chosen, sections, begins)
    setup = _setup(model, dataset, chosen, sections, given, record)
    chosen |= sections.train | sections.of_optimizer | begins
    with silence(quiet), _folder(workdir) as folder:
        fitted = _fit(setup, folder, chosen, is_kept=workdir is not None)
        if workdir is not None:
            fitted.save(folder / "model.safetensors")
    return fitted


class _Sections(NamedTuple):
    train: dict[str, Any]
    optimizer: OptimizerOptions
    rule: Component

    @property
    def of_optimizer(self) -> dict[str, Any]:
        return {name: getattr(self.optimizer, name) for name in OF_OPTIMIZER} | dict(self.rule)


def _sections(optimizer: str, options: Mapping[str, Any], is_kept: bool) -> _Sections:
    of_train = defaults(TrainOptions).keys() - {"init_from"}
    of_rule = OPTIMIZERS.options(optimizer).keys() | SHARED.keys()
    arguments = inspect.signature(fit_arrays).parameters.keys() - {"model", "options"}
    check_names("fit_arrays", options, of_train | OF_OPTIMIZER | of_rule | arguments)
    train = typed_fields(TrainOptions, {name: options[name] for name in options.keys() & of_train})
    if not train.keys() & {"steps", "examples", "epochs"}:
        train["steps"] = 2000
    train.setdefault("eval_every", 100)
    train.setdefault("log_every", train["eval_every"])
    train.setdefault("checkpoint_every", 5 * train["eval_every"] if is_kept else LARGEST)
    given = {name: options[name] for name in options.keys() & defaults(OptimizerOptions).keys()}
    given = typed_fields(OptimizerOptions, given)
    rule = read_rule(optimizer, {name: given.get(name, options[name]) for name in options.keys() & of_rule})
    return _Sections(train, OptimizerOptions(name=optimizer, **given), rule)


def _dataset(
    model: Model, train: Arrays | Dataset, validation: Arrays | None, test: Arrays | None, about: dict[str, Any]
) -> Dataset:
    if not isinstance(train, Dataset):
        about = about | {"context": model.context_spec}
        return from_arrays(model.event, train=train, validation=validation, test=test, **about)
    several, is_other = validation is not None or test is not None, train.event != model.event
    is_other |= train.context != model.context_spec
    refuse(
        (about["standardise"], "standardise is for arrays, and a data set is standardised where it is made"),
        (several, "a data set has its own splits: give it alone, or arrays for each split"),
        (is_other, f"{train!r} does not fit {model!r}: make the model with its `event` and `context`"),
    )
    return train


def _given(init_from: TrainedModel | None) -> Trained | None:
    if init_from is None:
        return None
    if not isinstance(init_from, TrainedModel):
        raise UserError(f"init_from must be a trained model, as from arjax.load or arjax.open_run, not {init_from!r}")
    params = jax.device_put(init_from.params, replicated(make_mesh()))
    return Trained(init_from.model, params, 0, init_from.dataset)


def _record(
    model: Model, dataset: Dataset, chosen: Mapping[str, Any], sections: _Sections, begins: Mapping[str, str]
) -> Record:
    """The identity of the training, with the names that its options have in a config."""
    fields = {
        "model": recipe_of(model).as_json(),
        "train": sections.train | {"init_from": ""} | dict(begins),
        "optimizer": sections.of_optimizer | {"name": chosen["optimizer"]},
        "evaluate": {"num_orders": chosen["num_orders"]},
        "objective": chosen["objective"],
        "seed": chosen["seed"],
    }
    splits: list[Any] = []
    for source in dataset.splits.values():
        if isinstance(source, ArraySource) and not isinstance(source.arrays.x, np.memmap):
            splits.append(source.arrays)
        else:  # arrays that are not in memory
            splits.append((np.int64(len(source)), source.__getitems__(np.zeros(1, np.int64))))
    return Record(flat_fields(fields), fingerprint_of_arrays((splits, dataset.scale, dataset.shift)))


def _setup(
    model: Model, dataset: Dataset, chosen: dict[str, Any], sections: _Sections, given: Trained | None, record: Record
) -> Setup:
    usual = "teacher_forcing" if model.orders is None else "order_agnostic"
    evaluate = {"split": list(dataset.splits)[-1], "num_orders": chosen["num_orders"]}
    return make_setup(
        model=model,
        dataset=dataset,
        objective=make_objective(chosen["objective"] or usual),
        rule=sections.rule,
        schedule=SCHEDULES.read(sections.optimizer.schedule),
        optimizer=sections.optimizer,
        mesh=make_mesh(),
        rules=(),
        seed=chosen["seed"],
        train=TrainOptions(**sections.train, init_from="" if given is None else GIVEN),
        evaluate=EvaluateOptions(**typed_fields(EvaluateOptions, evaluate)),
        sampler=make_sampler("cached"),
        open_run=lambda workdir: given if given is not None and workdir == GIVEN else _no_other_run(workdir),
        about=model_in_words(model),
        record=record,
    )


def _fit(setup: Setup, folder: Path, options: Mapping[str, Any], is_kept: bool) -> Fitted:
    outcome = train_setup(setup, folder)
    if outcome.status != "finished":
        then = "the same call resumes from there" if is_kept else "nothing is kept"
        raise KeyboardInterrupt(f"{stopped(outcome)}; {then}")
    print(outcome.message)
    best = restore_params(setup, folder)
    entries = entries_of_run(setup, folder, best)
    settings = Settings(setup.mesh, setup.evaluate, setup.seed, {"options": dict(options)}, entries)
    history = as_history(read_metrics(folder))
    return Fitted(setup.model, best[0], setup.dataset, settings, outcome.results, history)


@contextlib.contextmanager
def _folder(workdir: str | os.PathLike | None) -> Iterator[Path]:
    if workdir is None:
        with tempfile.TemporaryDirectory(prefix="arjax-") as passing:
            yield Path(passing)
        return
    folder = writable_folder(workdir)
    with only_run_in(folder):
        refuse(((folder / CONFIG_NAME).exists(), f"{folder} holds the run of a config: choose another workdir"))
        yield folder


def _no_other_run(workdir: str) -> Trained:
    """Refuses an objective that opens another run."""
    raise UserError(f"arrays are trained on without other runs: an objective that reads {workdir} needs a config")
