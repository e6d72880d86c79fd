"""Floating-point operations of a JAX function, counted without running or compiling it, the bytes that they move, and
what bounds them on an accelerator: multiplications or memory (roofline model, Williams, Waterman & Patterson, 2009). A
scan counts its body `length` times; the cost analysis of XLA counts it once.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax

from arjax.core.programs import inner_jaxprs
from arjax.parallel.accelerators import Accelerator

#: The part of the peak that well-made training programs reach.
UTILISATION = 0.4


class Work(NamedTuple):
    """The work of the matrix products and convolutions of a module, forward and backward.

    Attributes:
      module: its path, such as "layers/attention/query"; for a product of two activations the einsum follows the path.
        Operations outside of modules are "other".
      bits: of the multiplied numbers: 32 for float32, 16 for bfloat16.
      flops: multiplications and additions, two for a multiply-add.
      bytes: of the operands and results, each of which is read or written once.
    """

    module: str
    bits: int
    flops: float
    bytes: float

    def times(self, factor: float) -> Work:
        return self._replace(flops=factor * self.flops, bytes=factor * self.bytes)


def count_flops(function: Callable[..., Any], *args: Any) -> float:
    """Returns the multiplications and additions of the matrix products and convolutions in `function(*args)`, two for
    each multiply-add, over all devices together. `args` are arrays or `jax.ShapeDtypeStruct`s. Elementwise operations
    are left out, as is usual for the FLOPs of a model; a `while` loop of unknown length counts once.
    """
    return sum(work.flops for work in count_work(function, *args))


def count_work(function: Callable[..., Any], *args: Any) -> list[Work]:
    """Returns the operations of `count_flops` for each module and size of numbers."""
    totals: dict[tuple[str, int], Work] = {}
    for work in _of_jaxpr(jax.make_jaxpr(function)(*args).jaxpr, ""):
        before = totals.get(work[:2], work.times(0.0))
        totals[work[:2]] = before._replace(flops=before.flops + work.flops, bytes=before.bytes + work.bytes)
    return list(totals.values())


def _of_jaxpr(jaxpr: Any, outer: str) -> list[Work]:
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
        return [Work(module_of(scope), bits, flops, float(moved))]
    if name == "custom_linear_solve":  # beside the product of its system, and transposes of both
        return _of_jaxpr(equation.params["jaxprs"].solve.jaxpr, scope)
    inner = [_of_jaxpr(jaxpr, scope) for jaxpr in inner_jaxprs(equation.params)]
    if name == "cond":  # one branch runs
        return max(inner, key=lambda branch: sum(work.flops for work in branch), default=[])
    times = equation.params["length"] if name == "scan" else 1
    return [work.times(times) for part in inner for work in part]


def module_of(scope: str) -> str:
    """Returns the path of a module, without transformations such as `jvp(...)`, the class of the network or methods."""
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


@dataclasses.dataclass(frozen=True)
class Roofline:
    """What bounds one module in a step on one device: its work, and the least seconds for its operations and bytes."""

    module: str
    flops: float
    bytes: float
    by_flops: float
    by_bytes: float

    @property
    def seconds(self) -> float:
        return max(self.by_flops, self.by_bytes)


def rooflines(accelerator: Accelerator, work: Iterable[Work], num_devices: int) -> list[Roofline]:
    """What bounds each module where the work is divided equally among devices; the slowest first."""
    parts = [whole.times(1 / num_devices) for whole in work]
    bounds = [
        Roofline(part.module, part.flops, part.bytes, *accelerator.seconds(part.flops, part.bytes, part.bits))
        for part in parts
    ]
    return sorted(bounds, key=lambda bound: -bound.seconds)


def roofline_seconds(bounds: Sequence[Roofline]) -> float:
    """The seconds of a step at `UTILISATION` of the peak, but no less than each module takes for its bytes."""
    return sum(max(bound.by_flops / UTILISATION, bound.by_bytes) for bound in bounds)
