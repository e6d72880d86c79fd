"""Reads typed values: from the text of arguments, overrides and call strings, and from JSON in files of others."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import itertools
import json
import math
import re
import types
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from arjax.core.errors import UserError

_BOOLEANS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
_TYPE_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "a text", tuple: "a tuple"}
_JSON_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list"}
_JSON_NAMES |= {dict: "an object", types.NoneType: "null"}
#: Largest depth of nested objects and arrays in a JSON file.
_DEEPEST = 50


def parse_value(text: str, like: Any, field: str) -> Any:
    """Reads `text` as a value of the type of `like`. Booleans are `true/false/yes/no/1/0`; integers may be written as
    `1e6`; tuples as `(64, 64)`, `64,64` or `64`, with elements of the type of the elements of `like` if these share
    one; texts in them need no quotation marks. `field`, such as "config.seed", begins the sentence about another text.
    """
    readers: dict[type, Callable[[str], Any]] = {int: _integer, float: float, str: str, tuple: _tuple}
    readers[bool] = lambda text: _BOOLEANS[text.lower()]
    try:
        value = readers[_type_of(like) or type(like)](text)
        return _elements_like(value, like) if isinstance(value, tuple) else value
    except (KeyError, ValueError, OverflowError) as error:
        raise UserError(_wrong_type(text, like, field)) from error


def check_type(value: Any, like: Any, field: str) -> None:
    """Checks that a value is allowed in a config, with the type of `like` where that is such a value. Integers pass as
    floats. Elements of tuples have the type of the elements of `like` if these share one.
    """
    kind = _type_of(like)
    if kind is None:
        if not is_value(value):
            raise UserError(f"{field} must be true or false, a number, a text or a tuple of those, not {value!r}")
        return
    has_kind = isinstance(value, int | float if kind is float else kind)
    try:
        if not has_kind or not is_value(value) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(value)
        if kind is tuple:
            _elements_like(value, like)
    except ValueError as error:
        raise UserError(_wrong_type(value, like, field)) from error


def as_typed(value: Any, like: Any, field: str) -> Any:
    """Returns a value from Python or a call string, checked as by `check_type`: lists become tuples, integers floats,
    and numpy scalars Python's. Anything passes where `like` is not a value (an option without a default).
    """
    value = as_tuples(value)
    if _type_of(like) is None:
        return value
    check_type(value, like, field)
    try:
        return float(value) if isinstance(like, float) else value
    except OverflowError as error:
        raise UserError(_wrong_type(value, like, field)) from error


def as_tuples(value: Any) -> Any:
    """Returns lists as tuples and numpy scalars as Python's, at any depth, also in dicts."""
    if isinstance(value, dict):
        return {key: as_tuples(part) for key, part in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    return tuple(map(as_tuples, value)) if isinstance(value, list | tuple) else value


def _type_of(like: Any) -> type | None:
    """Returns the type of a config's values that a value has; None for other types."""
    return next((kind for kind in _TYPE_NAMES if isinstance(like, kind)), None)


def is_value(value: Any) -> bool:
    """Returns whether a config can hold it: true or false, a number, a text, or a tuple of those."""
    return all(map(is_value, value)) if isinstance(value, tuple) else isinstance(value, bool | int | float | str)


def _wrong_type(value: Any, like: Any, field: str) -> str:
    hint = f" such as {like!r}" if isinstance(like, tuple) and like else ""
    kind, shown = _type_of(like), repr(value)
    assert kind is not None, "only values of configs are compared"
    return f"{field} must be {_TYPE_NAMES[kind]}{hint}, not {shown if len(shown) < 100 else shown[:100] + '...'}"


def parse_expression(text: str) -> ast.expr:
    """Returns the Python expression in a text; raises `ValueError` without one, or if it is nested too deeply."""
    try:
        with warnings.catch_warnings(action="ignore"):  # about escape sequences and the like
            return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError("no expression") from error


def parse_literal(expression: ast.expr) -> Any:
    """Returns the value of an expression of literals; raises `ValueError` for any other, also for `{[]: 0}`."""
    try:
        return ast.literal_eval(expression)
    except (TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError("no literal") from error


def compile_regex(pattern: str, name: str) -> re.Pattern:
    """Returns the compiled regular expression."""
    try:
        with warnings.catch_warnings(action="ignore"):  # about sets inside sets
            return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"{name} is not a regular expression: {pattern!r} ({error})") from error


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        number = float(text)  # 1e6
        if not number.is_integer():
            raise
        return int(number)


def _tuple(text: str) -> tuple:
    try:
        value = parse_literal(parse_expression(text))
    except ValueError:  # texts without quotation marks: `a:real,b:tokens`, `(a,b)`
        text = text[1:-1] if text[:1] == "(" and text[-1:] == ")" else text
        if not re.fullmatch(r"[\w.:/-]+(,[\w.:/-]+)*,?", text):
            raise
        value = tuple(text.rstrip(",").split(","))
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def _elements_like(value: tuple, like: tuple) -> tuple:
    """Checks that the elements have the type of the elements of `like`, if these share one; integers pass as floats."""
    types = {type(element) for element in like}
    if len(types) != 1:
        return value
    (kind,) = types
    if kind is float:
        value = tuple(float(v) if type(v) is int else v for v in value)
    if any(type(element) is not kind for element in value):
        raise ValueError(value)
    return value


def parse_json(text: str | bytes) -> Any:
    """Returns the value of a JSON text; raises `ValueError` for other texts, or if it is nested too deeply."""
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    layer = [value]
    for _ in range(_DEEPEST):
        wholes = (each.values() if isinstance(each, dict) else each for each in layer if isinstance(each, dict | list))
        layer = list(itertools.chain.from_iterable(wholes))
    if layer:
        raise ValueError("nested too deeply")
    return value


def parse_call(text: str) -> tuple[str, dict[str, Any]]:
    """Splits `name(key=value, ...)` into the name and its literal keyword options."""
    with contextlib.suppress(ValueError):
        node = parse_expression(text) if isinstance(text, str) else None
        if isinstance(node, ast.Name):
            return node.id, {}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
            names = [keyword.arg for keyword in node.keywords]
            if None not in names and len(set(names)) == len(names):  # no **options, and no option twice
                return node.func.id, {str(k.arg): parse_literal(k.value) for k in node.keywords}
    shown = repr(text) if len(str(text)) < 200 else repr(str(text)[:200]) + "..."
    raise UserError(f"cannot read {shown}: write a name, or name(option=value, ...) with literal values")


def read_typed(kind: Any, value: Any, place: str) -> Any:
    """Returns a value of JSON as one of a type; `place` begins messages, such as "model/network".

    Types are those of JSON (`list` and `dict` with anything in them), `Any`, `tuple[X, ...]`, `dict[str, X]`, unions of
    these, dataclasses and `TypedDict`s: objects with an entry for each field that has no default, and no other entry.
    True and false are not numbers; a whole number counts as a number, and infinities and nan do not.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and types.NoneType in arguments:
            return None
        inner = [each for each in arguments if each is not types.NoneType]
        return read_typed(inner[0], value, place) if len(inner) == 1 else _checked(value, place, *arguments)
    if kind is Any:
        return as_tuples(value)
    if origin is tuple:
        return tuple(
            read_typed(arguments[0], each, f"{place}/{i}") for i, each in enumerate(_checked(value, place, list))
        )
    if origin is dict:
        entries = _checked(value, place, dict)
        return {name: read_typed(arguments[1], each, f"{place}/{name}") for name, each in entries.items()}
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
    return kind, read_typed(kinds[kind], entries, place)


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
    return kind(**{name: read_typed(hints[name], value[name], f"{place}/{name}") for name in names if name in value})


def _checked(value: Any, place: str, *kinds: type) -> Any:
    kind = type(value)
    fine = kind in kinds or (kind is int and float in kinds)
    if not fine or (kind is float and not math.isfinite(value)):
        shown = repr(value) if len(repr(value)) < 60 else repr(value)[:60] + "..."
        raise UserError(f"{place} must be {' or '.join(_JSON_NAMES[kind] for kind in kinds)}, not {shown}")
    return value


def largest_sizes(value: Any, key: str = "") -> Iterator[tuple[str, int]]:
    """Yields the numbers and the lengths in a value of JSON, and in its call strings, each with its key."""
    if isinstance(value, int) and not isinstance(value, bool):
        yield key, abs(value)
    elif isinstance(value, str) and "(" in value:
        with contextlib.suppress(UserError):  # a text that is no call string
            yield from largest_sizes(parse_call(value)[1], key)
    elif isinstance(value, list | tuple | Mapping):
        yield key, len(value)
        for name, part in value.items() if isinstance(value, Mapping) else ((key, part) for part in value):
            yield from largest_sizes(part, str(name))
