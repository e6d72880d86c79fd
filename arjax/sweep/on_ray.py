"""Runs a sweep on a Ray cluster: each run is the process of an actor that outlives the sweep."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import logging
import os
import platform
import re
import secrets
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from arjax.cli.main import marked_as_parent
from arjax.core import __version__
from arjax.core.errors import UserError, did_you_mean, refuse
from arjax.core.files import write_text
from arjax.sweep.executors import PROGRAM, start
from arjax.sweep.queued import QUEUED, Job, QueuedExecutor, left_by
from arjax.sweep.runs import Run

#: Of the actors, by whose names a later start of the sweep finds them.
NAMESPACE = "arjax"
#: For the nodes to answer, and for a cancelled run to save its state.
ANSWER_SECONDS, SAVE_SECONDS, POLL_SECONDS = 60.0, 30.0, 1.0
#: Beginnings of the variables that runs take from the environment of the sweep, and of those that they do not take from
#: the node: a cluster may itself be a SLURM job.
FORWARDED, HIDDEN = ("ARJAX_", "JAX_", "PYTHONPATH", "TFDS_", "XLA_"), ("OMPI_", "SLURM_")
#: Of `--ray_options`; all others are resources.
PROCESSES, RESTARTS = "processes", "max_restarts"
#: Ray's names of resources in options, and those of its nodes.
RESOURCES = {"num_cpus": "CPU", "num_gpus": "GPU"}


class RayJob(Job):
    """An actor that runs a command in a folder to its end. Ray starts it again, on another node, when its node dies.

    A run of several processes has one of them here and the others in tasks, each in its bundle of the placement group
    with the name of the job. They end together: when one is killed or lost, all start again from the last checkpoint.
    """

    def __init__(self, job_id: str, command: Sequence[str], folder: Path, needs: Needs, place: Mapping[str, Any]):
        super().__init__(command, folder)
        self._job_id, self._needs, self._place = job_id, needs, place
        threading.Thread(target=self._serve).start()  # by itself, also when Ray starts it again: the sweep may be gone

    def _serve(self) -> None:
        """Runs to the end, leaves the exit code, and ends the actor."""
        try:
            self.leave(self._job_id, self.run(self._job_id))
        finally:
            _remove_group(self._job_id)
            _kill([self._job_id])

    def stop(self) -> None:
        """Asks the run to save its state and end, and waits for that."""
        self.stopped = True
        if self.process is not None:
            self.process.terminate()
            self.process.wait()

    def attempt(self) -> int:
        if self._needs.processes == 1:
            self.process = run_here(self.command, self.folder, self._place)
            return self.process.wait()
        import ray

        address = f"{ray.util.get_node_ip_address()}:{_free_port()}"
        shared = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(self._needs.processes)}
        places = [
            {**self._place, "environment": {**self._place["environment"], **shared, "JAX_PROCESS_ID": str(number)}}
            for number in range(self._needs.processes)
        ]
        task = ray.remote(max_retries=0)(_run_peer)
        peers = [
            task.options(**self._needs.options(self._job_id, number)).remote(self.command, self.folder, place)
            for number, place in enumerate(places[1:], start=1)
        ]
        self.process = run_here(self.command, self.folder, places[0])
        try:
            return self._together(peers)
        finally:
            for peer in peers:
                ray.cancel(peer, force=True)

    def _together(self, peers: list[Any]) -> int:
        """Waits for the processes of the run, after the first failure only for a while; returns 0, or the code of one
        that was killed or lost, or else of one that failed by itself, as those that wait for it fail, too.
        """
        import ray

        assert self.process is not None, "it was started before"
        codes, left = list[int](), peers
        while (left or self.process.poll() is None) and not (any(codes) or self.process.poll()):
            done, left = ray.wait(left, timeout=POLL_SECONDS) if left else ([], [])
            codes += map(_code_of, done)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(POLL_SECONDS)
        if left:
            codes += map(_code_of, ray.wait(left, num_returns=len(left), timeout=SAVE_SECONDS)[0])
        code = self.process.poll()
        if code is None:
            self.process.kill()
            self.process.wait()
        return next(filter(None, sorted([*codes, code or 0])), 0)


def _code_of(answer: Any) -> int:
    import ray

    try:
        return ray.get(answer)
    except ray.exceptions.RayError:  # lost with its node
        return -int(signal.SIGKILL)


def run_here(command: Sequence[str], folder: Path, place: Mapping[str, Any]) -> subprocess.Popen:
    """Starts the process of a run on this node, in the folder and with the variables of the sweep."""
    environment = {name: value for name, value in marked_as_parent().items() if not name.startswith(HIDDEN)}
    # In a session of its own, so that it sees this process end, and saves, whatever Ray does to its group.
    return start(command, folder, environment | place["environment"], cwd=place["cwd"], start_new_session=True)


def _run_peer(command: Sequence[str], folder: Path, place: Mapping[str, Any]) -> int:
    return run_here(command, folder, place).wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


class Needs:
    """The resources of each process of a run by Ray's names, the number of processes, and how often Ray restarts it."""

    def __init__(self, options: Mapping[str, Any]):
        for name, value in options.items():
            least = int(name == PROCESSES)
            is_number = isinstance(value, int | float) and not isinstance(value, bool) and value >= least
            whole = name in (PROCESSES, RESTARTS)
            wanted = f"a {'whole ' * whole}number of at least {least}"
            refuse((not is_number or (whole and value != int(value)), f"--ray_options: {name} must be {wanted}"))
        rest = {"num_cpus": 1, "num_gpus": 0, PROCESSES: 1, RESTARTS: 20} | dict(options)
        self.processes, self.restarts = int(rest.pop(PROCESSES)), int(rest.pop(RESTARTS))
        self.resources: dict[str, float] = {RESOURCES.get(name, name): amount for name, amount in rest.items()}

    def check(self, nodes: Sequence[Mapping[str, float]]) -> None:
        """Raises `UserError` unless the processes of a run fit on nodes with these resources."""
        asked = {name: amount for name, amount in self.resources.items() if amount}
        total = {name: sum(node.get(name, 0) for node in nodes) for node in nodes for name in node}
        room = sum(int(min(node.get(name, 0) // amount for name, amount in asked.items())) for node in nodes if asked)
        if asked and room < self.processes:
            unknown = [name for name in asked if name not in total]
            near = did_you_mean(unknown[0], [*total, *RESOURCES, PROCESSES, RESTARTS]) if unknown else ""
            needs, has = (", ".join(f"{amounts.get(name, 0):g} {name}" for name in asked) for amounts in (asked, total))
            each = "a run" if self.processes == 1 else f"each of the {self.processes} processes of a run"
            raise UserError(f"{each} needs {needs} on one node, more than this Ray cluster has: {has} in all{near}")
        if total.get("GPU") and not self.resources["GPU"]:
            print("    the runs do not use the GPUs of this Ray cluster: give --ray_options=num_gpus=1", flush=True)

    def options(self, job_id: str, number: int) -> dict[str, Any]:
        """The options of the actor or task of a process, in its bundle of the placement group if there is one."""
        rest = dict(self.resources)
        known = {"num_cpus": rest.pop("CPU"), "num_gpus": rest.pop("GPU"), "memory": rest.pop("memory", None)}
        options: dict[str, Any] = {**known, "resources": rest}
        if self.processes > 1:
            import ray
            from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy as InGroup

            group = ray.util.get_placement_group(job_id)
            options["scheduling_strategy"] = InGroup(group, placement_group_bundle_index=number)
        return options


class RayExecutor(QueuedExecutor):
    """Submits detached actors to the cluster at `RAY_ADDRESS` or on this machine, or, unless the sweep `leaves`, to a
    local one that ends with it. `options` are the fields of `Needs`.
    """

    engine, poll_seconds, looks = "Ray", 1.0, 15

    def __init__(self, options: Mapping[str, Any], program: Sequence[str] = PROGRAM, *, leaves: bool, **queue: Any):
        super().__init__(program, **queue)
        if importlib.util.find_spec("ray") is None:
            raise UserError("--executor=ray needs ray: pip install 'arjax[ray]'")
        self._needs, self._is_checked = Needs(options), False
        _connect(leaves)

    def states(self) -> dict[str, str] | None:
        import ray

        try:
            names = ray.util.list_named_actors()
            ended = [name for name in names if _num_processes(name) > 1 and "exit_code" in left_by(_folder(name), name)]
            _kill(ended)  # Ray has ended them with their placement group, and would start them again
            return dict.fromkeys(sorted({*names} - {*ended}), QUEUED)
        except (ray.exceptions.RayError, RuntimeError):
            return None

    def submit(self, runs: Sequence[Run], workdir: Path) -> dict[str, Run]:
        import ray

        if not self._is_checked:
            self._needs.check([node["Resources"] for node in ray.nodes() if node["Alive"]])
            _check_nodes(workdir)
            self._is_checked = True
        environment = {name: value for name, value in os.environ.items() if name.startswith(FORWARDED)}
        place, by_job = {"cwd": os.getcwd(), "environment": environment}, {}
        for run in runs:
            folder = (workdir / run.name).resolve()
            job_id = f"{folder}#{self._needs.processes}-{secrets.token_hex(4)}"
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
        import ray

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


def _num_processes(job_id: str) -> int:
    return int(job_id.rpartition("#")[2].partition("-")[0])


def _kill(job_ids: Sequence[str]) -> None:
    import ray

    for job_id in job_ids:
        with contextlib.suppress(ValueError):  # it has ended
            ray.kill(ray.get_actor(job_id))
        _remove_group(job_id)


def _remove_group(job_id: str) -> None:
    import ray

    with contextlib.suppress(ValueError):  # a run of one process has none
        ray.util.remove_placement_group(ray.util.get_placement_group(job_id))


def _connect(leaves: bool) -> None:
    import ray

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
        if given:
            raise UserError(f"there is no Ray cluster at RAY_ADDRESS={given}") from error
        if leaves:
            raise UserError("there is no Ray cluster that goes on alone: set RAY_ADDRESS=host:port") from error
        ray.init(address="local", include_dashboard=False, **quiet)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the Ray cluster refuses this machine: {error}") from error


def _check_nodes(workdir: Path) -> None:
    """Raises `UserError` unless all nodes read what this machine writes, and run the same versions."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as OnNode

    with _written_file(workdir) as (path, text):
        task, asked = ray.remote(num_cpus=0, max_retries=0)(_seen), {}
        for node in ray.nodes():
            if node["Alive"]:
                there = OnNode(node["NodeID"], soft=False)
                asked[task.options(scheduling_strategy=there).remote(str(path), os.getcwd())] = node
        ray.wait([*asked], num_returns=len(asked), timeout=ANSWER_SECONDS)
        for answer, node in asked.items():
            name = f"the node {node['NodeManagerHostname']} of the Ray cluster"
            try:
                read, has_folder, versions = ray.get(answer, timeout=0)
            except ray.exceptions.RayTaskError as error:
                raise UserError(f"{name} cannot run arjax: {str(error).strip().splitlines()[-1]}") from error
            except ray.exceptions.RayError:  # it is dying: its jobs will run elsewhere
                print(f"    {name} does not answer", flush=True)
                continue
            here = _versions()
            refuse(
                (read != text, f"{name} does not see {workdir}: runs on Ray need a --workdir that all nodes share"),
                (
                    not has_folder,
                    f"{name} does not see {os.getcwd()}: start the sweep in a folder that all nodes share",
                ),
                (versions != here, f"{name} has {versions}, and this machine {here}: install the same on both"),
            )


@contextlib.contextmanager
def _written_file(workdir: Path) -> Iterator[tuple[Path, str]]:
    path, text = workdir.resolve() / f".seen-{secrets.token_hex(4)}", secrets.token_hex(16)
    write_text(path, text)
    try:
        yield path, text
    finally:
        path.unlink(missing_ok=True)


def _seen(path: str, folder: str) -> tuple[str, bool, str]:
    """The text of a file, whether there is a folder, and the versions, on the node of this task."""
    with contextlib.suppress(OSError):
        return Path(path).read_text(), os.path.isdir(folder), _versions()
    return "", os.path.isdir(folder), _versions()


def _versions() -> str:
    return f"Python {platform.python_version()}, arjax {__version__} and JAX {importlib.metadata.version('jax')}"
