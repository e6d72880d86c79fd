"""Checks a config before anything is built: names, ranges and combinations that no single component can check."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict

from arjax.config.base import base_config
from arjax.config.fields import check_types, fields, nearest_fields
from arjax.core.errors import UserError
from arjax.core.output import say_once
from arjax.core.plugins import PluginError, import_plugins
from arjax.core.registry import UnknownNameError, parse_call
from arjax.core.trust import UntrustedCodeError
from arjax.core.values import compile_regex

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
DURATIONS = ("steps", "examples", "epochs")


def validate(config: ConfigDict) -> None:
    """Raises `UserError` with one sentence for the first mistake in a config; loads no data and compiles nothing.
    Imports its plugins.

    Checks that depend on the data (does the conditional fit its kind, does a listed ordering fit its grid) are made by
    `build_model`, likewise before anything compiles.
    """
    _check_fields(config)
    check_plugins(config)
    check_types(config)
    _check_ranges(dict(fields(config)))
    compile_regex(config.optimizer.decay_pattern, "config.optimizer.decay_pattern")
    _check_names(config)
    _check_duration(config.train)
    if config.mesh.data < 1 and config.mesh.data != -1:
        raise UserError(f"config.mesh.data must be at least 1, or -1 for all devices left, not {config.mesh.data}")


def validate_run(config: ConfigDict, workdir: str) -> None:
    """`validate` for the config in the folder of a run, without its config file.

    Raises:
      UntrustedCodeError: the run names code that the user has not trusted.
      UserError: as `validate`. For an unregistered component, and for a missing plugin, it asks for the config file
        that registers or imports it.
    """
    try:
        validate(config)
    except UnknownNameError as error:
        raise UserError(
            f"the run in {workdir} has an {error}; a config file that registers it must be given as well: add "
            "--config=FILE.py"
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


def _check_duration(train: ConfigDict) -> None:
    given = [name for name in DURATIONS if train[name] > 0]
    if len(given) == 1:
        return
    chosen = " and ".join(f"{name}={train[name]:g}" for name in given) or "none of them"
    raise UserError(
        f"a run needs exactly one duration above 0 among config.train.steps, examples and epochs, but has {chosen}"
    )


def _check_names(config: ConfigDict) -> None:
    # Imported here: these packages import JAX, and `arjax --help` should not.
    from arjax.data import DATASETS
    from arjax.evaluation.inpainting import HALVES
    from arjax.reporting.writers import make_writers
    from arjax.samplers import make_sampler
    from arjax.samplers.schedules import SCHEDULES

    if not config.dataset.name:
        raise UserError("the config names no dataset: set config.dataset")
    options = config.dataset.to_dict()
    DATASETS.resolve(options.pop("name"), options)
    _check_model(config, "config")
    _check_orders(config)
    _check_optimizer(config.optimizer)
    make_sampler(config.sample.sampler)
    make_writers(config.train.writers)
    _check_choice("evaluate.split", config.evaluate.split, SPLITS)
    _check_choice("evaluate.schedule", config.evaluate.schedule, SCHEDULES)
    if config.evaluate.schedule != base_config().evaluate.schedule and not config.evaluate.steps:
        say_once("config.evaluate.schedule has no effect without config.evaluate.steps, the rounds of the k-step bound")
    _check_choice("inpaint.hidden", config.inpaint.hidden, HALVES)
    _check_choice("inpaint.visible", config.inpaint.visible, ("rest", "nothing"))


def _check_model(section: ConfigDict, name: str) -> None:
    """Kind, network and parts of a config, or of a part, which messages call `name`."""
    from arjax.models import KINDS

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
    lacking = sorted(KINDS.resolve(kind, options).keys() - options)
    if lacking:
        field = f"{name}.model.{lacking[0]}".removeprefix("config.")
        raise UserError(
            f"the config lacks the field {field!r}: start from base_config(), or make a part with part(...)"
        )
    networks, options = KINDS.get(kind).NETWORKS, section.network.to_dict()
    if "name" not in options:
        raise UserError(f"{name}.network has no name: make it with part(...)")
    chosen = options.pop("name")
    if networks is not None:
        if not chosen:
            raise UserError(f"{name} names no {networks.kind}: set {name}.network")
        networks.resolve(chosen, options)
    if kind == "autoregressive":
        _check_calls(section.model)
    for part in section.parts:
        _check_model(section.parts[part], f"{name}.parts.{part}")


def _check_calls(model: ConfigDict) -> None:
    """The names in the call strings of an autoregressive model."""
    from arjax.conditionals import CONDITIONALS
    from arjax.factorization import ORDER_DISTRIBUTIONS, ORDERINGS, PARTITIONS

    calls = [(ORDERINGS, model.ordering), (PARTITIONS, model.partition)]
    calls += [(CONDITIONALS, model.conditional)] if model.conditional else []
    calls += [(ORDER_DISTRIBUTIONS, model.orders)] if model.orders else []
    for registry, text in calls:
        registry.get(parse_call(text)[0])


def _check_orders(config: ConfigDict) -> None:
    """Raises `UserError` unless there are orders exactly where the objective draws from them."""
    from arjax.objectives import OBJECTIVES, make_objective

    objective = make_objective(config.objective)
    orders = config.model.orders if config.model.kind == "autoregressive" else ""
    if config.evaluate.num_orders > 1 and not orders:
        raise UserError("config.evaluate.num_orders above 1 needs config.model.orders, such as uniform or pool(num=8)")
    if objective.NEEDS_ORDERS and not orders:
        name = parse_call(config.objective)[0]
        raise UserError(f"the objective {name!r} needs config.model.orders, such as uniform or pool(num=8)")
    if orders and not objective.NEEDS_ORDERS:
        able = " or ".join(repr(name) for name in OBJECTIVES.names() if OBJECTIVES.get(name).NEEDS_ORDERS is True)
        raise UserError(f"config.model.orders needs the objective {able}, not {config.objective!r}")


def _check_optimizer(section: ConfigDict) -> None:
    """The section has the options of its rule, and no others."""
    from arjax.training.optimizer import SHARED, own_options, rule_options
    from arjax.training.schedules import SCHEDULES

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
    rule_options(name, {key: value for key, value in options.items() if key in SHARED or key not in common})
    schedule, of_schedule = parse_call(options["schedule"])
    SCHEDULES.resolve(schedule, of_schedule)


def _check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise UserError(f"config.{name} must be one of {', '.join(choices)}, not {value!r}")
