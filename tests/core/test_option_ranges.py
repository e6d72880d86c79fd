"""Every option of every component takes the values at the ends of its range, and refuses those beyond."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from typing import Any

import pytest

from arjax.cli.listing import REGISTRIES
from arjax.core.errors import UserError
from arjax.core.options import Option
from arjax.core.registry import Registry

OPTIONS = [(kind, registry, name) for kind, registry in REGISTRIES.items() for name in registry]


def taken(option: Option) -> list[Any]:
    """Values at the ends of the range; of a tuple, with the fewest numbers."""
    if isinstance(option.default, tuple):
        numbers = [
            type(n)(end) for n in option.default[:1] for end in (option.least, option.most) if math.isfinite(end)
        ]
        return [option.default, *((n,) * max(option.fewest, 1) for n in numbers)]
    if option.choices or isinstance(option.default, str | bool):
        return [option.default, *option.choices]
    return [option.default, *(type(option.default)(end) for end in (option.least, option.most) if math.isfinite(end))]


def refused(option: Option) -> Iterator[Any]:
    """Values beyond the range, one by one, and of another type."""
    default = option.default
    if isinstance(default, tuple):
        yield from (default[0] if default else 8, "none")
        if option.fewest:
            yield (default[0],) * (option.fewest - 1)
        if default:
            yield from ((n,) * len(default) for n in beyond(option, type(default[0])))
    elif isinstance(default, bool):
        yield from (1, "yes")
    elif isinstance(default, str):
        yield 1
        if option.choices:
            yield "another"
    else:
        yield from ("none", True, *beyond(option, type(default)))


def beyond(option: Option, kind: type) -> Iterator[Any]:
    step = 1 if kind is int else 1e-3
    yield from (kind(end + sign * step) for end, sign in ((option.least, -1), (option.most, 1)) if math.isfinite(end))
    yield from (kind(end) for end in (option.above, option.below) if math.isfinite(end))
    yield 1.5 if kind is int else "none"


@pytest.mark.parametrize(("kind", "registry", "name"), OPTIONS, ids=[f"{kind}-{name}" for kind, _, name in OPTIONS])
def test_ranges(kind, registry: Registry, name):
    for key, option in registry.declarations(name).items():
        if option.default is None or option.default is inspect.Parameter.empty:
            continue
        for value in taken(option):
            registry.typed(name, {key: value})
        for value in refused(option):
            with pytest.raises(UserError, match=f"'{key}'"):
                registry.typed(name, {key: value})
                pytest.fail(f"{key}={value!r} of {name} is not refused")
