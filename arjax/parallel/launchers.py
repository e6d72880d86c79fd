"""Launchers of runs of several processes: the number of this process, and its own devices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from arjax.core.errors import UserError
from arjax.parallel.devices import on_machine, visible_devices

#: Environment variables that set the number of processes, by launcher; mpirun may itself be a SLURM step.
OPEN_MPI, SLURM = "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"


def launcher(environment: Mapping[str, str]) -> str:
    """The launcher that started more than this process, in words; "" when there is none."""
    for words, variable in (("Open MPI", OPEN_MPI), ("SLURM", SLURM)):
        if variable in environment:
            count = environment[variable]
            return words if count.isdigit() and int(count) > 1 else ""
    return "a TPU pod" if "," in environment.get("TPU_WORKER_HOSTNAMES", "") else ""


def slurm_processes(environment: Mapping[str, str]) -> tuple[str, int, int]:
    """Address of the first process, number of processes, and number of this process in a step of a SLURM job.

    The port follows from the job and the step, so that steps of one job can run side by side.
    """
    step, job = int(environment.get("SLURM_STEP_ID", 0)), int(environment["SLURM_JOB_ID"])
    port = environment.get("JAX_COORDINATOR_PORT") or 61440 + (job + 61 * step) % 4096
    address = f"{first_host(environment['SLURM_STEP_NODELIST'])}:{port}"
    return address, int(environment[SLURM]), int(environment["SLURM_PROCID"])


def first_host(nodes: str) -> str:
    """The first name in a list of nodes as SLURM writes it: `n01` for `n[01-04,07],m1`."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first[0] if first else nodes)


def tasks_on_node(environment: Mapping[str, str]) -> tuple[int, int]:
    """Number of processes of this run on this node, and the number of this process among them."""
    if OPEN_MPI in environment:
        local = (environment.get(f"OMPI_COMM_WORLD_LOCAL_{name}", unset) for name, unset in (("SIZE", 1), ("RANK", 0)))
        size, rank = map(int, local)
        return size, rank
    counts: list[int] = []
    for text in environment.get("SLURM_STEP_TASKS_PER_NODE", "1").split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", text.strip())
        counts += [int(match[1])] * int(match[2] or 1) if match else []
    node = int(environment.get("SLURM_NODEID", 0))
    return counts[node] if node < len(counts) else 1, int(environment.get("SLURM_LOCALID", 0))


def own_devices(environment: Mapping[str, str], folder: Path = Path("/dev")) -> list[int]:
    """Numbers of the devices, among those that this process sees, that are its own; an empty list stands for all.

    A process that is alone on its node, or that sees only its own devices, has all that it sees. Where the processes of
    a node all see the same ones, each takes an equal part of them.

    Args:
      environment: variables of a launched process.
      folder: where the files of devices lie.

    Raises:
      UserError: the devices of a node cannot be divided by its processes, or `JAX_LOCAL_DEVICE_IDS` names none.
    """
    chosen = environment.get("JAX_LOCAL_DEVICE_IDS", "")
    if chosen:
        if not re.fullmatch(r"\d+(,\d+)*", chosen):
            raise UserError(f"JAX_LOCAL_DEVICE_IDS must be numbers of devices, such as 0,1, not {chosen!r}")
        return [int(number) for number in chosen.split(",")]
    tasks, rank = tasks_on_node(environment)
    devices = len(visible_devices(environment, folder))
    platforms = environment.get("JAX_PLATFORMS", "")
    without = platforms and not re.search("cuda|gpu|rocm", platforms)
    if tasks == 1 or without or not devices or _bound_to_tasks(environment):
        return []
    on_node = environment.get("SLURM_GPUS_ON_NODE", "")
    if devices * tasks <= (int(on_node) if on_node.isdigit() else max(devices, on_machine(folder))):
        return []
    if devices % tasks:
        raise UserError(
            f"the {tasks} processes of this run on one node would share {devices} "
            f"{'device' if devices == 1 else 'devices'}: give each its own (srun --gpus-per-task=1), or start one "
            "process a node, which uses all that it sees (srun --ntasks-per-node=1)"
        )
    each = devices // tasks
    return list(range(rank * each, (rank + 1) * each))


def _bound_to_tasks(environment: Mapping[str, str]) -> bool:
    """Whether SLURM was asked for devices by task, and so shows each task its own."""
    asked = environment.get("SLURM_GPUS_PER_TASK") or "gpu" in environment.get("SLURM_TRES_PER_TASK", "")
    bind = environment.get("SLURM_GPU_BIND", "") + environment.get("SLURM_TRES_BIND", "")
    return "none" not in bind and bool(asked or re.search(r"per_task|single:1\b|map", bind))
