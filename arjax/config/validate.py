"""The fields of a config, and its checks: names and call strings become values, once, before anything is built."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any

import jax
from ml_collections import ConfigDict

from arjax.config.base import base_config
from arjax.config.sections import SECTIONS, RunOptions
from arjax.core.errors import UserError, nearest, refuse, say_once
from arjax.core.options import defaults, typed_fields
from arjax.core.plugins import VARIABLE, PluginError, UntrustedCodeError, import_plugins
from arjax.core.registry import Component, UnknownNameError
from arjax.core.values import check_type, compile_regex, parse_call
from arjax.data import DATASETS
from arjax.models import KINDS, ModelChoice
from arjax.objectives import OBJECTIVES, Objective, make_objective
from arjax.objectives.base import objectives_with
from arjax.reporting.writers import read_writers
from arjax.samplers import Sampler, make_sampler
from arjax.training.optimizer import SHARED, options_of_rule, read_rule
from arjax.training.schedules import SCHEDULES
from arjax.training.stopping import check_duration

#: Sections in one another, those of parts of parts included.
DEEPEST_SECTION = 50


def fields(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All fields as (`train.steps`, value), sorted by section; `prefix` begins all names."""
    if prefix.count(".") > DEEPEST_SECTION:
        raise UserError(f"the sections of a config hold one another without end: config.{prefix[:60]}...")
    try:
        names = list(config)  # sorted: a number among them cannot be compared
    except TypeError:
        names = [None]
    if not all(isinstance(name, str) for name in names):
        where = f"config.{prefix}".rstrip(".")
        raise UserError(f"{where} has a field that is named by no text: write {where}.name = value, not [3] = value")
    for key in names:
        value = config[key]
        if isinstance(value, ConfigDict):
            yield from fields(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def nearest_fields(name: str, known: Iterable[str]) -> str:
    """`, did you mean ...?`: the nearest fields of the section most like it, else in other sections; "" for none."""
    pairs = [known_name.rpartition(".")[::2] for known_name in known]
    section, _, leaf = name.rpartition(".")
    sections = {known_section for known_section, _ in pairs}
    section = section if section in sections else nearest(section, sorted(sections - {""}))
    near = nearest(leaf, [field for known_section, field in pairs if known_section == section])
    matches = [(section, near)] if near else [pair for pair in pairs if pair[1] == leaf]
    if not matches:
        near = nearest(leaf, [field for _, field in pairs])
        matches = [pair for pair in pairs if pair[1] == near]
    meant = " or ".join(repr(".".join(filter(None, pair))) for pair in matches)
    return f", did you mean {meant}?" if meant else ""


def missing_fields(config: ConfigDict) -> list[str]:
    """The sections and fields of all configs that one lacks. Options of a model are fields of its kind alone."""
    base, names = base_config(), {name for name, _ in fields(config)}
    sections = [name for name in base if isinstance(base[name], ConfigDict) and name not in config]
    is_usual = "model.kind" in names and config.model.kind == base.model.kind
    required = [name for name, _ in fields(base) if is_usual or not name.startswith("model.") or name == "model.kind"]
    return [*sections, *(name for name in required if name not in names)]


def check_types(config: ConfigDict) -> None:
    """Refuses a value of another type than its field declares, or out of range; components check their own options."""
    for name, value in fields(config):
        if name == "dataset.name" or name.endswith(("model.kind", "network.name")):
            check_type(value, "", f"config.{name}")
        for number in jax.tree.leaves(value):
            if isinstance(number, float) and not math.isfinite(number):
                raise UserError(f"config.{name} must be a finite number, not {number}")
    for place, section in ("", RunOptions), *SECTIONS.items():
        values = config.get(place, None) if place else config
        values = values if isinstance(values, ConfigDict) else {place: values}
        of_optax = "." in str(values.get("name", ""))  # a rule with names and ranges of its own
        names = [name for name in defaults(section) if not (of_optax and name in SHARED)]
        known = {name: values[name] for name in names if name in values}
        typed_fields(section, known, f"config.{place}.".replace("..", "."))


@dataclasses.dataclass(frozen=True)
class Checked:
    """A config that is checked, and the values that its names and call strings stand for, with all their options."""

    config: ConfigDict
    dataset: Component
    model: ModelChoice
    objective: Objective
    optimizer: Component
    schedule: Component
    sampler: Sampler


def validate(config: ConfigDict) -> Checked:
    """The values that a config stands for, without its data; `build_model` checks what depends on these."""
    check_fields(config)
    check_types(config)
    import_plugins(config.plugins)
    compile_regex(config.optimizer.decay_pattern, "config.optimizer.decay_pattern")
    checked = _read_names(config)
    check_duration(config.train.steps, config.train.examples, config.train.epochs)
    return checked


def validate_run(config: ConfigDict, workdir: str) -> Checked:
    """`validate` for the config in the folder of a run; asks for the config file where code of the user is missing."""
    try:
        return validate(config)
    except UnknownNameError as error:
        remedy = "add --config=FILE.py, the config file that registers your components"
        raise UserError(f"{remedy}: the run in {workdir} has an {error}") from error
    except UntrustedCodeError as error:
        remedy = (
            f"give --trust (arjax.open_run({str(workdir)!r}, trust=True)) or --config=FILE.py, or add its folder to"
        )
        message = f"the run in {workdir} would run {error.file}, which you have not trusted: if you know that file, "
        raise UntrustedCodeError(error.file, f"{message}{remedy} ${VARIABLE}") from error
    except PluginError as error:
        remedy = "add --config=FILE.py, or its new place, such as --config.plugins=\"('my_network in FOLDER',)\""
        raise UserError(f"the run in {workdir} needs {error}; {remedy}") from error


def check_fields(config: ConfigDict) -> None:
    """Exactly the fields of `base_config`; the options of data set, network and optimizer are checked elsewhere."""
    for name in missing_fields(config):
        raise UserError(f"the config lacks the field {name!r}: start from base_config()")
    known = sorted(name for name, _ in fields(base_config()))
    for name, _ in fields(config):
        if name not in known and not name.startswith(("dataset.", "network.", "optimizer.", "model.", "parts.")):
            raise UserError(f"unknown config field {name!r}{nearest_fields(name, known)}")


def _read_names(config: ConfigDict) -> Checked:
    """The values of names and call strings, each read here and nowhere else."""
    dataset, model, objective = read_dataset(config), read_model(config), make_objective(config.objective)
    _check_orders(config, objective)
    schedule, sampler = SCHEDULES.read(config.optimizer.schedule), make_sampler(config.sample.sampler)
    checked = Checked(config, dataset, model, objective, _read_rule(config.optimizer), schedule, sampler)
    read_writers(config.train.writers)
    usual = defaults(SECTIONS["evaluate"])
    for name in ("schedule", "choose"):
        if config.evaluate[name] != usual[name] and not config.evaluate.steps:
            say_once(f"config.evaluate.{name} has no effect without config.evaluate.steps, the number of rounds")
    return checked


def read_dataset(config: ConfigDict) -> Component:
    """The data set of `config.dataset`."""
    options = config.dataset.to_dict()
    if not options["name"]:
        raise UserError("the config names no dataset: set config.dataset")
    return DATASETS.component(options.pop("name"), options, "config.dataset")


def read_model(section: ConfigDict, name: str = "config") -> ModelChoice:
    """Kind, network and parts of a config, or of a part, which messages call `name`, with all their options."""
    _check_part(section, name)
    options = section.model.to_dict()
    kind = options.pop("kind")
    family = KINDS.get(kind)
    for option, registry in family.CALLS.items():
        if (text := options.get(option)) and isinstance(text, str):
            registry.get(parse_call(text)[0])  # refuses names that are not registered
    model = KINDS.component(kind, options, f"{name}.model")
    for option in sorted(model.keys() - options):
        field = f"{name}.model.{option}".removeprefix("config.")
        remedy = "start from base_config(), or make a part with part(...)"
        raise UserError(f"the config lacks the field {field!r}: {remedy}")
    networks, options = family.NETWORKS, section.network.to_dict()
    network = options.pop("name")
    if networks is not None:
        if not network:
            raise UserError(f"{name} names no {networks.kind}: set {name}.network")
        options = networks.component(network, options, f"{name}.network")
    parts = {part: read_model(section.parts[part], f"{name}.parts.{part}") for part in section.parts}
    return ModelChoice(kind, model, network, options, parts)


def _check_part(section: Any, name: str) -> None:
    if not isinstance(section, ConfigDict):
        raise UserError(f"{name} must be a part, made with part(...), not {section!r}")
    sections = ("model", "network", "parts")
    lacks = [each for each in sections if not isinstance(section.get(each, None), ConfigDict)]
    more = [each for each in section if each not in sections and "." in name]
    refuse(
        (lacks, f"{name} lacks the section {''.join(lacks[:1])!r}: make it with part(...)"),
        (more, f"{name} has no field {''.join(more[:1])!r}: a part has model, network and parts"),
        (not lacks and "kind" not in section.model, f"{name}.model names no kind: make it with model_config(...)"),
        (not lacks and "name" not in section.network, f"{name}.network has no name: make it with part(...)"),
    )


def _check_orders(config: ConfigDict, objective: Objective) -> None:
    """Refuses orders that the objective does not draw from, and an objective or an evaluation without orders."""
    kind, needs, such = config.model.kind, "needs_orders" in objective.traits, "such as uniform or pool(num=8)"
    has_orders = "orders" in KINDS.get(kind).CALLS
    orders = config.model.orders if has_orders else ""
    more = "" if has_orders else f", and the kind {kind!r} has none: take autoregressive"
    name, others = OBJECTIVES.name_of(type(objective)), objectives_with("needs_orders")
    several = config.evaluate.num_orders > 1
    refuse(
        (several and not orders, f"config.evaluate.num_orders above 1 needs config.model.orders, {such}"),
        (needs and not orders, f"the objective {name!r} needs config.model.orders, {such}{more}"),
        (orders and not needs, f"config.model.orders needs the objective {others}, not {config.objective!r}"),
    )


def _read_rule(section: ConfigDict) -> Component:
    """The rule of the section `optimizer`, which has the options of its rule and no others."""
    options = section.to_dict()
    name, common = options.pop("name"), defaults(SECTIONS["optimizer"])
    for key in options_of_rule(name):
        if key not in options:
            raise UserError(
                f"the config lacks optimizer.{key}, an option of the optimizer {name!r}: choose it in the config file, "
                f"with optimizer_config({name!r})"
            )
    of_rule = {key: value for key, value in options.items() if key in SHARED or key not in common}
    return read_rule(name, of_rule, "config.optimizer")
