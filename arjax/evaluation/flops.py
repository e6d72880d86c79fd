"""Floating-point operations of a JAX function, counted without running or compiling it.

XLA's own cost analysis counts the body of a loop once, however often it runs: a network that scans over its layers
would look as cheap as one layer. Here a scan counts its body `length` times.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax

from arjax.core.programs import inner_jaxprs


def count_flops(function: Callable[..., Any], *args: Any) -> float:
    """Multiplications and additions of the matrix products and convolutions in `function(*args)`: two operations per
    multiply-add, over the whole (not the per-device) program. `args` are arrays or `jax.ShapeDtypeStruct`s.

    Elementwise work is left out, as is usual for a model's FLOPs; a `while` loop of unknown length counts once.
    """
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: Any) -> float:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> float:
    name = equation.primitive.name
    if name == "dot_general":
        return _dot_general(equation)
    if name == "conv_general_dilated":
        return _convolution(equation)
    inner = [_count(jaxpr) for jaxpr in inner_jaxprs(equation.params)]
    if name == "scan":
        return equation.params["length"] * sum(inner)
    if name == "cond":
        return max(inner, default=0.0)  # one branch runs
    return sum(inner)


def _dot_general(equation: Any) -> float:
    (contracting, _), _ = equation.params["dimension_numbers"]
    left_shape = equation.invars[0].aval.shape
    contracted = math.prod(left_shape[axis] for axis in contracting)
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * contracted


def _convolution(equation: Any) -> float:
    kernel = equation.invars[1].aval.shape
    out_features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    per_output = math.prod(kernel) // out_features  # input features of the group x window
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * per_output
