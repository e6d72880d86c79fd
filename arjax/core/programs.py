"""Compiled programs and the memory that they need: work that does not fit is refused before anything is allocated."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
import inspect
import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal
from jax.sharding import PartitionSpec

from arjax.core.arrays import is_traced
from arjax.core.errors import UserError

#: The axes of a mesh over which the rows of a batch are divided, and all axes.
BATCH_AXES: tuple[str, ...] = ("data", "fsdp")
AXES = (*BATCH_AXES, "tensor")
_ROWS = contextvars.ContextVar("axes of rows", default=BATCH_AXES)
#: Parameters up to so many bytes are put together on every device that draws: a third of 16 GiB, the least memory of
#: the accelerators of `arjax.parallel`.
MOST_WHOLE = 2**34 // 3
_MEMINFO = Path("/proc/meminfo")
#: The limit of a container or a job: of cgroup version 2, and of version 1.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
#: Words of XLA's errors for too little memory. A full disk is an error of another type.
_MARKS = ("resource_exhausted", "out of memory")
#: Operations whose results lie in memory. XLA fuses most others, whose results may be larger than the memory.
IN_MEMORY = ("dot_general", "conv_general_dilated", "scan", "while", "cond", "gather", "sort", "concatenate")
#: How many calls of a program fit at once. The key holds the structure, as the hash of one ignores static fields.
_FIT: dict[tuple[int, Any, tuple[Any, ...]], int] = {}
#: The field of `ByClass`, which is not an option.
CLASS_FIELD = "_pytree_class"
#: Held while a program is compiled: threads that call the same one compile it once.
_COMPILING = threading.RLock()


class ByClass:
    """A base of dataclasses that are pytrees, in which a static field stands for the class. Without it, jaxlib 0.10
    takes the structures of two registered dataclasses with equal fields for equal, and at times calls the other's
    program.
    """

    _numbers = itertools.count()

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        name = f"{cls.__qualname__} {next(cls._numbers)}"
        field = dataclasses.field(default=name, repr=False, kw_only=True, metadata={"static": True})
        cls.__annotations__ = {**inspect.get_annotations(cls), CLASS_FIELD: str}
        setattr(cls, CLASS_FIELD, field)


def one_program(**static: Any) -> Callable[[Callable], Callable]:
    """Decorates a function at the top of a module: outside of `jit` its operations are one program, with the `static`
    options of `jax.jit`, so that later calls do not compile its loops again.
    """

    def decorate(function: Callable) -> Callable:
        compiled = jax.jit(function, **static)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return (function if is_traced(args, kwargs) else compiled)(*args, **kwargs)

        return call

    return decorate


def checked_pytree(value: Any, what: str) -> Any:
    """Returns the value; refuses one whose class is not registered as a pytree, which subclasses do not inherit."""
    if jax.tree_util.all_leaves([value]):
        raise UserError(
            f"{what} is no pytree: write @jax.tree_util.register_dataclass above @dataclasses.dataclass of its "
            f"class {type(value).__name__}"
        )
    return value


def call_if_it_fits(what: str, program: Any, *args: Any, times: int = 1, **kwargs: Any) -> Any:
    """Calls a jitted function if the devices have the memory that it needs, which is known before anything is
    allocated. `what` begins the sentence, such as "the arrays of this draw"; `times` such calls run at the same time.
    """
    if not is_traced(args, kwargs):
        leaves, structure = jax.tree.flatten((args, kwargs))
        shapes = tuple((np.shape(leaf), getattr(leaf, "dtype", None)) for leaf in leaves)
        call = id(program), structure, shapes
        if times > _FIT.get(call, 0):
            with _COMPILING:
                if times > _FIT.get(call, 0):  # else another thread has compiled it meanwhile
                    # the call finds the program that is compiled here
                    compile_if_it_fits(what, program, *args, times=times, **kwargs)
                    _FIT[call] = times
    return program(*args, **kwargs)


def program_device() -> Any:
    """The device that a program is traced for, with `platform` and `device_kind`: that of the mesh of `jax.set_mesh`,
    else the first one of this process.
    """
    return jax.sharding.get_abstract_mesh().abstract_device or jax.devices()[0]


def is_for_cpu() -> bool:
    """Whether a program is traced for a CPU."""
    return program_device().platform == "cpu"


@contextlib.contextmanager
def rows_over_all_axes(*, on_tpus: bool = True) -> Iterator[None]:
    """Within, the rows of programs that are traced are divided over all axes of the mesh: in loops with whole kernels,
    as a kernel in parts would be communication in every round. Without `on_tpus`, not in programs for TPUs.
    """
    token = _ROWS.set(AXES if on_tpus or program_device().platform != "tpu" else _ROWS.get())
    try:
        yield
    finally:
        _ROWS.reset(token)


def axes_of_rows(num_rows: int) -> tuple[str, ...]:
    """The axes of the mesh that divide rows: those of a batch, or, if so many rows allow it, all of the scope above."""
    mesh = jax.sharding.get_abstract_mesh()
    return dividing(mesh, _ROWS.get(), num_rows) or dividing(mesh, BATCH_AXES, num_rows)


def by_rows(x: jax.Array, axis: int = 0) -> jax.Array:
    """An array of a program on a mesh, with the examples along an axis divided over `axes_of_rows`.

    Where both the rows and the kernel of a product are divided over one axis, XLA may gather the rows, of which there
    are far more; told that the rows stay where they are, it gathers the kernel.
    """
    return _divided(x, axis, axes_of_rows(x.shape[axis]) if x.ndim > 1 else ())


def by_columns(x: jax.Array) -> jax.Array:
    """The product [B, N] with a kernel that is larger than its rows, divided as its columns: the kernel stays there."""
    return _divided(x, 1, dividing(jax.sharding.get_abstract_mesh(), ("tensor", "fsdp"), x.shape[1]))


def _divided(x: jax.Array, axis: int, axes: tuple[str, ...]) -> jax.Array:
    if not axes:
        return x
    free: list[Any] = [PartitionSpec.UNCONSTRAINED] * x.ndim
    free[axis] = axes
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*free))


def gathered(arrays: Any) -> Any:
    """Arrays of a program on a mesh, put together on every device: before a loop, which would gather them, or what it
    computes with their parts, in every round.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if all(mesh.shape.get(axis, 1) == 1 for axis in AXES):
        return arrays
    return jax.lax.with_sharding_constraint(arrays, PartitionSpec())


