"""Objects of JSON in files of others, read strictly: each entry has its type, and none is left over."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from arjax.core.errors import UserError

_REQUIRED = object()
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list"}
_WORDS |= {dict: "an object", type(None): "null"}


class JsonObject:
    """The entries of an object, each of which is taken once."""

    def __init__(self, value: Any, place: str):
        """`place`: the words for it in messages, such as "model/network". Raises `UserError` where it is no object."""
        self.place = place
        self._left = dict(checked(value, place, dict))

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, *kinds: type, default: Any = _REQUIRED) -> Any:
        """The entry of that name, of one of these types (any without), see `checked`; `UserError` where there is none
        and no `default`.
        """
        if name not in self._left:
            if default is _REQUIRED:
                raise UserError(f"{self.place} lacks {name!r}")
            return default
        value = self._left.pop(name)
        return checked(value, f"{self.place}/{name}", *kinds) if kinds else value

    def count(self, name: str, least: int = 0, default: Any = _REQUIRED) -> int:
        """A whole number, `least` or more."""
        value = self.take(name, int, default=default)
        if value < least:
            raise UserError(f"{self.place}/{name} must be at least {least}, not {value}")
        return value

    def items(self, name: str, kind: type) -> list[Any]:
        """A list of values of one type."""
        values = self.take(name, list)
        return [checked(value, f"{self.place}/{name}/{i}", kind) for i, value in enumerate(values)]

    def object(self, name: str) -> JsonObject:
        """An entry that is an object itself."""
        return JsonObject(self.take(name), f"{self.place}/{name}")

    def objects(self, name: str) -> list[JsonObject]:
        """A list of objects."""
        return [JsonObject(value, f"{self.place}/{name}/{i}") for i, value in enumerate(self.take(name, list))]

    def rest(self) -> Iterator[tuple[str, Any]]:
        """All entries that are left; they are taken."""
        while self._left:
            yield self._left.popitem()

    def end(self) -> None:
        """Raises `UserError` where an entry is left."""
        if self._left:
            raise UserError(f"{self.place} has the unknown entry {min(self._left)!r}")


def checked(value: Any, place: str, *kinds: type) -> Any:
    """The value, of one of these types of JSON, else a `UserError`.

    True and false are no numbers; a whole number counts as a number, and infinities and nan count as none.
    """
    kind = type(value)
    fine = kind in kinds or (kind is int and float in kinds)
    if not fine or (kind is float and not math.isfinite(value)):
        shown = repr(value) if len(repr(value)) < 60 else repr(value)[:60] + "..."
        raise UserError(f"{place} must be {' or '.join(_WORDS[kind] for kind in kinds)}, not {shown}")
    return value


def largest_sizes(value: Any, key: str = "") -> Iterator[tuple[str, int]]:
    """The numbers and the lengths in a value of JSON, each with the key under which it stands."""
    if isinstance(value, int) and not isinstance(value, bool):
        yield key, abs(value)
    elif isinstance(value, list | Mapping):
        yield key, len(value)
        for name, part in value.items() if isinstance(value, Mapping) else ((key, part) for part in value):
            yield from largest_sizes(part, str(name))
