"""The fields of a config: listing them, suggesting the nearest one, and checking the types of their values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import jax
from ml_collections import ConfigDict

from arjax.config.base import base_config
from arjax.core.errors import UserError, nearest
from arjax.core.integers import MOST_ORDERS, MOST_SUGGESTIONS, check_size, largest
from arjax.core.registry import Registry
from arjax.core.values import check_type

#: The largest integers of fields with others than `arjax.core.integers.largest` gives. Steps are int32 on devices.
LARGEST = {"train.steps": 2**31 - 1, "train.examples": 2**53, "evaluate.num_orders": MOST_ORDERS}
LARGEST |= dict.fromkeys(("suggest.num", "suggest.length", "suggest.beams"), MOST_SUGGESTIONS)
LARGEST |= dict.fromkeys(("train.batch_size", "evaluate.batch_size"), 1_000_000)  # short splits are filled up

#: Sections in one another, those of parts of parts included.
DEEPEST_SECTION = 50


def fields(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All fields as (`train.steps`, value), sorted by section; `prefix` begins all names.

    Raises `UserError` for a name that is no text, or sections in one another without end.
    """
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
    sections = {own for own, _ in pairs}
    section = section if section in sections else nearest(section, sorted(sections - {""}))
    near = nearest(leaf, [field for own, field in pairs if own == section])
    found = [(section, near)] if near else [pair for pair in pairs if pair[1] == leaf]
    if not found:
        near = nearest(leaf, [field for _, field in pairs])
        found = [pair for pair in pairs if pair[1] == near]
    meant = " or ".join(repr(".".join(filter(None, pair))) for pair in found)
    return f", did you mean {meant}?" if meant else ""


def check_types(config: ConfigDict) -> None:
    """Raises `UserError` for the first field with a value of another type than in `base_config`, too large, or of a
    type that no field has.

    Options of data set, network, model and optimizer are compared with the declarations of those, where their names are
    known.
    """
    known = dict(fields(base_config()))
    for name, value in fields(config):
        of_part = name.startswith("parts.") and name.endswith((".model.kind", ".network.name"))
        if name in known or of_part:
            check_type(value, known.get(name, ""), f"config.{name}")
            check_size(value, LARGEST.get(name, largest(name)), f"config.{name}")
        for number in jax.tree.leaves(value):
            if isinstance(number, float) and not math.isfinite(number):
                raise UserError(f"config.{name} must be a finite number, not {number}")
    for place, registry, key, section in component_sections(config):
        options = {name: section[name] for name in section if name != key}
        registry.typed(section[key], options, f"config.{place}")


def component_sections(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Registry, str, ConfigDict]]:
    """The sections of a config, and of its parts, that name a registered component: as (place, registry, field with the
    name, section), the place being `network` or `parts.prior.network`.
    """
    from arjax.data import DATASETS
    from arjax.models import KINDS
    from arjax.training.optimizer import OPTIMIZERS

    model, parts = config.get("model", None), config.get("parts", None)
    kind = model.get("kind", None) if isinstance(model, ConfigDict) else None
    found: list[tuple[str, Registry | None, str]] = [("model", KINDS, "kind")]
    found += [] if prefix else [("dataset", DATASETS, "name"), ("optimizer", OPTIMIZERS, "name")]
    found += [("network", KINDS.get(kind).NETWORKS, "name")] if kind in KINDS.names() else []
    for name, registry, key in found:
        section = config.get(name, None)
        if registry is not None and isinstance(section, ConfigDict) and registry.knows(section.get(key, None)):
            yield f"{prefix}{name}", registry, key, section
    for name in parts if isinstance(parts, ConfigDict) else ():
        if isinstance(parts[name], ConfigDict):
            yield from component_sections(parts[name], f"{prefix}parts.{name}.")
