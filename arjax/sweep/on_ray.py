"""Runs a sweep on a Ray cluster, each run in an actor that outlives the sweep. Imports Ray: an extra.

Ray does not pin CPUs: runs on one node share its cores. A cluster that grows on demand needs one node of each kind at
the start.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import logging
import os
import platform
import re
import secrets
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from arjax.cli.main import marked_as_parent
from arjax.core import __version__
from arjax.core.errors import UserError, did_you_mean, refuse
from arjax.core.files import writing
from arjax.core.options import is_integer
from arjax.sweep.executors import PROGRAM, start
from arjax.sweep.queued import QUEUED, QueuedExecutor, QueuedJob, left_by
from arjax.sweep.runs import Run

#: Of the actors, by whose names a later start of the sweep finds them.
NAMESPACE = "arjax"
#: For the nodes to answer, and for a cancelled run to save its state.
ANSWER_SECONDS, SAVE_SECONDS, POLL_SECONDS = 60.0, 30.0, 1.0
#: Beginnings of the variables that runs take from the environment of the sweep, and of those that they do not take from
#: the node: a cluster may itself be a SLURM job.
FORWARDED, HIDDEN = ("ARJAX_", "JAX_", "PYTHONPATH", "TFDS_", "XLA_"), ("OMPI_", "SLURM_")
#: Of `--ray_options`, with the defaults; others are resources, two of which Ray's nodes name differently.
DEFAULTS = {"num_cpus": 1, "num_gpus": 0, "processes": 1, "max_restarts": 20}
RESOURCES = {"num_cpus": "CPU", "num_gpus": "GPU"}


class RayJob(QueuedJob):
    """An actor that runs a command in a folder to its end. Ray starts it again, on another node, when its node dies.

    A run of several processes has one of them here and the others in tasks, each in its bundle of the placement group
    with the name of the job. They end together: when one is killed or lost, all start again from the last checkpoint.
    """

    def __init__(self, job_id: str, command: Sequence[str], folder: Path, needs: Needs, place: Mapping[str, Any]):
        super().__init__(command, folder)
        self._job_id, self._needs, self._place = job_id, needs, place
        threading.Thread(target=self._serve).start()  # by itself, also when Ray starts it again: the sweep may be gone

    def _serve(self) -> None:
        try:
            self.leave(self._job_id, self.run(self._job_id))
        finally:
            _kill([self._job_id])

    def stop(self) -> None:
        """Asks the run to save its state and end, and waits for that."""
        self.stopped = True
        if self.process is not None:
            self.process.terminate()
            self.process.wait()

    def attempt(self) -> int:
        shared: dict[str, str] = {}
        if self._needs.processes > 1:
            with socket.socket() as probe:
                probe.bind(("", 0))
                shared["JAX_COORDINATOR_ADDRESS"] = f"{ray.util.get_node_ip_address()}:{probe.getsockname()[1]}"
            shared["JAX_NUM_PROCESSES"] = str(self._needs.processes)
        first, *others = (shared | {"JAX_PROCESS_ID": str(i)} if shared else {} for i in range(self._needs.processes))
        peers = [
            ray.remote(_run_peer)
            .options(**self._needs.options(self._job_id, number), max_retries=0)
            .remote(self.command, self.folder, self._place, more)
            for number, more in enumerate(others, start=1)
        ]
        self.process = run_here(self.command, self.folder, self._place, first)
        try:
            return _together(self.process, peers)
        finally:
            for peer in peers:
                ray.cancel(peer, force=True)


def _together(process: subprocess.Popen, peers: list[Any]) -> int:
    """Waits for the processes of a run, and after the first failure a while for others; returns 0, or the code of one
    that was killed or lost, or else of one that has failed by itself.
    """
    codes, left = list[int](), peers
    while left and not any(codes) and not process.poll():
        done, left = ray.wait(left, timeout=POLL_SECONDS)
        codes += map(_code_of, done)
    if left:
        codes += map(_code_of, ray.wait(left, num_returns=len(left), timeout=SAVE_SECONDS)[0])
    if any(codes) and process.poll() is None:
        process.kill()  # it would wait for the others in vain
        process.wait()
    else:
        codes.append(process.wait())
    return next(filter(None, sorted(codes)), 0)


def _code_of(answer: Any) -> int:
    try:
        return ray.get(answer)
    except ray.exceptions.RayError:  # lost with its node
        return -int(signal.SIGKILL)


def run_here(
    command: Sequence[str], folder: Path, place: Mapping[str, Any], more: Mapping[str, str]
) -> subprocess.Popen:
    """Starts the process of a run on this node, in the folder and with the variables of the sweep, and some more."""
    environment = {name: value for name, value in marked_as_parent().items() if not name.startswith(HIDDEN)}
    environment |= {**place["environment"], **more}
    # In a session of its own, so that it sees this process end, and saves, whatever Ray does to its group.
    return start(command, folder, environment, cwd=place["cwd"], start_new_session=True)


def _run_peer(*arguments: Any) -> int:
    return run_here(*arguments).wait()


class Needs:
    """The resources of each process of a run by Ray's names, the number of processes, and how often Ray restarts it."""

    def __init__(self, options: Mapping[str, Any]):
        for name, value in options.items():
            whole, least = name in ("processes", "max_restarts"), int(name == "processes")
            is_right = is_integer(value) or (isinstance(value, float) and not whole)
            wanted = f"a {'whole ' * whole}number of at least {least}"
            refuse((not is_right or value < least, f"--ray_options: {name} must be {wanted}"))
        rest: dict[str, Any] = {**DEFAULTS, **options}
        self.processes, self.restarts = rest.pop("processes"), rest.pop("max_restarts")
        self.resources: dict[str, float] = {RESOURCES.get(name, name): amount for name, amount in rest.items()}

    def check(self, nodes: Sequence[Mapping[str, float]]) -> None:
        """Raises `UserError` unless the processes of a run fit on nodes with these resources."""
        asked = {name: amount for name, amount in self.resources.items() if amount}
        total = {name: sum(node.get(name, 0) for node in nodes) for name in {*asked, *itertools.chain(*nodes)}}
        room = sum(int(min(node.get(name, 0) // asked[name] for name in asked)) for node in nodes if asked)
        if asked and room < self.processes:
            others = [*DEFAULTS, *total.keys() - asked]
            near = next((did_you_mean(name, others) for name in asked if not total[name]), "")
            needs, has = (", ".join(f"{amounts[name]:g} {name}" for name in asked) for amounts in (asked, total))
            each = "a run" if self.processes == 1 else f"each of the {self.processes} processes of a run"
            raise UserError(f"{each} needs {needs} on one node, more than this Ray cluster has: {has} in all{near}")
        if total.get("GPU") and not self.resources["GPU"]:
            print("    the runs do not use the GPUs of this Ray cluster: give --ray_options=num_gpus=1", flush=True)

    def options(self, job_id: str, number: int) -> dict[str, Any]:
        """The options of the actor or task of a process, in its bundle of the placement group if there is one."""
        rest = dict(self.resources)
        options: dict[str, Any] = {"num_cpus": rest.pop("CPU"), "num_gpus": rest.pop("GPU")}
        options |= {"memory": rest.pop("memory", None), "resources": rest}
        if self.processes > 1:
            group = ray.util.get_placement_group(job_id)
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=number
            )
        return options


class RayExecutor(QueuedExecutor):
    """Submits detached actors to the cluster at `RAY_ADDRESS` or on this machine, or, unless the sweep `leaves`, to a
    local one that ends with it. `options` are those of `DEFAULTS`, and resources.
    """

    engine, poll_seconds, looks = "Ray", 0.5, 30

    def __init__(self, options: Mapping[str, Any], program: Sequence[str] = PROGRAM, *, leaves: bool, **queue: Any):
        super().__init__(program, **queue)
        self._needs, self._is_checked = Needs(options), False
        self._is_local = _connect(leaves)

    def states(self) -> dict[str, str] | None:
        try:
            names = ray.util.list_named_actors()
        except (ray.exceptions.RayError, RuntimeError):
            return None
        ended = {name for name in names if "exit_code" in left_by(_folder(name), name)}
        _kill(sorted(ended))  # those that Ray has ended with their placement group, and would start again
        return {name: QUEUED for name in names if name not in ended}

    def submit(self, runs: Sequence[Run], workdir: Path) -> dict[str, Run]:
        if not self._is_checked:
            self._needs.check([node["Resources"] for node in ray.nodes() if node["Alive"]])
            self._is_checked = self._is_local or _check_nodes(workdir)
        environment = {name: value for name, value in os.environ.items() if name.startswith(FORWARDED)}
        place, by_job = {"cwd": os.getcwd(), "environment": environment}, {}
        for run in runs:
            folder = (workdir / run.name).resolve()
            job_id = f"{folder}#{secrets.token_hex(4)}"
            self.note(run, job_id, workdir)  # before it begins: a sweep that is killed here submits no second one
            if self._needs.processes > 1:
                bundles = [{name: n for name, n in self._needs.resources.items() if n}] * self._needs.processes
                ray.util.placement_group(bundles, strategy="SPREAD", name=job_id, lifetime="detached")
            lives = {"name": job_id, "lifetime": "detached", "max_restarts": self._needs.restarts}
            actor = ray.remote(RayJob).options(**lives, **self._needs.options(job_id, 0))
            actor.remote(job_id, [*self.program, *run.arguments(workdir)], folder, self._needs, place)
            by_job[job_id] = run
        return by_job

    def cancel(self, job_ids: Sequence[str]) -> None:
        begun = []
        for job_id in job_ids:
            if left_by(_folder(job_id), job_id):
                with contextlib.suppress(ValueError):  # it has ended
                    begun.append(ray.get_actor(job_id).stop.remote())
        if begun:
            ray.wait(begun, num_returns=len(begun), timeout=SAVE_SECONDS)
        _kill(job_ids)


def _folder(job_id: str) -> Path:
    return Path(job_id.rpartition("#")[0])


def _kill(job_ids: Sequence[str]) -> None:
    """Ends actors for good, and gives the bundles of their placement groups back first."""
    for job_id in job_ids:
        with contextlib.suppress(ValueError):  # a run of one process has none
            ray.util.remove_placement_group(ray.util.get_placement_group(job_id))
        with contextlib.suppress(ValueError):  # it has ended
            ray.kill(ray.get_actor(job_id))


def _connect(leaves: bool) -> bool:
    """Connects to a cluster, or starts one; returns whether it is one of this machine that ends with the sweep."""
    given = os.environ.get("RAY_ADDRESS", "")
    quiet = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": logging.ERROR}
    refuse((given.startswith("ray://"), f"RAY_ADDRESS={given} is that of a client: give host:port, on a node"))
    if re.fullmatch(r".+:\d+", given):  # Ray itself would try for minutes
        from arjax.parallel.distributed import why_silent  # with JAX

        reason = why_silent(given)
        refuse((reason, f"there is no Ray cluster at RAY_ADDRESS={given}: {reason}"))
    try:
        ray.init(address="auto", **quiet)
    except ConnectionError as error:
        wrong = f"at RAY_ADDRESS={given}" if given else "that goes on alone: set RAY_ADDRESS=host:port"
        if given and os.environ.get("RAY_AUTH_MODE") != "token":  # Ray sends no token to an address unless told so
            wrong += ", or it asks for a token: set RAY_AUTH_MODE=token, as Ray describes under `ray get-auth-token`"
        if given or leaves:
            raise UserError(f"there is no Ray cluster {wrong}") from error
        ray.init(address="local", include_dashboard=False, **quiet)
        return True
    except (RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UserError(f"the Ray cluster refuses this machine: {error}") from error
    return False


def _check_nodes(workdir: Path) -> bool:
    """Raises `UserError` unless all nodes read what this machine writes, and have the same versions."""
    with writing(workdir), tempfile.NamedTemporaryFile("w", dir=workdir.resolve(), prefix=".seen-") as file:
        file.write(secrets.token_hex(16))
        file.flush()
        nodes = [node for node in ray.nodes() if node["Alive"]]
        where = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
        task, arguments = ray.remote(_seen), (file.name, os.getcwd())
        answers = [
            task.options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(*arguments) for there in where
        ]
        ray.wait(answers, num_returns=len(answers), timeout=ANSWER_SECONDS)
        here = _seen(*arguments)
    for answer, node in zip(answers, nodes, strict=True):
        name = f"the node {node['NodeManagerHostname']} of the Ray cluster"
        try:
            there = ray.get(answer, timeout=0)
        except ray.exceptions.RayTaskError as error:
            raise UserError(f"{name} cannot run arjax: {str(error).strip().splitlines()[-1]}") from error
        except ray.exceptions.RayError:  # it is dying: its jobs will run elsewhere
            print(f"    {name} does not answer", flush=True)
            continue
        refuse(
            (there[0] != here[0], f"{name} does not see {workdir}: runs on Ray need a --workdir that all nodes share"),
            (not there[1], f"{name} does not see {os.getcwd()}: start the sweep in a folder that all nodes share"),
            (there[2] != here[2], f"{name} has {there[2]}, and this machine {here[2]}: install the same on both"),
        )
    return True


def _seen(path: str, folder: str) -> tuple[str, bool, str]:
    """The text of a file, whether there is a folder, and the versions, on this node."""
    versions = f"Python {platform.python_version()}, arjax {__version__} and JAX {importlib.metadata.version('jax')}"
    return Path(path).read_text() if os.path.exists(path) else "", os.path.isdir(folder), versions
