"""The devices and cores that a process may use, and their division among processes. Imports nothing heavy."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping
from pathlib import Path

from arjax.core.errors import UserError, refuse

#: Restricts a process to some of the machine's NVIDIA devices.
CUDA = "CUDA_VISIBLE_DEVICES"
#: Likewise, for other vendors.
VARIABLES = (CUDA, "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


def on_machine(folder: Path = Path("/dev")) -> int:
    """The number of NVIDIA devices of this machine, from their files in `folder`."""
    return sum(bool(re.fullmatch(r"nvidia\d+", path.name)) for path in folder.glob("nvidia*"))


def visible_devices(environment: Mapping[str, str], folder: Path = Path("/dev")) -> list[str]:
    """The devices that a process may use, by `CUDA_VISIBLE_DEVICES` and its like, or else all of the machine."""
    given = next((environment[name] for name in VARIABLES if name in environment), None)
    if given is None:
        return [str(number) for number in range(on_machine(folder))]
    names: list[str] = []
    for name in map(str.strip, given.split(",")):
        if name in ("", "-1", *names):  # only devices before such an entry are visible
            break
        names.append(name)
    return names


def share_devices(devices: list[str], jobs: int, devices_per_job: int) -> list[list[str]]:
    """The devices of each of the jobs that run at once."""
    refuse((devices_per_job < 1, f"--devices_per_job must be at least 1, not {devices_per_job}"))
    if jobs * devices_per_job > len(devices):
        seen = f"only {len(devices)} ({','.join(devices)})" if devices else "none"
        raise UserError(
            f"--jobs gives {jobs} at once; with --devices_per_job={devices_per_job} they need {jobs * devices_per_job} "
            f"devices, and {seen} can be seen here (by {CUDA}, or all of the machine where it is not set)"
        )
    return [devices[job * devices_per_job : (job + 1) * devices_per_job] for job in range(jobs)]


def usable_cores() -> list[int]:
    """The CPU cores that this process may use; all of the machine where the system cannot tell."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def share_cores(jobs: int) -> list[set[int]]:
    """Equally many of the CPU cores for each of the jobs that run at once; empty sets where these cannot be shared."""
    cores = usable_cores() if hasattr(os, "sched_setaffinity") else []
    if jobs == 1 or len(cores) < jobs:
        return [set()] * jobs
    ends = [len(cores) * job // jobs for job in range(jobs + 1)]
    return [set(cores[start:end]) for start, end in itertools.pairwise(ends)]
