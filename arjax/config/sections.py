"""The fields of a config. The sections of every config are dataclasses whose fields are the options of a run, each with
its default and range; `train`, `evaluate` and `optimizer` are declared where they are used, in `arjax.training`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any

import jax
from ml_collections import ConfigDict

from arjax.config.base import base_config
from arjax.core.errors import UserError, nearest
from arjax.core.options import defaults, opt, seed_option, typed_fields
from arjax.core.values import check_type
from arjax.evaluation.inpainting import HALVES
from arjax.evaluation.suggestions import SuggestOptions
from arjax.models.kinds import DTYPES
from arjax.samplers.request import DrawOptions
from arjax.training.optimizer import SHARED, OptimizerOptions
from arjax.training.setup import EvaluateOptions, TrainOptions


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """The fields outside of all sections."""

    seed: int = seed_option()
    plugins: tuple[str, ...] = opt((), about="packages and modules that register components")
    dtype: str = opt("float32", choices=DTYPES, about="compute type of the network; parameters are float32")
    objective: str = opt("teacher_forcing", about="a call string")


@dataclasses.dataclass(frozen=True)
class SampleOptions(DrawOptions):
    """The samples of a run."""

    num: int = opt(16, about="examples")
    sampler: str = opt("cached", about="a call string")


@dataclasses.dataclass(frozen=True)
class InpaintOptions:
    """Completions of images."""

    hidden: str = opt("bottom", choices=tuple(HALVES), about="the half that is completed")
    visible: str = opt("rest", choices=("rest", "nothing"), about="what the model sees")
    num: int = opt(8, about="images")
    completions: int = opt(6, about="completions of each image")


@dataclasses.dataclass(frozen=True)
class MeshOptions:
    """The devices."""

    data: int = opt(-1, least=-1, about="-1: all devices that the other axes leave")
    fsdp: int = 1
    tensor: int = 1
    rules: tuple[Any, ...] = opt((), about="(): the default sharding rules")


#: The sections of a config by name; those of data set, model, network and parts depend on their components.
SECTIONS: dict[str, type] = {
    "optimizer": OptimizerOptions,
    "train": TrainOptions,
    "evaluate": EvaluateOptions,
    "sample": SampleOptions,
    "inpaint": InpaintOptions,
    "suggest": SuggestOptions,
    "mesh": MeshOptions,
}

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
    """`, did you mean 'train.steps'?`: the fields nearest to `name`, "" when none is near.

    Of the same section (or the one most like it), else of this name in other sections, else of a name like it.
    """
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
