"""Runs of several processes: who they are, from flags or from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import jax

from arjax.errors import UserError

#: Environment variables that set the number of processes, by what starts them; JAX finds the rest there by itself.
_LAUNCHERS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")


def initialize(coordinator_address: str = "", num_processes: int = 0, process_id: int = -1) -> int:
    """Connects the processes of a run; must come before anything else that uses JAX's devices.

    Without arguments they are looked for in `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`; then a
    launcher is looked for (SLURM, Open MPI, a TPU pod). When there is none, this is a run of one process.

    Args:
      coordinator_address: `host:port` of process 0.
      num_processes: number of processes.
      process_id: number of this process, from 0.

    Returns:
      The number of processes.

    Raises:
      UserError: only some of the three are given, or they do not fit, or the others cannot be reached.
    """
    if not coordinator_address and num_processes == 0 and process_id == -1:
        coordinator_address, num_processes, process_id = _from_environment(os.environ)
    if not coordinator_address and num_processes == 0 and process_id == -1:
        if not _launched_with_others(os.environ):
            return 1
        _connect()
        return jax.process_count()
    if not coordinator_address or num_processes < 1 or not 0 <= process_id < num_processes:
        raise UserError(
            "a run of several processes needs all of coordinator_address (host:port), num_processes and process_id "
            f"(0 to num_processes - 1), not {coordinator_address!r}, {num_processes} and {process_id}"
        )
    if not re.fullmatch(r".+:\d+", coordinator_address):
        raise UserError(f"coordinator_address must be host:port, such as 10.0.0.1:8476, not {coordinator_address!r}")
    _connect(coordinator_address=coordinator_address, num_processes=num_processes, process_id=process_id)
    return jax.process_count()


def _connect(**arguments: str | int) -> None:
    try:
        jax.distributed.initialize(**arguments)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"the processes of this run could not be connected: {reason}") from error


def _from_environment(environment: Mapping[str, str]) -> tuple[str, int, int]:
    """The three values, "", 0 and -1 where they are not set."""
    names = {"JAX_COORDINATOR_ADDRESS": "", "JAX_NUM_PROCESSES": "0", "JAX_PROCESS_ID": "-1"}
    address, count, number = (environment.get(name, unset) for name, unset in names.items())
    try:
        return address, int(count), int(number)
    except ValueError as error:
        message = f"JAX_NUM_PROCESSES={count!r} and JAX_PROCESS_ID={number!r} must be whole numbers"
        raise UserError(message) from error


def _launched_with_others(environment: Mapping[str, str]) -> bool:
    """Whether a launcher started more than this process."""
    counts = [environment[name] for name in _LAUNCHERS if name in environment]
    hosts = environment.get("TPU_WORKER_HOSTNAMES", "")
    return any(count.isdigit() and int(count) > 1 for count in counts) or "," in hosts
