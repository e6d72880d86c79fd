"""Registries for one test: what it registers is gone behind it."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

from arjax.core.registry import Registry


@contextlib.contextmanager
def within(registry: Registry, without: Collection[str] = ()) -> Iterator[None]:
    """Hides the names `without` in the body; afterwards the registry is as before, whatever was registered."""
    before = registry._entries, registry._origins, registry._disputed
    registry._entries = {name: entry for name, entry in registry._entries.items() if name not in without}
    registry._origins, registry._disputed = dict(registry._origins), dict(registry._disputed)
    try:
        yield
    finally:
        registry._entries, registry._origins, registry._disputed = before
