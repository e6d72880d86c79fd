"""Names of an earlier release: they go on for one release, and one line on stderr says the new name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from arjax.core.errors import did_you_mean
from arjax.core.output import say_once


def tell_renamed(old: str, new: str) -> None:
    """Says on stderr, once in a process, that a name in use is an old one."""
    say_once(f"{old} is now called {new}; the old name goes with the next release")


def renamed_names(module: str, names: Mapping[str, tuple[str, Any]]) -> Callable[[str], Any]:
    """A `__getattr__` for a module whose public names have changed, from each old name to the new one and its value.

    It is used as in `__getattr__ = renamed_names(__name__, {"Choice": ("ModelChoice", ModelChoice)})`.
    """

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}{did_you_mean(name, names)}")
        new, value = names[name]
        tell_renamed(f"{module}.{name}", new)
        return value

    return find
