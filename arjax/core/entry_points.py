"""Installed packages that register components: those with an entry point in the group `arjax.plugins`."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata

from arjax.core.errors import UserError
from arjax.core.installed import GROUP, distributions
from arjax.core.trust import admit
from arjax.core.user_code import importing_admitted


@dataclasses.dataclass(frozen=True)
class Failure:
    """An entry point that could not be imported.

    Attributes:
      sentence: its name, that of its package, and the reason.
      error: the exception of the import.
    """

    sentence: str
    error: BaseException


@functools.cache
def load_entry_points() -> tuple[Failure, ...]:
    """Imports all of them, once in a process; returns those that failed. An entry point of a function calls it.

    This takes time, so it is called only when a name is missing or all names are listed. A module in the current folder
    that hides an installed one is not imported.
    """
    failures = []
    for point in _points():
        try:
            with importing_admitted(admit):
                found = point.load()
                if point.attr:
                    found()
        except (Exception, SystemExit) as error:  # code of another package: it can raise anything
            reason = str(error) if isinstance(error, UserError) else describe(error)
            package = f"package {point.dist.name!r}" if point.dist else f"entry point {point.value!r}"
            failures.append(Failure(f"the plugin {point.name!r} of the {package} cannot be imported: {reason}", error))
    return tuple(failures)


def entry_point_modules() -> set[str]:
    """The modules that the entry points name."""
    return {point.module for point in _points()}


def _points() -> list[importlib.metadata.EntryPoint]:
    """The entry points of installed packages, sorted; of a package that is found twice, the first."""
    found: dict[str, importlib.metadata.Distribution] = {}
    for each in distributions():
        found.setdefault(each.name, each)
    points = [point for each in found.values() for point in each.entry_points if point.group == GROUP]
    return sorted(points, key=lambda point: point.name)


def describe(error: BaseException) -> str:
    """`ValueError: the first line of its message`."""
    lines = str(error).strip().splitlines()
    return type(error).__name__ + (f": {lines[0]}" if lines else "")
