"""Every option of every component refuses values of another type or out of its range, in a sentence that names it."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest

from arjax.cli.listing import REGISTRIES
from arjax.core.errors import UserError
from arjax.core.options import Option
from arjax.core.registry import Registry

COMPONENTS = [pytest.param(r, name, id=f"{kind}-{name}") for kind, r in REGISTRIES.items() for name in r]


def wrong_types(like: Any) -> list[Any]:
    if like is inspect.Parameter.empty:
        return []
    if isinstance(like, tuple):
        return [3, "3", *([(None,), (*like, ())] if like else [])]
    if isinstance(like, bool):
        return [0, "yes", None, ()]
    return [True, None, (), *([3] if isinstance(like, str) else ["3"]), *([1.5] if isinstance(like, int) else [])]


def out_of_range(option: Option) -> list[Any]:
    """The nearest values beyond each end, others than the choices, and tuples that are too short."""
    element = option.like[0] if isinstance(option.like, tuple) and option.like else option.like
    wrong: list[Any] = ["no such choice"] if option.choices and isinstance(element, str) else []
    if isinstance(element, int) and not isinstance(element, bool):
        wrong += [int(end) for end in (option.least - 1, option.most + 1) if math.isfinite(end)]
    elif isinstance(element, float):
        below, above = math.nextafter(option.least, -math.inf), math.nextafter(option.most, math.inf)
        wrong += [below, above, option.above, option.below, math.inf, -math.inf, math.nan]
    if isinstance(option.like, tuple):
        wrong = [(value,) * max(option.fewest, 1) for value in wrong]
        wrong += [option.like[:1] * (option.fewest - 1)] if option.fewest else []
    return wrong


@pytest.mark.parametrize(("registry", "name"), COMPONENTS)
def test_values_of_another_type_or_range_are_refused(registry: Registry, name: str):
    for option, declaration in registry.declarations(name).items():
        for value in [*wrong_types(declaration.like), *out_of_range(declaration)]:
            with pytest.raises(UserError, match=rf"the option '{option}' of the .*'{name}' must (be|have) ") as refusal:
                registry.typed(name, {option: value})
            assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("registry", "name"), COMPONENTS)
def test_defaults_and_the_ends_of_a_range_pass(registry: Registry, name: str):
    for option, declaration in registry.declarations(name).items():
        like, values = declaration.like, [*declaration.choices]
        if isinstance(like, tuple):
            values = [(choice,) for choice in values]
        if declaration.default is not inspect.Parameter.empty:
            values += [declaration.default]
        if isinstance(like, int | float) and not isinstance(like, bool) and not declaration.choices:
            ends = [end for end in (declaration.least, declaration.most) if math.isfinite(end)]
            values += [type(like)(end) for end in ends if declaration.above < end < declaration.below]
        for value in values:
            assert registry.typed(name, {option: value}) == {option: value}
