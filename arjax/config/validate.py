"""Checks a config before anything is built: names, ranges and combinations that no component can see alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict

from arjax.config.base import base_config
from arjax.config.fields import check_types, fields, nearest_fields
from arjax.core.errors import UserError
from arjax.core.registry import UnknownNameError
from arjax.core.values import compile_regex

POSITIVE = (
    "train.batch_size",
    "train.steps_per_dispatch",
    "train.log_every",
    "train.eval_every",
    "train.checkpoint_every",
    "evaluate.batch_size",
    "evaluate.num_orders",
    "sample.num",
    "inpaint.num",
    "inpaint.completions",
    "mesh.fsdp",
    "mesh.tensor",
    "sample.temperature",
    "sample.top_p",
    "optimizer.learning_rate",
)
NOT_NEGATIVE = (
    "seed",
    "sample.top_k",
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

    What depends on the data (does the conditional fit its kind, does a listed ordering fit its grid) is checked by
    `build_model`, likewise before anything compiles.
    """
    _check_fields(config)
    check_types(config)
    _check_ranges(dict(fields(config)))
    _check_names(config)
    _check_duration(config.train)
    compile_regex(config.optimizer.decay_pattern, "config.optimizer.decay_pattern")
    if config.mesh.data < 1 and config.mesh.data != -1:
        raise UserError(f"config.mesh.data must be at least 1, or -1 for all devices left, not {config.mesh.data}")


def validate_run(config: ConfigDict, workdir: str) -> None:
    """`validate` for the config that a run was made with, whose config file has not been read.

    Raises:
      UserError: as `validate`. For a data set or another component that nothing has registered, the sentence says that
        the config file which does so is to be given, too.
    """
    try:
        validate(config)
    except UnknownNameError as error:
        raise UserError(
            f"the run in {workdir} has an {error}; a config file that registers it must be given as well: add "
            "--config=FILE.py"
        ) from error


def _check_fields(config: ConfigDict) -> None:
    """Exactly the fields of `base_config`; the options of the data set and the network are their own affair."""
    wanted = {name for name, _ in fields(base_config())}
    found = {name for name, _ in fields(config)}
    free = ("dataset.", "network.")
    for name in sorted(wanted - found):
        raise UserError(f"the config lacks the field {name!r}: start from base_config()")
    for name in sorted(found - wanted):
        if not name.startswith(free):
            raise UserError(f"unknown config field {name!r}{nearest_fields(name, sorted(wanted))}")


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
    if values["sample.top_p"] > 1:
        raise UserError(f"config.sample.top_p must be at most 1, not {values['sample.top_p']}")


def _check_duration(train: ConfigDict) -> None:
    given = [name for name in DURATIONS if train[name] > 0]
    if len(given) == 1:
        return
    chosen = " and ".join(f"{name}={train[name]:g}" for name in given) or "none of them"
    raise UserError(
        f"a run needs exactly one duration above 0 among config.train.steps, examples and epochs, but has {chosen}"
    )


def _check_names(config: ConfigDict) -> None:
    # Imported here: these rooms import JAX, and `arjax --help` should not.
    from arjax.conditionals import CONDITIONALS
    from arjax.core.registry import parse_call
    from arjax.data import DATASETS
    from arjax.evaluation.inpainting import HALVES
    from arjax.factorization import ORDER_DISTRIBUTIONS, ORDERINGS, PARTITIONS
    from arjax.models import Nested  # noqa: F401  a conditional that lies there
    from arjax.networks import NETWORKS
    from arjax.objectives import make_objective
    from arjax.samplers import make_sampler

    for registry, section in ((DATASETS, config.dataset), (NETWORKS, config.network)):
        if not section.name:
            raise UserError(f"the config names no {registry.kind}: set config.{registry.kind}")
        options = section.to_dict()
        registry.resolve(options.pop("name"), options)
    calls = [(ORDERINGS, config.model.ordering), (PARTITIONS, config.model.partition)]
    calls += [(CONDITIONALS, config.model.conditional)] if config.model.conditional else []
    for registry, text in calls:
        registry.get(parse_call(text)[0])
    if config.model.orders:
        ORDER_DISTRIBUTIONS.get(parse_call(config.model.orders)[0])
    elif config.evaluate.num_orders > 1:
        raise UserError("config.evaluate.num_orders above 1 needs config.model.orders, such as uniform or pool(num=8)")
    make_objective(config.objective)
    agnostic = parse_call(config.objective)[0] == "order_agnostic"
    if agnostic and not config.model.orders:
        raise UserError("the objective 'order_agnostic' needs config.model.orders, such as uniform or pool(num=8)")
    if config.model.orders and not agnostic:
        raise UserError(f"config.model.orders needs the objective 'order_agnostic', not {config.objective!r}")
    make_sampler(config.sample.sampler)
    _check_choice("evaluate.split", config.evaluate.split, SPLITS)
    _check_choice("inpaint.hidden", config.inpaint.hidden, HALVES)
    _check_choice("inpaint.visible", config.inpaint.visible, ("rest", "nothing"))


def _check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise UserError(f"config.{name} must be one of {', '.join(choices)}, not {value!r}")
