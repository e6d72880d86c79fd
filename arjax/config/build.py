"""From a config to typed components; nothing below this file sees a config. It refuses impossible combinations."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from arjax.config.files import load_workdir_config
from arjax.config.validate import check_plugins, validate_run
from arjax.core.abilities import require
from arjax.core.errors import UserError
from arjax.core.paths import user_path
from arjax.data import Dataset, make_dataset
from arjax.evaluation.prompts import end_of
from arjax.models import Model, ModelChoice, make_model
from arjax.models.longer import check_length
from arjax.objectives import make_objective
from arjax.parallel.sharding import check_batch_size, make_mesh
from arjax.samplers import DrawOptions, make_sampler
from arjax.samplers.rounds import check_rounds
from arjax.samplers.schedules import check_rounds_fit
from arjax.training.durations import total_steps
from arjax.training.exposure import check_exposure
from arjax.training.optimizer import make_optimizer
from arjax.training.recipe import Recipe
from arjax.training.schedules import make_schedule
from arjax.training.setup import EvaluateOptions, Setup, Trained, TrainOptions, restore_params


def build_dataset(config: ConfigDict, mesh: Mesh | None = None) -> Dataset:
    """The data set of `config.dataset`: a name and the options of the data set function.

    One that is drawn from another run opens it on this mesh, of all devices by default.
    """
    check_plugins(config)
    options = config.dataset.to_dict()

    def open_other(workdir: str) -> Trained:
        return open_run(workdir, make_mesh() if mesh is None else mesh)

    return make_dataset(options.pop("name"), open_run=open_other, **options)


def build_model(config: ConfigDict, dataset: Dataset) -> Model:
    """The model of `config.model`, `config.network`, `config.parts` and `config.dtype` for a data set.

    Raises:
      UserError: an unknown name or option, or a combination that does not work, before anything compiles.
    """
    check_plugins(config)
    model = make_model(
        dataset.event,
        choice_of(config),
        context=dataset.context,
        dtype=config.dtype,
        data=lambda: dataset.some_examples("train"),
    )
    _check_draws(model, config.sample, dataset)
    return model


def choice_of(section: ConfigDict) -> ModelChoice:
    """The choices in the sections `model`, `network` and `parts` of a config, or of a part."""
    model, network = section.model.to_dict(), section.network.to_dict()
    parts = {name: choice_of(section.parts[name]) for name in section.parts}
    return ModelChoice(model.pop("kind"), model, network.pop("name"), network, parts)


def _check_draws(model: Model, asked: ConfigDict, dataset: Dataset) -> None:
    """Raises `UserError` for options of `config.sample` that the model cannot draw with: now, before the training."""
    options = {name: asked[name] for name in ("temperature", "top_k", "top_p", "min_p")}
    model.check_draws(make_sampler(asked.sampler), DrawOptions(**options))
    if not asked.length:
        return
    require(model, "length", "config.sample.length")
    check_length(model, asked.length, end_of(dataset))
    if dataset.scale is not None or dataset.to_cells is not None:
        raise UserError("config.sample.length needs sites that are alike, and these are columns or have a scale each")


def build(config: ConfigDict, devices: Sequence[jax.Device] | None = None) -> Setup:
    """Builds the parts of a run from its config, for these devices (all devices by default).

    Raises `UserError` for a mistake before anything compiles.
    """
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tensor, devices)
    check_batch_size(config.train.batch_size, mesh, config.train.accumulate)
    return _assemble(config, mesh)


def _assemble(config: ConfigDict, mesh: Mesh) -> Setup:
    """The parts of a run on a mesh."""
    train = config.train
    dataset = build_dataset(config, mesh)
    num_examples = len(dataset.splits["train"])
    steps = total_steps(train.steps, train.examples, train.epochs, train.batch_size, num_examples)
    options = config.optimizer.to_dict()
    optimizer = make_optimizer(options.pop("name"), options.pop("learning_rate"), steps, **options)
    schedule = make_schedule(
        *(config.optimizer.learning_rate, steps, config.optimizer.schedule),
        *(config.optimizer.warmup_steps, config.optimizer.end_factor),
    )
    recipe = Recipe(
        model=build_model(config, dataset),
        objective=make_objective(config.objective),
        optimizer=optimizer,
        total_steps=steps,
        ema_decay=train.ema_decay,
        transform=dataset.transform,
        accumulate=train.accumulate,
    )
    recipe.objective.check(recipe.model)
    if config.evaluate.steps:
        check_rounds(recipe.model, "config.evaluate.steps")
        check_rounds_fit("config.evaluate.steps", config.evaluate.steps, recipe.model.factorization.num_steps)
    if config.evaluate.samples:
        recipe.model.sampled_bound(config.evaluate.samples)
    evaluate = EvaluateOptions(**config.evaluate.to_dict())
    check_exposure(recipe.model, dataset, evaluate)
    return Setup(
        dataset=dataset,
        mesh=mesh,
        rules=tuple(config.mesh.rules),
        recipe=recipe,
        schedule=schedule,
        total_steps=steps,
        seed=config.seed,
        train=TrainOptions(**{field.name: train[field.name] for field in dataclasses.fields(TrainOptions)}),
        evaluate=evaluate,
        open_run=functools.partial(open_run, mesh=mesh),
        about=_in_words(config),
    )


def _in_words(section: ConfigDict) -> str:
    """The network and its order, `lstm in raster order`; of other kinds the parts, `latent: prior constant, ...`."""
    model, network, parts = section.model, section.network.name, section.parts
    if model.kind != "autoregressive":
        of = (
            [network] if network else [f"{name} {parts[name].network.name or parts[name].model.kind}" for name in parts]
        )
        return f"{model.kind}: {', '.join(of)}"
    order = f"orders {model.orders}" if model.orders else f"{model.ordering} order"
    blocks = "" if model.partition == "sites" else f", in blocks {model.partition}"
    return f"{network} in {order}{blocks}"


def open_run(workdir: str, mesh: Mesh) -> Trained:
    """The model of another run with its best parameters so far, on this mesh.

    Raises:
      UserError: the folder holds no run, or no parameters that can be read.
    """
    folder = user_path(workdir)
    config = load_workdir_config(folder)
    validate_run(config, str(folder))
    setup = _assemble(config, mesh)
    params, step, _ = restore_params(setup, folder)
    return Trained(setup.model, params, step, setup.dataset)
