"""Free memory of devices and of the machine."""

from __future__ import annotations

import os
from pathlib import Path

import jax

_MEMINFO = Path("/proc/meminfo")
#: The limit of a container or a job: of cgroup version 2, and of version 1.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def free_bytes() -> int | None:
    """Bytes that each device of this process has left for an array that all of them hold; None: not known."""
    devices = jax.local_devices()
    found = [device.memory_stats() for device in devices]
    if all(stats and "bytes_limit" in stats for stats in found):
        return min(stats["bytes_limit"] - stats.get("bytes_in_use", 0) for stats in found)
    if devices[0].platform != "cpu":
        return None
    host = _free_bytes_of_host()
    return None if host is None else host // len(devices)


def _free_bytes_of_host() -> int | None:
    """The free memory of the machine, or the limit of the container or job where that is less."""
    limits = [int(text) for path in _LIMITS if path.is_file() and (text := path.read_text().strip()).isdigit()]
    if _MEMINFO.is_file():
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        limits += [int(lines["MemAvailable"].split()[0]) * 1024] if "MemAvailable" in lines else []
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits += [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    return min(limits, default=None)
