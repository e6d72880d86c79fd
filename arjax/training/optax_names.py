"""Transformations of optax by their full names, such as `optax.contrib.prodigy`, which need no registration."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from arjax.core.errors import UserError, refuse

PREFIX = "optax."


def by_full_name(name: str) -> Callable | None:
    """The function of optax with a full name such as `optax.adafactor`; None for a name that does not begin so.

    It is a public function of a public module of optax that states that it returns a gradient transformation. Nothing
    else counts, so that a config can call no other code.
    """
    if not name.startswith(PREFIX):
        return None
    function = _public_function(name)
    signature = None if function is None else _signature(function)
    made = None if signature is None else signature.return_annotation
    if signature is None or not (isinstance(made, type) and issubclass(made, optax.GradientTransformation)):
        raise UserError(f"optimizer {name!r} is no public function of optax that returns a gradient transformation")
    for parameter in signature.parameters.values():
        takes_any = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        refuse((takes_any, f"optimizer {name!r} takes other transformations, which no option can hold"))
    return function


def _public_function(name: str) -> Callable | None:
    *modules, last = name.split(".")
    module: Any = optax
    for depth, part in enumerate(modules[1:], start=2):
        module = None if part.startswith("_") else vars(module).get(part)
        if not isinstance(module, types.ModuleType) or module.__name__ != ".".join(modules[:depth]):
            return None
    function = None if last.startswith("_") else vars(module).get(last)
    return function if inspect.isfunction(function) and function.__module__.startswith(PREFIX) else None


@functools.cache
def _signature(function: Callable) -> inspect.Signature:
    return inspect.signature(function, eval_str=True)


def is_of_optax(rule: Callable) -> bool:
    """Whether a rule is a function of optax."""
    return str(getattr(rule, "__module__", "")).startswith(PREFIX)


def check_works(name: str, transformation: Any) -> None:
    """Raises `UserError` unless a transformation of optax moves a matrix and a vector by their gradients alone."""
    params = {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)}
    try:
        jax.eval_shape(lambda: transformation.update(params, transformation.init(params), params))
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(unusable(name, error)) from error


def unusable(name: str, error: Exception) -> str:
    """The sentence about a transformation that optax does not make, or that needs more than gradients."""
    return f"optimizer {name!r} cannot train with these options: {str(error).splitlines()[0]}"
