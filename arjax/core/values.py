"""Reads typed values: from the text of arguments and overrides, and from JSON."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from arjax.core.errors import UserError

_BOOLEANS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
_TYPE_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "a text", tuple: "a tuple"}
#: Largest depth of nested objects and arrays in a JSON file; the files of arjax are far below.
_DEEPEST = 50


def parse_value(text: str, like: Any, field: str) -> Any:
    """Reads `text` as a value of the type of `like`.

    Booleans are `true/false/yes/no/1/0`; integers may be written as `1e6`; tuples as `(64, 64)`, `64,64` or `64`, with
    elements of the type of those of `like` where they all have one; texts in them need no quotation marks. Raises
    `UserError` when the text does not read as that type; `field` are the words in it, such as "config.seed".
    """
    readers: dict[type, Callable[[str], Any]] = {bool: _boolean, int: _integer, float: float, str: str, tuple: _tuple}
    try:
        value = readers[_type_of(like) or type(like)](text)
        return _elements_like(value, like) if isinstance(value, tuple) else value
    except (ValueError, OverflowError) as error:
        raise UserError(_wrong_type(text, like, field)) from error


def check_type(value: Any, like: Any, field: str) -> None:
    """Raises `UserError` unless a value is allowed in a config, with the type of `like` where that is such a value.

    Integers pass as floats. Elements of tuples have the type of those of `like` where they all have one.
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
    """A value given from Python or by a call string, checked as `check_type` does: lists as tuples, integers as floats,
    and scalars of numpy as those of Python.

    Where `like` is no value (an option without a default), anything passes.
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
    """Lists as tuples and scalars of numpy as those of Python, at any depth, as no config holds them; also in dicts."""
    if isinstance(value, dict):
        return {key: as_tuples(part) for key, part in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    return tuple(map(as_tuples, value)) if isinstance(value, list | tuple) else value


def _type_of(like: Any) -> type | None:
    """The type of a config's values that a value has; None: it has no such type."""
    return next((kind for kind in _TYPE_NAMES if isinstance(like, kind)), None)


def is_value(value: Any) -> bool:
    """Whether a config can hold it: true or false, a number, a text, or a tuple of those."""
    return all(map(is_value, value)) if isinstance(value, tuple) else isinstance(value, bool | int | float | str)


def _wrong_type(value: Any, like: Any, field: str) -> str:
    hint = f" such as {like!r}" if isinstance(like, tuple) and like else ""
    kind, shown = _type_of(like), repr(value)
    assert kind is not None, "only values of configs are compared"
    return f"{field} must be {_TYPE_NAMES[kind]}{hint}, not {shown if len(shown) < 100 else shown[:100] + '...'}"


def parse_expression(text: str) -> ast.expr:
    """The Python expression that a text is; raises `ValueError` when it is none, or nested too deeply to be read."""
    try:
        with warnings.catch_warnings(action="ignore"):  # about escape sequences and the like
            return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError("no expression") from error


def parse_literal(expression: ast.expr) -> Any:
    """The value of an expression of literals; raises `ValueError` for any other, and one that cannot be: `{[]: 0}`."""
    try:
        return ast.literal_eval(expression)
    except (TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError("no literal") from error


def compile_regex(pattern: str, name: str) -> re.Pattern:
    """The compiled regular expression; raises `UserError` when it is none."""
    try:
        with warnings.catch_warnings(action="ignore"):  # about sets inside sets
            return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"{name} is not a regular expression: {pattern!r} ({error})") from error


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError(text)
    return _BOOLEANS[text.lower()]


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
    """Checks the elements against those of `like` when these are all of one type; integers pass as floats."""
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
    """The value of a JSON text; raises `ValueError` when it is none, or nested too deeply."""
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    layer = [value]
    for _ in range(_DEEPEST):
        layer = [
            part
            for whole in layer
            if isinstance(whole, dict | list)
            for part in (whole.values() if isinstance(whole, dict) else whole)
        ]
    if layer:
        raise ValueError("nested too deeply")
    return value
