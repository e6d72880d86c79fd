"""Floating-point operations of a JAX function, counted without running or compiling it, and the bytes that they move.

XLA's own cost analysis counts the body of a loop once, however often it runs: a network that scans over its layers
would look as cheap as one layer. Here a scan counts its body `length` times.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from arjax.core.programs import inner_jaxprs


class Work(NamedTuple):
    """The work of the matrix products and convolutions of a module, forward and backward.

    Attributes:
      module: its path, such as "layers/attention/query"; a product of two activations by its einsum behind its module.
        What belongs to no module is "other".
      bits: of the numbers that are multiplied: 32 for float32, 16 for bfloat16.
      flops: multiplications and additions, two for a multiply-add.
      bytes: of their operands and results, each of which is read or written once.
    """

    module: str
    bits: int
    flops: float
    bytes: float

    def times(self, factor: float) -> Work:
        """That many times the work."""
        return self._replace(flops=factor * self.flops, bytes=factor * self.bytes)


def count_flops(function: Callable[..., Any], *args: Any) -> float:
    """Multiplications and additions of the matrix products and convolutions in `function(*args)`: two operations per
    multiply-add, over the whole (not the per-device) program. `args` are arrays or `jax.ShapeDtypeStruct`s.

    Elementwise work is left out, as is usual for a model's FLOPs; a `while` loop of unknown length counts once.
    """
    return sum(work.flops for work in count_work(function, *args))


def count_work(function: Callable[..., Any], *args: Any) -> list[Work]:
    """The work of `function(*args)`, as of `count_flops`, of each module and size of numbers."""
    found: dict[tuple[str, int], Work] = {}
    for work in _of_jaxpr(jax.make_jaxpr(function)(*args).jaxpr, ""):
        before = found.get(work[:2], work.times(0.0))
        found[work[:2]] = before._replace(flops=before.flops + work.flops, bytes=before.bytes + work.bytes)
    return list(found.values())


def _of_jaxpr(jaxpr: Any, outer: str) -> list[Work]:
    """`outer`: the names of the transformations and modules around it."""
    return [
        work for equation in jaxpr.eqns for work in _of_equation(equation, f"{outer}/{equation.source_info.name_stack}")
    ]


def _of_equation(equation: Any, scope: str) -> list[Work]:
    name = equation.primitive.name
    if name in ("dot_general", "conv_general_dilated"):
        flops = _dot_general(equation) if name == "dot_general" else _convolution(equation)
        arrays = [each.aval for each in (*equation.invars, *equation.outvars)]
        moved = sum(math.prod(array.shape) * array.dtype.itemsize for array in arrays)
        bits = 8 * max(array.dtype.itemsize for array in arrays[:2])
        return [Work(_module_of(scope), bits, flops, float(moved))]
    inner = [_of_jaxpr(jaxpr, scope) for jaxpr in inner_jaxprs(equation.params)]
    if name == "cond":  # one branch runs
        return max(inner, key=lambda branch: sum(work.flops for work in branch), default=[])
    times = equation.params["length"] if name == "scan" else 1
    return [work.times(times) for part in inner for work in part]


def _module_of(scope: str) -> str:
    """The path of the module in the names of a traced program: without transformations such as `jvp(...)`, the class of
    the network, and methods (`attention._qkv`).
    """
    names: list[str] = []
    for name in re.sub(r"\w+\(|\)", "", scope).split("/"):
        module = name if "->" in name else name.partition(".")[0]
        if module and not module[0].isupper() and module not in ("rematted_computation", *names[-1:]):
            names.append(module)
    return "/".join(names) or "other"


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
