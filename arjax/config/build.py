"""From a config to typed components; nothing below this file sees a config. It refuses impossible combinations."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from arjax.config.files import load_workdir_config, user_code
from arjax.config.validate import Checked, read_dataset, read_model, validate, validate_run
from arjax.core.files import user_path
from arjax.core.options import defaults
from arjax.core.plugins import import_plugins, is_trusting, trusting
from arjax.core.traits import require
from arjax.data import Dataset, make_dataset
from arjax.models import KINDS, Model, ModelChoice, make_model
from arjax.models.draws import check_draws
from arjax.parallel.sharding import make_mesh
from arjax.samplers import Request, Sampler, make_sampler
from arjax.samplers.request import DrawOptions
from arjax.training.optimizer import OptimizerOptions
from arjax.training.record import Record
from arjax.training.setup import EvaluateOptions, SampleOptions, Setup, TrainOptions, make_setup, restore_params
from arjax.training.start import Trained


def build_dataset(config: ConfigDict, mesh: Mesh | None = None) -> Dataset:
    """The data set of `config.dataset`; one that is drawn from another run opens it on this mesh (all devices)."""
    import_plugins(config.plugins)
    return make_dataset(read_dataset(config), open_run=_opener(make_mesh() if mesh is None else mesh))


def build_model(config: ConfigDict, dataset: Dataset) -> Model:
    """The model of `config.model`, `config.network`, `config.parts` and `config.dtype` for a data set."""
    import_plugins(config.plugins)
    return _make_model(config, read_model(config), dataset, make_sampler(config.sample.sampler))


def _make_model(config: ConfigDict, choice: ModelChoice, dataset: Dataset, sampler: Sampler) -> Model:
    data = functools.partial(dataset.some_examples, "train")
    model = make_model(dataset.event, choice, context=dataset.context, dtype=config.dtype, data=data)
    # Options that the model cannot draw with are refused now, before the training.
    if config.sample.length:
        require(model, "length", "config.sample.length")
        dataset.check_alike("config.sample.length")
    options = {name: config.sample[name] for name in defaults(DrawOptions)}
    check_draws(model, sampler, Request(**options, end=dataset.end))
    return model


def build(config: ConfigDict | Checked, devices: Sequence[jax.Device] | None = None) -> Setup:
    """Builds the parts of a run from its config, for these devices (all devices by default)."""
    checked = config if isinstance(config, Checked) else validate(config)
    sizes = checked.config.mesh
    return _assemble(checked, make_mesh(sizes.data, sizes.fsdp, sizes.tensor, devices))


def _assemble(checked: Checked, mesh: Mesh) -> Setup:
    config = checked.config
    dataset = make_dataset(checked.dataset, open_run=_opener(mesh))
    return make_setup(
        model=_make_model(config, checked.model, dataset, checked.sampler),
        dataset=dataset,
        objective=checked.objective,
        rule=checked.optimizer,
        schedule=checked.schedule,
        optimizer=OptimizerOptions(**{name: config.optimizer[name] for name in defaults(OptimizerOptions)}),
        mesh=mesh,
        rules=tuple(config.mesh.rules),
        seed=config.seed,
        train=TrainOptions(**config.train.to_dict()),
        evaluate=EvaluateOptions(**config.evaluate.to_dict()),
        sample=SampleOptions(**config.sample.to_dict()),
        sampler=checked.sampler,
        open_run=_opener(mesh),
        about=_in_words(checked.model),
        record=Record(data=dataset.fingerprint, code=user_code(config)),
    )


def _in_words(choice: ModelChoice) -> str:
    """The kind, where it is not the usual one, the network or the parts, and the order: `lstm in raster order`."""
    parts: Mapping[str, Any] = choice.parts
    kind = "" if choice.kind == ModelChoice.kind else f"{choice.kind}: "
    of = choice.network or ", ".join(f"{name} {part.network or part.kind}" for name, part in parts.items())
    calls = {name: choice.options[name] for name in KINDS.get(choice.kind).CALLS}
    if "ordering" not in calls:
        return f"{kind}{of}".removesuffix(": ")
    order = f"orders {calls['orders']}" if calls.get("orders") else f"{calls['ordering']} order"
    blocks = f", in blocks {calls['partition']}" if calls.get("partition", "sites") != "sites" else ""
    return f"{kind}{of} in {order}{blocks}"


def open_run(workdir: str, mesh: Mesh, trust: bool = False) -> Trained:
    """Returns another run with its best parameters so far; `trust`: it may run the code that it names."""
    folder = user_path(workdir)
    config = load_workdir_config(folder)
    with trusting(trust):
        setup = _assemble(validate_run(config, str(folder)), mesh)
        params, step, _ = restore_params(setup, folder)
    return Trained(setup.model, params, step, setup.dataset)


def _opener(mesh: Mesh) -> Callable[[str], Trained]:
    """The function with which a run opens the runs that it reads: they are trusted if it is."""
    return functools.partial(open_run, mesh=mesh, trust=is_trusting())
