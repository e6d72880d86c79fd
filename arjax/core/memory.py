"""The memory of devices and of the machine, and sentences where work does not fit into it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from arjax.core.errors import UserError

_MEMINFO = Path("/proc/meminfo")
#: The limit of a container or a job: of cgroup version 2, and of version 1.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
#: Words of XLA's errors for too little memory. A full disk is an error of another type.
_MARKS = ("resource_exhausted", "out of memory")


def free_bytes() -> int | None:
    """Bytes that each device of this process has left for an array that all of them hold; None: not known."""
    return _of_each_device("bytes_in_use", "MemAvailable")


def whole_bytes() -> int | None:
    """Bytes that each device of this process has in all, the part of the machine for CPU devices; None: not known."""
    return _of_each_device("", "MemTotal")


def _of_each_device(used: str, line: str) -> int | None:
    """By the statistic that names what is in use, "" for nothing; of CPU devices by a line about the machine."""
    devices = jax.local_devices()
    statistics = [device.memory_stats() for device in devices]
    if all(stats and "bytes_limit" in stats for stats in statistics):
        return min(stats["bytes_limit"] - stats.get(used, 0) for stats in statistics)
    if devices[0].platform != "cpu":
        return None
    # the memory of the machine, or the limit of the container or job where that is less
    limits = [int(text) for path in _LIMITS if path.is_file() and (text := path.read_text().strip()).isdigit()]
    if _MEMINFO.is_file():
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        limits += [int(lines[line].split()[0]) * 1024] if line in lines else []
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits += [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    return min(limits) // len(devices) if limits else None


def check_memory(size: int, what: str, num_devices: int = 1) -> None:
    """Raises `UserError` where arrays of so many bytes, split over the devices, are larger than all of their memory.

    It is called before anything is allocated. `what` begins the sentence: "the parameters of this model take".
    """
    there = whole_bytes()
    if there is not None and size > there * num_devices:
        where = "a device has" if num_devices == 1 else f"{num_devices} devices have"
        raise UserError(f"{what} {size / 1e9:,.3g} GB, and {where} {there * num_devices / 1e9:,.3g} GB")


def bytes_of(tree: Any) -> int:
    """The bytes of all arrays, real or abstract, but random keys."""
    arrays = (leaf for leaf in jax.tree.leaves(tree) if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in arrays)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is that of the allocator of a device."""
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
