"""Runs of several processes: their addresses, from flags or from the environment, connection and agreement."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from arjax.core.errors import UserError
from arjax.core.options import check_size
from arjax.parallel.devices import on_machine, visible_devices
from arjax.parallel.lost import HEARTBEAT_SECONDS

#: Environment variables that set the number of processes, by launcher; mpirun may itself be a SLURM step.
OPEN_MPI, SLURM = "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"
#: Every pod of Kubernetes has the first one; those of an Indexed Job, and so of a JobSet, have a number in the second.
KUBERNETES, POD = "KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"
#: Where a pod finds what lets it ask the server of Kubernetes.
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
#: Address, number of processes and number of this one, where none is given.
_UNSET = ("", 0, -1)


def launcher(environment: Mapping[str, str]) -> str:
    """The launcher that started more than this process, in words; "" when there is none."""
    for words, variable in (("Open MPI", OPEN_MPI), ("SLURM", SLURM)):
        if variable in environment:
            count = environment[variable]
            return words if count.isdigit() and int(count) > 1 else ""
    if "," in environment.get("TPU_WORKER_HOSTNAMES", ""):  # also on Kubernetes
        return "a TPU pod"
    return "Kubernetes" if KUBERNETES in environment and environment.get(POD, "").isdigit() else ""


def slurm_processes(environment: Mapping[str, str]) -> tuple[str, int, int]:
    """Address of the first process, number of processes, number of this one; each step of a job has its own port."""
    step, job = int(environment.get("SLURM_STEP_ID", 0)), int(environment["SLURM_JOB_ID"])
    port = environment.get("JAX_COORDINATOR_PORT") or 61440 + (job + 61 * step) % 4096
    address = f"{first_host(environment['SLURM_STEP_NODELIST'])}:{port}"
    return address, int(environment[SLURM]), int(environment["SLURM_PROCID"])


def pod_processes(environment: Mapping[str, str], count: int, host: str) -> tuple[str, int, int]:
    """Address of the first pod of an Indexed Job, `count`, and the number of this one, whose whole name is `host`, such
    as `job-1.service.space.svc.cluster.local`. No pod knows how many make a run: for 0, all is unset, and JAX asks the
    server of Kubernetes.
    """
    number, port = environment[POD], environment.get("JAX_COORDINATOR_PORT") or "8476"
    this = f"this is pod {number} of an Indexed Job of Kubernetes"
    if not count:
        if importlib.util.find_spec("kubernetes") and SERVICE_ACCOUNT.exists():
            return _UNSET
        raise UserError(
            f"{this}, and nothing says how many pods share a run: set JAX_NUM_PROCESSES, to 1 if each has a run of its "
            "own; or install the package kubernetes and give the pods a service account that reads pods and jobs"
        )
    name, _, service = host.partition(".")
    if not service or not name.endswith(f"-{number}"):
        raise UserError(
            f"{this}, named {host!r}: to find pod 0, it needs the subdomain of a headless service, as in "
            "https://kubernetes.io/docs/tasks/job/job-with-pod-to-pod-communication, or JAX_COORDINATOR_ADDRESS and "
            "JAX_PROCESS_ID"
        )
    return f"{name.removesuffix(number)}0.{service}:{port}", count, int(number)


def first_host(nodes: str) -> str:
    """The first name in a list of nodes as SLURM writes it: `n01` for `n[01-04,07],m1`."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first[0] if first else nodes)


def tasks_on_node(environment: Mapping[str, str]) -> tuple[int, int]:
    """Number of processes of this run on this node, and the number of this process among them."""
    if OPEN_MPI in environment:
        local = "OMPI_COMM_WORLD_LOCAL_"
        return int(environment.get(f"{local}SIZE", 1)), int(environment.get(f"{local}RANK", 0))
    counts: list[int] = []
    for text in environment.get("SLURM_STEP_TASKS_PER_NODE", "1").split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", text.strip())
        counts += [int(match[1])] * int(match[2] or 1) if match else []
    node = int(environment.get("SLURM_NODEID", 0))
    return counts[node] if node < len(counts) else 1, int(environment.get("SLURM_LOCALID", 0))


