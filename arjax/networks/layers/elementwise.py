"""Elementwise functions that keep one array per argument for their gradient."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp


def elementwise(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """`function(a, b, ...)` of arrays of one shape, each element of the result from the same element of each argument.

    Automatic differentiation keeps one or two arrays for each operation inside a function. This function keeps its
    partial derivatives, one for each argument: dy = (dy/da) da + (dy/db) db + ... A loop over time writes and reads
    what it keeps in every step, so recurrent layers train faster with fewer arrays. Derivatives of every order and in
    either mode exist.
    """
    value = jax.custom_jvp(function)

    @value.defjvp
    def _derivative(arguments: tuple[jax.Array, ...], changes: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        y, pull = jax.vjp(function, *arguments)
        partials = pull(jnp.ones_like(y))  # element i of y reads element i of the arguments alone
        return y, functools.reduce(operator.add, map(operator.mul, partials, changes))

    return value
