"""The fields of a config: listing them, suggesting the nearest one, and checking the types of their values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from ml_collections import ConfigDict

from arjax.config.base import base_config
from arjax.core.errors import UserError
from arjax.core.registry import Registry, nearest
from arjax.core.values import check_type

#: Integers become int32 on devices; these do not, and have limits of their own.
LARGEST = {"seed": 2**32 - 1, "train.examples": 2**53}
LARGEST_INTEGER = 2**31 - 1


def fields(config: ConfigDict) -> Iterator[tuple[str, Any]]:
    """All fields as (`train.steps`, value), sorted by section."""
    for key in config:
        value = config[key]
        if isinstance(value, ConfigDict):
            yield from ((f"{key}.{name}", leaf) for name, leaf in fields(value))
        else:
            yield key, value


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
    """Raises `UserError` for the first field with a value of another type than in `base_config`, or too large.

    Options of data set, network and optimizer are compared with the defaults of those, where their names are known.
    """
    defaults = dict(fields(base_config())) | _option_defaults(config)
    for name, value in fields(config):
        check_type(value, defaults.get(name), f"config.{name}")
        for number in _numbers(value):
            if isinstance(number, float) and not math.isfinite(number):
                raise UserError(f"config.{name} must be a finite number, not {number}")
            largest = LARGEST.get(name, LARGEST_INTEGER)
            if isinstance(number, int) and abs(number) > largest:
                raise UserError(f"config.{name} must be at most {largest}, not {number}")


def _option_defaults(config: ConfigDict) -> dict[str, Any]:
    from arjax.data import DATASETS
    from arjax.training.optimizer import OPTIMIZERS, own_options

    found = _defaults_of("dataset", config, DATASETS) | _model_defaults(config)
    section = config.get("optimizer", None)
    if isinstance(section, ConfigDict) and section.get("name", None) in OPTIMIZERS.names():
        found |= {f"optimizer.{key}": default for key, default in own_options(section.name).items()}
    return found


def _defaults_of(
    name: str, parent: ConfigDict, registry: Registry, key: str = "name", prefix: str = ""
) -> dict[str, Any]:
    """The options of a component that a section names, with their defaults; nothing where it names none."""
    section = parent.get(name, None)
    if not isinstance(section, ConfigDict) or section.get(key, None) not in registry.names():
        return {}
    return {f"{prefix}{name}.{option}": default for option, default in registry.options(section[key]).items()}


def _model_defaults(parent: ConfigDict, prefix: str = "") -> dict[str, Any]:
    """The defaults of the sections `model` and `network` of a config or of a part, and of its own parts."""
    from arjax.models import MODEL_KINDS
    from arjax.models.kinds import networks_of

    found = {f"{prefix}model.kind": "", f"{prefix}network.name": ""} if prefix else {}
    found |= _defaults_of("model", parent, MODEL_KINDS, "kind", prefix)
    model, parts = parent.get("model", None), parent.get("parts", None)
    kind = model.get("kind", None) if isinstance(model, ConfigDict) else None
    networks = networks_of(kind) if kind in MODEL_KINDS.names() else None
    if networks is not None:
        found |= _defaults_of("network", parent, networks, prefix=prefix)
    for name in parts if isinstance(parts, ConfigDict) else ():
        if isinstance(parts[name], ConfigDict):
            found |= _model_defaults(parts[name], f"{prefix}parts.{name}.")
    return found


def _numbers(value: Any) -> Iterator[int | float]:
    """The numbers in a value: itself, or those in a tuple."""
    if isinstance(value, tuple):
        for element in value:
            yield from _numbers(element)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