def kernel_of_rows(kernel: jax.Array) -> jax.Array:
    """A kernel that multiplies rows: `gathered` within `rows_over_all_axes`."""
    return gathered(kernel) if _ROWS.get() == AXES else kernel


def gathered_if_small(params: Any) -> Any:
    """The parameters that the steps of a draw read: `gathered`, unless they are larger than `MOST_WHOLE`."""
    return gathered(params) if bytes_of(params) <= MOST_WHOLE else params


def dividing(mesh: Any, names: tuple[str, ...], size: int) -> tuple[str, ...]:
    """The axes of a mesh above size 1 among these names, if together they divide a dimension of this size; else ()."""
    axes = tuple(axis for axis in names if mesh.shape.get(axis, 1) > 1)
    return axes if size % math.prod(mesh.shape[axis] for axis in axes) == 0 else ()


def compile_if_it_fits(what: str, program: Any, *args: Any, times: int = 1, **kwargs: Any) -> jax.stages.Compiled:
    """Returns the compiled program of a jitted function for arguments like these, if it fits."""
    traced = program.trace(*args, **kwargs)
    # An array that is too large by far may end the compiler.
    arrays = (leaf for leaf in jax.tree.leaves((args, kwargs)) if isinstance(leaf, jax.Array))
    num_devices = max((len(array.sharding.device_set) for array in arrays), default=1)
    check_memory(times * largest_array(traced.jaxpr.jaxpr), f"{what} take", num_devices)
    compiled = traced.lower().compile()
    sizes = compiled.memory_analysis()  # those of one device
    if sizes is not None:
        size = sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes
        check_memory(times * (size - sizes.alias_size_in_bytes), f"{what} take")
    return compiled


def largest_array(jaxpr: Any) -> int:
    """Returns the bytes of a program's largest array in memory: its arguments, its results and those of `IN_MEMORY`."""
    variables, inner = [*jaxpr.invars, *jaxpr.outvars], list[int]()
    for equation in jaxpr.eqns:
        if equation.primitive.name in IN_MEMORY:
            variables += equation.outvars
        inner += map(largest_array, inner_jaxprs(equation.params))
    sizes = (math.prod(each.aval.shape) * getattr(each.aval.dtype, "itemsize", 0) for each in variables)
    return max([*inner, *sizes], default=0)


