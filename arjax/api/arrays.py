"""Training on arrays in memory: no config, and no files unless a folder is given."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from arjax.api.fitting import silence, stopped
from arjax.api.run import ARRAYS_FILE
from arjax.api.trained_model import Fitted, Settings, TrainedModel, as_history
from arjax.core.arguments import checked_arguments
from arjax.core.errors import UserError
from arjax.core.files import only_run_in, read_json_object, writable_folder, write_json
from arjax.data import Dataset, Source, from_arrays
from arjax.data.sources import ArraySource
from arjax.models import Model, recipe_of
from arjax.models.kinds import is_model
from arjax.objectives import make_objective
from arjax.parallel.sharding import make_mesh, replicated
from arjax.reporting.writers import read_metrics
from arjax.samplers import make_sampler
from arjax.training.loop import train as train_setup
from arjax.training.optimizer import read_rule
from arjax.training.results import entries_of_run
from arjax.training.schedules import SCHEDULES
from arjax.training.setup import EvaluateOptions, Setup, Trained, TrainOptions, make_setup, restore_params

#: Stands for the model `init_from` of `fit_arrays` where a config has the workdir of a run.
GIVEN = "the given model"
Arrays = np.ndarray | Mapping[str, np.ndarray]


@checked_arguments(steps=1, batch_size=1, eval_every=1, num_orders=1, patience=0, seed=0, warmup_steps=0)
def fit_arrays(
    model: Model,
    *,
    train: Arrays | Dataset,
    validation: Arrays | None = None,
    test: Arrays | None = None,
    steps: int = 2000,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    seed: int = 0,
    optimizer: str = "adam",
    schedule: str = "constant",
    warmup_steps: int = 0,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
    ema_decay: float = 0.0,
    eval_every: int = 100,
    patience: int = 0,
    objective: str = "",
    num_orders: int = 1,
    init_from: TrainedModel | None = None,
    standardise: str = "",
    workdir: str | os.PathLike | None = None,
    quiet: bool = False,
    name: str = "arrays",
) -> Fitted:
    """Trains a model on arrays by the loop of all runs, and scores it.

        model = arjax.make_model(arjax.EventSpec((5,)), "made")
        fitted = arjax.fit_arrays(model, train=x, validation=y, steps=2000)

    The parameters are those that were best on validation; without a validation split, those of the last step. An
    interrupt ends the training with a `KeyboardInterrupt`; with a `workdir` the state is saved, and the same call goes
    on from there.

    Args:
      model: from `arjax.make_model`.
      train: examples [N, *grid, *value], or a dict with `x` and, where there are, `context`, `mask` [N, *grid] and
        `weight` [N]; a context of several parts is a dict. Or a whole data set with all its splits, as from
        `arjax.make_dataset`.
      validation: likewise, to choose the parameters and to stop early; None for none.
      test: likewise, for the score at the end; None: that is of the validation split, or else the train split.
      steps: train steps, at most.
      batch_size: examples per step.
      learning_rate: the peak of the schedule.
      seed: of parameters, batches and noise.
      optimizer: a rule, such as "adam" or "adamw".
      schedule: of the learning rate: "constant", "cosine", "linear", "rsqrt", "wsd", or a call, "wsd(decay=0.1)".
      warmup_steps: steps in which the learning rate grows.
      weight_decay: of "adamw" and others.
      clip_norm: largest norm of a gradient; 0: any.
      ema_decay: of an average of the parameters, which is scored in their place; 0: none.
      eval_every: steps between two validations.
      patience: validations without a better score after which training ends; 0: never.
      objective: call string; "": `order_agnostic` for a model with several orders, else `teacher_forcing`.
      num_orders: orders of the mixture that is scored, of a model with several.
      init_from: a trained model, as from `arjax.load`, `arjax.open_run` or `fit_arrays`: the training begins with its
        parameters, which must be those of `model`. None: with fresh ones.
      standardise: "sites" or "values": the model sees real values in standard units, of each place or of all sites
        alike, and scores are densities in the units of the arrays, see `from_arrays`. The methods of the result take
        standardised examples, as its method `standardise` makes them; a model of `init_from` must have been trained on
        standardised values, too, and the `data` that `make_model` reads, as for EM, must be standardised. "": the model
        sees the values as they are.
      workdir: folder for checkpoints, metrics, results and `model.safetensors`; None: no files are kept.
      quiet: prints nothing.
      name: of the arrays, in the report.

    Raises:
      UserError: arrays that do not fit the model, an option out of range, a folder with another training.
      TrainingDiverged: a `UserError` for a loss that is not finite.
      KeyboardInterrupt: after an interrupt.
    """
    options: dict[str, Any] = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}
    options |= {"optimizer": optimizer, "schedule": schedule, "warmup_steps": warmup_steps}
    options |= {"weight_decay": weight_decay, "clip_norm": clip_norm, "ema_decay": ema_decay}
    options |= {"eval_every": eval_every, "patience": patience, "objective": objective, "num_orders": num_orders}
    options = {key: value.item() if isinstance(value, np.generic) else value for key, value in options.items()}
    if not is_model(model):
        raise UserError(f"model must be a model, as from arjax.make_model, not {model!r}")
    if not 0 <= ema_decay < 1:
        raise UserError(f"ema_decay must be at least 0 and below 1, not {ema_decay!r}")
    dataset = _dataset(model, train, validation, test, {"name": name, "standardise": standardise})
    checkpoint_every = steps if workdir is None else 5 * eval_every
    setup = _setup(model, dataset, options, checkpoint_every, _given(init_from))
    options |= {} if init_from is None else {"init_from": _digest(init_from.params)}
    with silence(quiet), _folder(workdir, setup, options) as folder:
        fitted = _fit(setup, folder, options, is_kept=workdir is not None)
        if workdir is not None:
            fitted.save(folder / "model.safetensors")
    return fitted


def _dataset(
    model: Model, train: Arrays | Dataset, validation: Arrays | None, test: Arrays | None, about: dict[str, Any]
) -> Dataset:
    """The data set of the given arrays, with further arguments of `from_arrays`; raises `UserError` when they do not
    fit the model.
    """
    if not isinstance(train, Dataset):
        about = about | {"context": model.context_spec}
        return from_arrays(model.event, train=train, validation=validation, test=test, **about)
    if about["standardise"]:
        raise UserError("standardise is for arrays, and a data set is standardised where it is made")
    if validation is not None or test is not None:
        raise UserError("a data set has its own splits: give it alone, or arrays for each split")
    if (train.event, train.context) != (model.event, model.context_spec):
        raise UserError(f"{train!r} does not fit {model!r}: make the model with its `event` and `context`")
    return train


def _given(init_from: TrainedModel | None) -> Trained | None:
    """The model whose parameters the training begins with; raises `UserError` for anything else than a trained one."""
    if init_from is None:
        return None
    if not isinstance(init_from, TrainedModel):
        raise UserError(f"init_from must be a trained model, as from arjax.load or arjax.open_run, not {init_from!r}")
    params = jax.device_put(init_from.params, replicated(make_mesh()))
    return Trained(init_from.model, params, 0, init_from.dataset)


def _setup(
    model: Model, dataset: Dataset, options: Mapping[str, Any], checkpoint_every: int, given: Trained | None
) -> Setup:
    """The parts of a run, which begins with the parameters of a `given` model; raises `UserError` for an option out of
    range.
    """
    usual = "teacher_forcing" if model.orders is None else "order_agnostic"
    return make_setup(
        model=model,
        dataset=dataset,
        objective=make_objective(options["objective"] or usual),
        optimizer=read_rule(options["optimizer"], {"weight_decay": options["weight_decay"]}),
        schedule=SCHEDULES.read(options["schedule"]),
        rate={name: options[name] for name in ("learning_rate", "warmup_steps")},
        clip_norm=options["clip_norm"],
        total_steps=options["steps"],
        ema_decay=options["ema_decay"],
        mesh=make_mesh(),
        rules=(),
        seed=options["seed"],
        train=TrainOptions(
            batch_size=options["batch_size"],
            log_every=options["eval_every"],
            eval_every=options["eval_every"],
            checkpoint_every=checkpoint_every,
            patience=options["patience"],
            init_from="" if given is None else GIVEN,
        ),
        evaluate=EvaluateOptions(split=list(dataset.splits)[-1], num_orders=options["num_orders"]),
        sampler=make_sampler("cached"),
        open_run=lambda workdir: given if given is not None and workdir == GIVEN else _no_other_run(workdir),
        about=model.in_words(),
    )


def _fit(setup: Setup, folder: Path, options: Mapping[str, Any], is_kept: bool) -> Fitted:
    """Trains in a folder to the end; raises `KeyboardInterrupt` when it is not reached. `is_kept`: the folder stays."""
    outcome = train_setup(setup, folder)
    if outcome.status != "finished":
        then = "the same call goes on from there" if is_kept else "nothing is kept"
        raise KeyboardInterrupt(f"{stopped(outcome)}; {then}")
    print(outcome.message)
    best = restore_params(setup, folder)
    entries = entries_of_run(setup, folder, best)
    settings = Settings(setup.mesh, setup.evaluate, setup.seed, {"options": dict(options)}, entries)
    history = as_history(read_metrics(folder))
    return Fitted(setup.model, best[0], setup.dataset, settings, outcome.results, history)


@contextlib.contextmanager
def _folder(workdir: str | os.PathLike | None, setup: Setup, options: Mapping[str, Any]) -> Iterator[Path]:
    """The folder to train in: a temporary one, or that of the user, which holds no other training."""
    if workdir is None:
        with tempfile.TemporaryDirectory(prefix="arjax-") as passing:
            yield Path(passing)
        return
    folder = writable_folder(workdir)
    with only_run_in(folder):
        recipe = recipe_of(setup.model)
        data = {split: _digest(_known_of(source)) for split, source in setup.dataset.splits.items()}
        identity = {"model": recipe.as_json(), "orders": _digest(recipe.arrays), "data": data, "options": dict(options)}
        identity["units"] = _digest((setup.dataset.scale, setup.dataset.shift))
        _check_same(folder, identity)
        yield folder


def _known_of(source: Source) -> Any:
    """The identity of a split: its arrays or, where these are not in memory, its length and first example."""
    if isinstance(source, ArraySource) and not isinstance(source.arrays.x, np.memmap):
        return source.arrays
    return np.int64(len(source)), source.__getitems__(np.zeros(1, np.int64))


def _digest(arrays: Any) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(arrays):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)  # as bytes: bfloat16 is no type of a buffer
    return digest.hexdigest()


#: Options that may differ when a training goes on.
_MAY_DIFFER = ("eval_every", "patience")


def _check_same(folder: Path, identity: dict[str, Any]) -> None:
    """Records the identity of the training in a folder; raises `UserError` when the folder holds another one."""
    path = folder / ARRAYS_FILE
    if (folder / "config.json").exists():
        raise UserError(f"{folder} holds the run of a config: choose another workdir")
    identity = json.loads(json.dumps(identity))
    before = read_json_object(path)
    if before is None and path.exists():
        raise UserError(f"{path} is damaged: choose another workdir")
    if before is not None:
        options = {"init_from": None} | {k: value for k, value in before["options"].items() if k not in _MAY_DIFFER}
        for key, value in options.items():
            now = identity["options"].get(key)
            if now != value and key == "init_from":
                raise UserError(f"{folder} holds a training from other first parameters: choose another workdir")
            if now != value and not (key == "steps" and now > value):
                raise UserError(f"{folder} holds a training with {key}={value}, not {now}: choose another workdir")
        for key in ("model", "orders", "data", "units"):
            if key in before and identity[key] != before[key]:
                raise UserError(f"{folder} holds the training of another model or other arrays: choose another workdir")
    write_json(path, identity)


def _no_other_run(workdir: str) -> Trained:
    """Opens another run for an objective: an error here."""
    raise UserError(f"arrays are trained on without other runs: an objective that reads {workdir} needs a config")
