"""Values of JSON in files of others, read strictly as the types that a program declares for them."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from arjax.core.errors import UserError
from arjax.core.registry import parse_call
from arjax.core.values import as_tuples

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list"}
_WORDS |= {dict: "an object", types.NoneType: "null"}


def read(kind: Any, value: Any, place: str) -> Any:
    """Returns a value of JSON as one of a type; `place` begins messages, such as "model/network".

    Types are those of JSON (`list` and `dict` with anything in them), `Any`, `tuple[X, ...]`, `dict[str, X]`, unions of
    these, dataclasses and `TypedDict`s: objects with an entry for each field that has no default, and no other entry.
    True and false are no numbers; a whole number counts as a number, and infinities and nan count as none.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and types.NoneType in arguments:
            return None
        inner = [each for each in arguments if each is not types.NoneType]
        return read(inner[0], value, place) if len(inner) == 1 else _checked(value, place, *arguments)
    if kind is Any:
        return as_tuples(value)
    if origin is tuple:
        return tuple(read(arguments[0], each, f"{place}/{i}") for i, each in enumerate(_checked(value, place, list)))
    if origin is dict:
        entries = _checked(value, place, dict)
        return {name: read(arguments[1], each, f"{place}/{name}") for name, each in entries.items()}
    if dataclasses.is_dataclass(kind) or typing.is_typeddict(kind):
        return _read_fields(kind, _checked(value, place, dict), place)
    value = _checked(value, place, kind)
    return float(value) if kind is float else value


def read_one_of(kinds: Mapping[str, Any], value: Any, place: str) -> tuple[str, Any]:
    """Returns the entry `kind` of an object, one of these names, and its other entries as the type of that name."""
    entries = dict(_checked(value, place, dict))
    kind = entries.pop("kind", None)
    if not isinstance(kind, str) or kind not in kinds:
        raise UserError(f"{place}/kind must be one of {', '.join(kinds)}, not {kind!r}")
    return kind, read(kinds[kind], entries, place)


def _read_fields(kind: Any, value: Mapping[str, Any], place: str) -> Any:
    required = getattr(kind, "__required_keys__", None)
    if required is None:
        required = {f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING}
    hints = typing.get_type_hints(kind)
    names = hints if typing.is_typeddict(kind) else {field.name for field in dataclasses.fields(kind)}
    if lacking := sorted(required - value.keys()):
        raise UserError(f"{place} lacks {lacking[0]!r}")
    if unknown := sorted(value.keys() - set(names)):
        raise UserError(f"{place} has the unknown entry {unknown[0]!r}")
    return kind(**{name: read(hints[name], value[name], f"{place}/{name}") for name in names if name in value})


def _checked(value: Any, place: str, *kinds: type) -> Any:
    kind = type(value)
    fine = kind in kinds or (kind is int and float in kinds)
    if not fine or (kind is float and not math.isfinite(value)):
        shown = repr(value) if len(repr(value)) < 60 else repr(value)[:60] + "..."
        raise UserError(f"{place} must be {' or '.join(_WORDS[kind] for kind in kinds)}, not {shown}")
    return value


def largest_sizes(value: Any, key: str = "") -> Iterator[tuple[str, int]]:
    """Yields the numbers and the lengths in a value of JSON, and in its call strings, each with its key."""
    if isinstance(value, int) and not isinstance(value, bool):
        yield key, abs(value)
    elif isinstance(value, str) and "(" in value:
        yield from largest_sizes(_options_in(value), key)
    elif isinstance(value, list | tuple | Mapping):
        yield key, len(value)
        for name, part in value.items() if isinstance(value, Mapping) else ((key, part) for part in value):
            yield from largest_sizes(part, str(name))


def _options_in(text: str) -> Mapping[str, Any]:
    try:
        return parse_call(text)[1]
    except UserError:  # a text that is no call string
        return {}