def inner_jaxprs(params: dict[str, Any]) -> Iterator[Any]:
    """Yields the jaxprs of calls, loops and branches among an equation's parameters."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if hasattr(item, "jaxpr"):  # a closed jaxpr
                yield item.jaxpr
            elif hasattr(item, "eqns"):
                yield item


def only_casts(jaxpr: Any, dtype: Any) -> list[bool]:
    """Returns of each input of a program whether it does no more with it than cast it to this type: the program then
    computes the same from one that is of this type already.
    """
    uses = [(var, False) for var in jaxpr.outvars]
    for equation in jaxpr.eqns:
        is_cast = equation.primitive.name == "convert_element_type" and equation.params["new_dtype"] == dtype
        unseen = set(range(len(equation.invars)))
        for inner, begin, end in _read_by(equation):
            uses += zip(equation.invars[begin:end], only_casts(inner, dtype), strict=False)
            unseen -= set(range(begin, end))
        uses += [(equation.invars[i], is_cast) for i in unseen]
    others = {var for var, is_cast in uses if not is_cast and not isinstance(var, Literal)}
    return [var not in others for var in jaxpr.invars]


def _read_by(equation: Any) -> list[tuple[Any, int, int]]:
    """The programs inside an operation, and which of its inputs, from `begin` to `end`, are the first ones of each."""
    params, num = equation.params, len(equation.invars)
    if "branches" in params:
        return [(each.jaxpr, 1, num) for each in params["branches"]]
    if "body_jaxpr" in params:  # without the state of the loop
        before, read = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        return [(params["cond_jaxpr"].jaxpr, 0, before), (params["body_jaxpr"].jaxpr, before, read)]
    inner = getattr(params.get("jaxpr"), "jaxpr", None)
    return [(inner, 0, num)] if inner is not None and len(inner.invars) == num else []


def cast_before(calls: Callable[[Any], Any], variables: Any, dtype: str) -> Any:
    """The inputs of a function that is called in a loop, in the type `dtype` where it does no more with them than cast
    them to it: XLA for GPUs would read them all in float32 and cast them in every round. On CPUs as they are.
    """
    if dtype == "float32" or is_for_cpu():
        return variables
    leaves, structure = jax.tree.flatten(variables)
    may_cast = only_casts(jax.make_jaxpr(calls)(variables).jaxpr, dtype)
    of_type = [leaf.astype(dtype) if may else leaf for leaf, may in zip(leaves, may_cast, strict=True)]
    return jax.tree.unflatten(structure, of_type)


def free_bytes() -> int | None:
    """Returns the bytes that each device of this process has left for an array on all of them; None if unknown."""
    return _of_each_device("bytes_in_use", "MemAvailable")


def whole_bytes() -> int | None:
    """Returns the bytes of memory of each device, of a CPU device its part of the machine; None if unknown."""
    return _of_each_device("", "MemTotal")


def _of_each_device(used: str, line: str) -> int | None:
    """Returns the limit of each device less the statistic `used` ("": none); for CPUs, `line` of /proc/meminfo."""
    devices = jax.local_devices()
    statistics = [device.memory_stats() for device in devices]
    if all(stats and "bytes_limit" in stats for stats in statistics):
        return min(stats["bytes_limit"] - stats.get(used, 0) for stats in statistics)
    if devices[0].platform != "cpu":
        return None
    # the memory of the machine, or the lower limit of the container or job
    limits = [int(text) for path in _LIMITS if path.is_file() and (text := path.read_text().strip()).isdigit()]
    if _MEMINFO.is_file():
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        limits += [int(lines[line].split()[0]) * 1024] if line in lines else []
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits += [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    return min(limits) // len(devices) if limits else None


def check_memory(size: int, what: str, num_devices: int = 1) -> None:
    """Refuses arrays of `size` bytes for which the devices have too little memory; `what` begins the sentence."""
    there = whole_bytes()
    if there is not None and size > there * num_devices:
        where = "a device has" if num_devices == 1 else f"{num_devices} devices have"
        raise UserError(f"{what} {size / 1e9:,.3g} GB, and {where} {there * num_devices / 1e9:,.3g} GB")


def bytes_of(tree: Any) -> int:
    """Returns the bytes of all arrays, real or abstract, except random keys."""
    arrays = (leaf for leaf in jax.tree.leaves(tree) if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in arrays)


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether the allocator of a device raised this error."""
    return isinstance(error, jax.errors.JaxRuntimeError) and any(mark in str(error).lower() for mark in _MARKS)


@contextlib.contextmanager
def within_memory(sentence: Callable[[], str]) -> Iterator[None]:
    """Raises a `UserError` with this sentence instead of the error of an allocator; other errors pass."""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and not is_out_of_memory(error):
            raise
        raise UserError(sentence()) from error
