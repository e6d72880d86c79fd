"""Names of arguments: a misspelled one ends in a sentence with the nearest name, as a field of a config does."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from arjax.core.errors import UserError
from arjax.core.registry import did_you_mean

Called = TypeVar("Called", bound=Callable)


def named_arguments(called: Called, like: Callable | None = None) -> Called:
    """Decorates a function, or a class that is called: an argument of another name is refused with the nearest one.

    Args:
      called: the function or the class. One that takes any names, `**options`, is checked with `like` alone.
      like: the function that gets these options.
    """
    if inspect.isclass(called):
        called.__init__ = named_arguments(called.__init__)
        return called
    known = _names(called) | (set() if like is None else _names(like))
    takes_any = like is None and any(p.kind is p.VAR_KEYWORD for p in _parameters(called))
    name = called.__qualname__.removesuffix(".__init__").rpartition(".")[2]

    @functools.wraps(called)
    def call(*args: Any, **options: Any) -> Any:
        if not takes_any:
            check_names(name, options, known)
        return called(*args, **options)

    return call


def named_like(like: Callable) -> Callable[[Called], Called]:
    """Decorates a function whose `**options` go to the function `like`, see `named_arguments`."""
    return functools.partial(named_arguments, like=like)


def check_names(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises `UserError` for the first name of an argument that a function does not know."""
    for name in given:
        if name not in known:
            raise UserError(f"{function} takes no {name!r}{did_you_mean(name, sorted(known))}")


def _parameters(function: Callable) -> Iterable[inspect.Parameter]:
    return inspect.signature(function).parameters.values()


def _names(function: Callable) -> set[str]:
    """The names by which arguments may be given."""
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name for p in _parameters(function) if p.kind in by_name and p.name != "self"}
