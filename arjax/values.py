"""Reads typed values from text, for config arguments and command-line overrides, and objects from JSON files."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

from arjax.errors import UserError

_BOOLEANS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}


def parse_value(text: str, like: Any, what: str) -> Any:
    """Reads `text` as a value of the type of `like`.

    Booleans are `true/false/yes/no/1/0`; integers may be written as `1e6`; tuples as `(64, 64)`, `64,64` or `64`, with
    elements of the type of those of `like` where they all have one.

    Args:
      text: what the user wrote.
      like: a value of the wanted type (bool, int, float, str or tuple).
      what: the words for the field in the error message, such as "config.seed".

    Raises:
      UserError: when the text does not read as that type.
    """
    if isinstance(like, str):
        return text
    readers = {bool: _boolean, int: _integer, float: float, tuple: _tuple}
    try:
        value = readers[type(like)](text)
        if isinstance(value, tuple):
            value = _elements_like(value, like)
    except (ValueError, SyntaxError, OverflowError) as error:
        hint = f" such as {like!r}" if isinstance(like, tuple) and like else ""
        names = {bool: "true or false", int: "an integer", float: "a number", tuple: "a tuple"}
        raise UserError(f"{what} must be {names[type(like)]}{hint}, not {text!r}") from error
    return value


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
    value = ast.literal_eval(text)
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


def read_json_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file, or None when there is no file or it holds anything else: half of one, or garbage."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # both decoding errors are ValueErrors
        return None
    return value if isinstance(value, dict) else None
