"""Checks a config, and turns its names and call strings into values: once, before anything is built."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from arjax.config.base import base_config
from arjax.config.fields import check_types, fields, nearest_fields
from arjax.core.errors import UserError
from arjax.core.output import say_once
from arjax.core.plugins import PluginError, import_plugins
from arjax.core.registry import Call, Component, UnknownNameError, read_call
from arjax.core.trust import UntrustedCodeError
from arjax.core.values import compile_regex
from arjax.data import DATASETS
from arjax.evaluation.inpainting import HALVES
from arjax.models import KINDS, ModelChoice
from arjax.objectives import OBJECTIVES, Objective, make_objective
from arjax.reporting.writers import read_writers
from arjax.samplers import Sampler, make_sampler
from arjax.samplers.schedules import SCHEDULES as ROUND_SCHEDULES
from arjax.training.optimizer import SHARED, own_options, read_rule
from arjax.training.schedules import SCHEDULES
from arjax.training.stopping import check_duration

POSITIVE = (
    "train.batch_size",
    "train.steps_per_dispatch",
    "train.log_every",
    "train.eval_every",
    "train.checkpoint_every",
    "train.accumulate",
    "evaluate.batch_size",
    "evaluate.num_orders",
    "sample.num",
    "inpaint.num",
    "inpaint.completions",
    "suggest.num",
    "suggest.length",
    "suggest.beams",
    "mesh.fsdp",
    "mesh.tensor",
    "sample.temperature",
    "sample.top_p",
    "optimizer.learning_rate",
)
NOT_NEGATIVE = (
    "seed",
    "sample.top_k",
    "sample.length",
    "evaluate.steps",
    "evaluate.samples",
    "evaluate.exposure",
    "evaluate.length",
    "evaluate.examples",
    "sample.min_p",
    "train.steps",
    "train.examples",
    "train.epochs",
    "train.patience",
    "optimizer.warmup_steps",
    "optimizer.weight_decay",
    "optimizer.clip_norm",
    "optimizer.end_factor",
)
FRACTIONS = ("train.ema_decay", "optimizer.b1", "optimizer.b2")
SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Checked:
    """A config that is checked, and the values that its names and call strings stand for.

    Attributes:
      config: its fields.
      dataset: the data set, with all its options.
      model: kind, network and parts, with all their options.
      objective: the minimised function.
      optimizer: the rule, with all its options.
      schedule: that of the learning rate, with all its options.
      sampler: draws the samples.
      writers: of metrics, beside metrics.jsonl.
    """

    config: ConfigDict
    dataset: Component
    model: ModelChoice
    objective: Objective
    optimizer: Component
    schedule: Component
    sampler: Sampler
    writers: tuple[Component, ...]


def validate(config: ConfigDict) -> Checked:
    """The values that a config stands for; loads no data and compiles nothing. Imports its plugins.

    Checks that depend on the data (does the conditional fit its kind, does a listed ordering fit its grid) are made by
    `build_model`, likewise before anything compiles.

    Raises:
      UserError: with one sentence for the first mistake.
    """
    _check_fields(config)
    check_plugins(config)
    check_types(config)
    _check_ranges(dict(fields(config)))
    train = config.train
    compile_regex(config.optimizer.decay_pattern, "config.optimizer.decay_pattern")
    checked = _read_names(config)
    check_duration(train.steps, train.examples, train.epochs)
    if config.mesh.data < 1 and config.mesh.data != -1:
        raise UserError(f"config.mesh.data must be at least 1, or -1 for all devices left, not {config.mesh.data}")
    return checked


def validate_run(config: ConfigDict, workdir: str) -> Checked:
    """`validate` for the config in the folder of a run, without its config file.

    Raises:
      UntrustedCodeError: the run names code that the user has not trusted.
      UserError: as `validate`. For an unregistered component, and for a missing plugin, it asks for the config file
        that registers or imports it.
    """
    try:
        return validate(config)
    except UnknownNameError as error:
        raise UserError(
            f"add --config=FILE.py, the config file that registers your components: the run in {workdir} has an {error}"
        ) from error
    except UntrustedCodeError as error:
        raise UntrustedCodeError(
            error.file,
            error.reason,
            f"the run in {workdir} would run {error.file}, {error.reason}: read that file, then open the run with "
            f"--trust, or arjax.open_run({str(workdir)!r}, trust=True)",
        ) from error
    except PluginError as error:
        raise UserError(
            f"the run in {workdir} needs {error}; add --config=FILE.py, or its new place, such as "
            "--config.plugins=\"('my_network in FOLDER',)\""
        ) from error


def check_plugins(config: ConfigDict) -> None:
    """Imports the plugins of a config; raises `UserError` where it does not list names, or one cannot be imported.

    None is imported that only a run names, and that is neither an installed package nor trusted by the user.
    """
    if not isinstance(config.plugins, tuple):
        raise UserError(f"config.plugins must be a tuple of names, such as ('my_package',), not {config.plugins!r}")
    import_plugins(config.plugins)


def _check_fields(config: ConfigDict) -> None:
    """Exactly the fields of `base_config`; the options of data set, network and optimizer are checked elsewhere."""
    known = {name for name, _ in fields(base_config())}
    wanted = {name for name in known if not name.startswith("model.")} | {"model.kind"}
    found = {name for name, _ in fields(config)}
    free = ("dataset.", "network.", "optimizer.", "model.", "parts.")
    for name in sorted(wanted - found):
        raise UserError(f"the config lacks the field {name!r}: start from base_config()")
    for name in sorted(found - wanted):
        if not name.startswith(free):
            raise UserError(f"unknown config field {name!r}{nearest_fields(name, sorted(known))}")


def _check_ranges(values: dict[str, Any]) -> None:
    for name in POSITIVE:
        if values[name] <= 0:
            raise UserError(f"config.{name} must be above 0, not {values[name]}")
    for name in NOT_NEGATIVE:
        if values[name] < 0:
            raise UserError(f"config.{name} must not be negative, but is {values[name]}")
    for name in FRACTIONS:
        if not 0 <= values[name] < 1:
            raise UserError(f"config.{name} must be in [0, 1), not {values[name]}")
    for name in ("sample.top_p", "sample.min_p"):
        if values[name] > 1:
            raise UserError(f"config.{name} must be at most 1, not {values[name]}")


def _read_names(config: ConfigDict) -> Checked:
    """The values of names and call strings, each read here and nowhere else."""
    dataset = read_dataset(config)
    model = read_model(config)
    objective = make_objective(config.objective)
    _check_orders(config, objective)
    checked = Checked(
        config,
        dataset,
        model,
        objective,
        _read_rule(config.optimizer),
        SCHEDULES.read(config.optimizer.schedule),
        make_sampler(config.sample.sampler),
        read_writers(config.train.writers),
    )
    _check_choice("evaluate.split", config.evaluate.split, SPLITS)
    _check_choice("evaluate.schedule", config.evaluate.schedule, ROUND_SCHEDULES)
    if config.evaluate.schedule != base_config().evaluate.schedule and not config.evaluate.steps:
        say_once("config.evaluate.schedule has no effect without config.evaluate.steps, the rounds of the k-step bound")
    _check_choice("inpaint.hidden", config.inpaint.hidden, HALVES)
    _check_choice("inpaint.visible", config.inpaint.visible, ("rest", "nothing"))
    return checked


def read_dataset(config: ConfigDict) -> Component:
    """The data set of `config.dataset`; raises `UserError` for an unknown name or option."""
    options = config.dataset.to_dict()
    if not options["name"]:
        raise UserError("the config names no dataset: set config.dataset")
    return DATASETS.component(options.pop("name"), options)


def read_model(section: ConfigDict, name: str = "config") -> ModelChoice:
    """Kind, network and parts of a config, or of a part, which messages call `name`, with all their options."""
    if not isinstance(section, ConfigDict):
        raise UserError(f"{name} must be a part, made with part(...), not {section!r}")
    for needed in ("model", "network", "parts"):
        if not isinstance(section.get(needed, None), ConfigDict):
            raise UserError(f"{name} lacks the section {needed!r}: make it with part(...)")
    for other in section if "." in name else ():
        if other not in ("model", "network", "parts"):
            raise UserError(f"{name} has no field {other!r}: a part has model, network and parts")
    options = section.model.to_dict()
    if "kind" not in options:
        raise UserError(f"{name}.model names no kind: make it with model_config(...)")
    kind = options.pop("kind")
    model = KINDS.component(kind, options | _read_calls(kind, options))
    lacking = sorted(model.keys() - options)
    if lacking:
        field = f"{name}.model.{lacking[0]}".removeprefix("config.")
        raise UserError(
            f"the config lacks the field {field!r}: start from base_config(), or make a part with part(...)"
        )
    networks, options = KINDS.get(kind).NETWORKS, section.network.to_dict()
    if "name" not in options:
        raise UserError(f"{name}.network has no name: make it with part(...)")
    network = options.pop("name")
    if networks is not None:
        if not network:
            raise UserError(f"{name} names no {networks.kind}: set {name}.network")
        options = networks.component(network, options)
    parts = {part: read_model(section.parts[part], f"{name}.parts.{part}") for part in section.parts}
    return ModelChoice(kind, model, network, options, parts)


def _read_calls(kind: str, options: Mapping[str, Any]) -> dict[str, Call]:
    """The call strings among the options of a kind of model; raises `UserError` for names that are not registered."""
    registries = KINDS.get(kind).CALLS
    calls = {name: read_call(options[name]) for name in registries if options.get(name)}
    for name, call in calls.items():
        registries[name].get(call.name)
    return calls


def _check_orders(config: ConfigDict, objective: Objective) -> None:
    """Raises `UserError` unless there are orders exactly where the objective draws from them."""
    orders = config.model.orders if "orders" in KINDS.get(config.model.kind).CALLS else ""
    if config.evaluate.num_orders > 1 and not orders:
        raise UserError("config.evaluate.num_orders above 1 needs config.model.orders, such as uniform or pool(num=8)")
    if objective.NEEDS_ORDERS and not orders:
        name = OBJECTIVES.name_of(type(objective))
        kind = config.model.kind
        more = "" if "orders" in KINDS.get(kind).CALLS else f", which the kind {kind!r} has not: take autoregressive"
        raise UserError(f"the objective {name!r} needs config.model.orders, such as uniform or pool(num=8){more}")
    if orders and not objective.NEEDS_ORDERS:
        able = " or ".join(repr(name) for name in OBJECTIVES.names() if OBJECTIVES.get(name).NEEDS_ORDERS is True)
        raise UserError(f"config.model.orders needs the objective {able}, not {config.objective!r}")


def _read_rule(section: ConfigDict) -> Component:
    """The rule of the section `optimizer`, which has the options of its rule and no others."""
    options = section.to_dict()
    name = options.pop("name")
    own, common = own_options(name), base_config().optimizer
    for key in options:
        if key not in common and key not in own:
            known = [f"optimizer.{known}" for known in (*common, *own)]
            raise UserError(f"unknown config field {f'optimizer.{key}'!r}{nearest_fields(f'optimizer.{key}', known)}")
    for key in own:
        if key not in options:
            raise UserError(
                f"the config lacks optimizer.{key}, an option of the optimizer {name!r}: choose it in the config file, "
                f"with optimizer_config({name!r})"
            )
    given = {key: value for key, value in options.items() if key in SHARED or key not in common}
    return read_rule(name, given)


def _check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise UserError(f"config.{name} must be one of {', '.join(choices)}, not {value!r}")