def local_devices(environment: Mapping[str, str], folder: Path = Path("/dev")) -> list[int]:
    """Returns the numbers of the devices, among those that this process sees, that it uses; [] for all. If the
    processes of a node all see the same devices, each takes an equal part of them.
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
    requested = environment.get("SLURM_GPUS_PER_TASK") or "gpu" in environment.get("SLURM_TRES_PER_TASK", "")
    bind = environment.get("SLURM_GPU_BIND", "") + environment.get("SLURM_TRES_BIND", "")
    return "none" not in bind and bool(requested or re.search(r"per_task|single:1\b|map", bind))


#: The time for which the processes of a run wait for each other.
WAIT_SECONDS = 300
#: More than any cluster has.
MOST_PROCESSES = 1_000_000


def initialize(coordinator_address: str = "", num_processes: int = 0, process_id: int = -1) -> int:
    """Connects the processes of a run, and returns their number; must come before anything else that uses JAX's
    devices.

    Without arguments (`host:port` of process 0, the number of processes, and that of this one, from 0) these come from
    `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`; then from a launcher (SLURM, Open MPI, a TPU
    pod, an Indexed Job of Kubernetes, whose pods need the number of processes at least). Without a launcher, or where
    the number of processes alone is given and is 1, this is a run of one process. A process uses all devices that it
    sees, see `local_devices`. If a process does not connect within `WAIT_SECONDS`, the others report it and exit with
    code 2.
    """
    given, started_by = (coordinator_address, num_processes, process_id), launcher(os.environ)
    given = _from_environment(os.environ) if given == _UNSET else given
    if given == ("", 1, -1) or (given == _UNSET and not started_by):
        return 1
    if started_by == "Kubernetes" and given[::2] == _UNSET[::2]:
        given = pod_processes(os.environ, given[1], socket.getfqdn())
    elif started_by == "SLURM" and given == _UNSET:
        given = slurm_processes(os.environ)
    if given == _UNSET:  # JAX knows where Open MPI and TPU pods keep the address, and asks the server of Kubernetes
        return _connect(f"the other processes that {started_by} has started")
    address, count, number = given
    if not address or count < 1 or not 0 <= number < count:
        raise UserError(
            "a run of several processes needs all of coordinator_address (host:port), num_processes and process_id "
            f"(0 to num_processes - 1), not {address!r}, {count} and {number}"
        )
    check_size(count, MOST_PROCESSES, "num_processes")
    if not re.fullmatch(r".+:\d+", address):
        raise UserError(f"coordinator_address must be host:port, such as 10.0.0.1:8476, not {address!r}")
    places = {"coordinator_address": address, "num_processes": count, "process_id": number}
    return _connect(f"{count} processes at {address}", **places)


def describe_devices() -> str:
    """The devices of a run, such as `16 devices of 2 processes`."""
    devices, processes = jax.device_count(), jax.process_count()
    return f"{devices} device{'s' * (devices > 1)} of {processes} process{'es' * (processes > 1)}"


def _connect(others: str, **arguments: Any) -> int:
    """Waits for the `others`, described so, with the arguments of JAX; returns the number of processes."""
    arguments["local_device_ids"] = local_devices(os.environ)
    print(f"waiting for {others}", flush=True)
    address, number = arguments.get("coordinator_address", ""), arguments.get("process_id", 0)
    if address and not number:
        _check_port(int(address.rpartition(":")[2]))
    try:
        with _time_limit(others, address if number else ""):
            jax.distributed.initialize(
                initialization_timeout=WAIT_SECONDS + 60, heartbeat_timeout_seconds=HEARTBEAT_SECONDS, **arguments
            )
    except (RuntimeError, ValueError) as error:
        reason = " ".join(re.split(r"\n\s*\n|```", str(error).strip())[0].split())  # without an example of YAML
        raise UserError(f"the processes of this run could not be connected: {reason}") from error
    return jax.process_count()


def _check_port(port: int) -> None:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
    except (OSError, OverflowError) as error:
        sentence = f"the first process cannot wait for the others at port {port} of this machine"
        raise UserError(f"{sentence}: {_reason(error)}") from error


def _reason(error: OSError | OverflowError) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


@contextmanager
def _time_limit(others: str, address: str) -> Iterator[None]:
    """Ends this process with a sentence after `WAIT_SECONDS`; JAX itself would abort it with a stack trace."""

    def give_up() -> None:
        silent = address and why_silent(address)
        reason = f"the first one does not answer there ({silent})" if silent else "some of them have not come"
        sentence = f"arjax: waited {WAIT_SECONDS:g} seconds in vain for {others}: {reason}"
        print(sentence, file=sys.stderr, flush=True)
        os._exit(2)  # as after any mistake of the user

    timer = threading.Timer(WAIT_SECONDS, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def why_silent(address: str) -> str:
    """The reason why nothing answers at `host:port`, "" if something does."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
            return ""
    except (OSError, OverflowError) as error:
        return _reason(error)


def _from_environment(environment: Mapping[str, str]) -> tuple[str, int, int]:
    """The three values, "", 0 and -1 where they are not set."""
    names = {"JAX_COORDINATOR_ADDRESS": "", "JAX_NUM_PROCESSES": "0", "JAX_PROCESS_ID": "-1"}
    address, count, number = (environment.get(name, unset) for name, unset in names.items())
    try:
        return address, int(count), int(number)
    except ValueError as error:
        message = f"JAX_NUM_PROCESSES={count!r} and JAX_PROCESS_ID={number!r} must be whole numbers"
        raise UserError(message) from error


def from_process_0(value: Any) -> Any:
    """A JSON value of process 0, on all processes, which wait for one another here."""
    if jax.process_count() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(text.size)))
    padded = np.zeros(size, np.uint8)
    padded[: text.size] = text[:size]
    return json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded), np.uint8)))


def on_any_process(flag: bool) -> bool:
    """Whether the flag is true on at least one of the processes, which wait for one another here."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.int32(flag))))
