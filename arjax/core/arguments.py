"""Arguments of the functions that users call from Python: their names, and the types that the functions declare."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from arjax.core.errors import UserError, did_you_mean
from arjax.core.options import LARGEST_INT32, LARGEST_SEED, is_integer

Called = TypeVar("Called", bound=Callable)


def checked_arguments(like: Callable | None = None, **least: float | None) -> Callable[[Called], Called]:
    """Decorates a function or a dataclass: a wrong argument is a sentence that names it, before anything else happens.

    The names are checked as by `named_arguments`, and the values of arguments that are declared as `bool`, `int`,
    `float`, `str`, a path, a mapping, or a choice of these. Numbers are finite, and whole ones fit the devices.

    Args:
      like: the function that gets the `**options`.
      **least: the least values of numbers by the names of their arguments; None: this argument is checked elsewhere.
    """

    def decorate(function: Called) -> Called:
        if inspect.isclass(function):
            function.__init__ = decorate(function.__init__)  # type: ignore[method-assign]
            return function
        signature = inspect.signature(function)
        rules = {rule.name: rule for p in signature.parameters.values() if (rule := _rule(p, least)) is not None}

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            for name, value in signature.bind(*args, **kwargs).arguments.items():
                if name in rules:
                    rules[name].check(value)
            return function(*args, **kwargs)

        return named_arguments(cast(Called, call), like)

    return decorate


def named_arguments(called: Called, like: Callable | None = None) -> Called:
    """Decorates a function, or a class that is called: an argument of another name is refused with the nearest one.

    One that takes any names, `**options`, is checked with `like` alone, the function that gets these options.
    """
    if inspect.isclass(called):
        called.__init__ = named_arguments(called.__init__)  # type: ignore[method-assign]
        return called
    known = _names(called) | (set() if like is None else _names(like))
    takes_any = like is None and any(p.kind is p.VAR_KEYWORD for p in inspect.signature(called).parameters.values())
    name = called.__qualname__.removesuffix(".__init__").rpartition(".")[2]

    @functools.wraps(called)
    def call(*args: Any, **options: Any) -> Any:
        if not takes_any:
            check_names(name, options, known)
        return called(*args, **options)

    return cast(Called, call)


def named_like(like: Callable) -> Callable[[Called], Called]:
    """Decorates a function whose `**options` go to the function `like`, see `named_arguments`."""
    return functools.partial(named_arguments, like=like)


def check_names(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises `UserError` for the first name of an argument that a function does not know."""
    for name in given:
        if name not in known:
            raise UserError(f"{function} takes no {name!r}{did_you_mean(name, sorted(known))}")


def _names(function: Callable) -> set[str]:
    """The names by which arguments may be given."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} - {"self"}


class _Rule(NamedTuple):
    """The values that an argument may have: of one of some kinds, and numbers in a range."""

    name: str
    kinds: tuple[str, ...]
    least: float
    most: float

    def check(self, value: Any) -> None:
        kind = next((kind for kind in self.kinds if _KINDS[kind][0](value)), None)
        if kind is None or (kind in ("int", "float") and not self.least <= value <= self.most):
            shown = " ".join(repr(value).split())
            shown = shown if len(shown) < 60 else shown[:60] + "..."
            words = " or ".join(_KINDS[kind][1] for kind in self.kinds)
            if kind is not None and value > self.most:
                words += f", at most {self.most}"
            elif self.least > -math.inf:
                words += f", at least {self.least:g}"
            raise UserError(f"{self.name} must be {words}, not {shown}")


def _rule(parameter: inspect.Parameter, least: Mapping[str, float | None]) -> _Rule | None:
    """The rule of a parameter; None where its values are checked elsewhere."""
    kinds, name = tuple(str(parameter.annotation).split(" | ")), parameter.name
    several = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    lowest = least.get(name, -math.inf)
    if several or not all(kind in _KINDS for kind in kinds) or lowest is None:
        return None
    most = math.inf if "int" not in kinds else LARGEST_SEED if name == "seed" else LARGEST_INT32
    return _Rule(name, kinds, lowest, most)


def _is_number(value: Any) -> bool:
    """Whether it is a finite number, also as an array without axes; truth values are none."""
    if isinstance(value, numbers.Real):
        return not isinstance(value, bool) and bool(-math.inf < value < math.inf)  # type: ignore[operator]
    return getattr(value, "shape", None) == () and value.dtype.kind in "fiu" and bool(np.isfinite(value))


def _is_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


#: By the declared type: whether a value is of this type, and the words for it.
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "bool": (lambda value: isinstance(value, bool | np.bool_), "True or False"),
    "int": (is_integer, "a whole number"),
    "float": (_is_number, "a finite number"),
    "str": (lambda value: isinstance(value, str), "a text"),
    "os.PathLike": (lambda value: isinstance(value, os.PathLike), "a path"),
    "Mapping[str, Any]": (_is_dict, "a dict of values by names"),
    "None": (lambda value: value is None, "None"),
}
