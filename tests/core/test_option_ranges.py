"""Every option of every component takes the values at the ends of its range, and refuses those beyond."""

import inspect
import math
from typing import Any

import pytest

from arjax.cli.listing import REGISTRIES
from arjax.core.errors import UserError
from arjax.core.options import Option
from arjax.core.registry import Registry

OPTIONS = [(kind, registry, name) for kind, registry in REGISTRIES.items() for name in registry]


def ends(option: Option) -> list[float]:
    """The ends of the range that belong to it."""
    return [end for end in (option.least, option.most) if math.isfinite(end)]


def beyond(option: Option, number: type) -> list[Any]:
    """Numbers just outside of the range, and a value that is no number."""
    step = 1 if number is int else 1e-3
    outside = [end + sign * step for end, sign in ((option.least, -1), (option.most, 1)) if math.isfinite(end)]
    outside += [end for end in (option.above, option.below) if math.isfinite(end)]
    return [*map(number, outside), "none"]


def values(option: Option) -> tuple[list[Any], list[Any]]:
    """Values that an option takes, and values that it refuses."""
    default = option.default
    if isinstance(default, bool):
        return [True, False], [1, "yes"]
    if isinstance(default, str):
        return [default, *option.choices], [1, *(["another"] if option.choices else [])]
    if not isinstance(default, tuple):
        number = type(default)
        return [default, *map(number, ends(option))], [*beyond(option, number), *([1.5] if number is int else [])]
    too_few = [default[:1] * (option.fewest - 1)] if option.fewest else []
    if not default or isinstance(default[0], str):
        return [default], [7, *too_few]
    size, number = max(option.fewest, 1), type(default[0])
    in_range = [(number(end),) * size for end in ends(option)]
    return [default, *in_range], [7, *too_few, *((wrong,) * size for wrong in beyond(option, number))]


@pytest.mark.parametrize(("kind", "registry", "name"), OPTIONS, ids=[f"{kind}-{name}" for kind, _, name in OPTIONS])
def test_values_in_and_out_of_range(kind, registry: Registry, name):
    for key, option in registry.declarations(name).items():
        if option.default is None or option.default is inspect.Parameter.empty:
            continue
        taken, refused = values(option)
        for value in taken:
            registry.typed(name, {key: value})
        for value in refused:
            with pytest.raises(UserError, match=f"'{key}'"):
                registry.typed(name, {key: value})
                pytest.fail(f"{key}={value!r} of {name} is not refused")
