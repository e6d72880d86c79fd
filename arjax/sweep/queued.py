"""Runs as jobs of an engine, SLURM or Ray, that go on without the sweep and are found again after a restart."""

from __future__ import annotations

import collections
import itertools
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from arjax.cli.command_line import EXIT_USER_ERROR
from arjax.core.errors import UserError
from arjax.core.files import read_json_object, writable_folder, write_json
from arjax.sweep.executors import HEARTBEAT_SECONDS, add_to_log, last_line, wait_for_folder
from arjax.sweep.runs import Run

#: In the folder of a run: its job, and where that runs, or the exit code that it has left.
JOB_FILE, EXIT_NAME = "job.json", "job_exit.json"
#: How often a process that was killed starts again without a new step, and how often a lost job is submitted again.
RETRIES = 3
#: Of a job that the engine knows, which runs if it has left its node.
QUEUED = "QUEUED"
#: States of SLURM in which squeue still shows a job that will not run any more.
STOPPED = ("CANCELLED", "COMPLETED", "DEADLINE", "OUT_OF_MEMORY", "TIMEOUT")
#: Those whose job was not at fault: it is submitted again.
LOST = ("BOOT_FAIL", "FAILED", "NODE_FAIL", "PREEMPTED")


class QueuedJob:
    """The process of a run, on a machine of the engine. `attempt` starts it, and returns its exit code."""

    def __init__(self, command: Sequence[str], folder: Path):
        self.command, self.folder = list(command), folder
        self.process: subprocess.Popen | None = None
        self.stopped = False  # it was asked to end

    def attempt(self) -> int:
        raise NotImplementedError

    def run(self, job_id: str, *, first: bool = True, retries: int = RETRIES) -> int:
        """Returns the exit code. A process that is killed, by hand or for lack of memory, starts again from its last
        checkpoint, up to `retries` times without a new one. `first`: of the processes of a run.
        """
        if first:
            write_json(self.folder / EXIT_NAME, {"job_id": job_id, "node": socket.gethostname()})
        kills, code = 0, -int(signal.SIGKILL)
        while code == -signal.SIGKILL and kills <= retries:
            if first:
                wait_for_folder(self.folder, lambda text: add_to_log(self.folder, text), lambda: self.stopped)
            if self.stopped:
                break
            before = newest_checkpoint(self.folder)
            code = self.attempt()
            kills = kills + 1 if newest_checkpoint(self.folder) == before else 1
        return code

    def leave(self, job_id: str, code: int) -> None:
        write_json(self.folder / EXIT_NAME, {"job_id": job_id, "exit_code": code})


def newest_checkpoint(folder: Path) -> str:
    """The name of the newest state that the run has saved; "" before the first."""
    steps = [path.name for path in (folder / "checkpoints" / "latest").glob("*") if path.name.isdigit()]
    return max(steps, key=int, default="")


def left_by(folder: Path, job_id: str) -> dict[str, Any]:
    """What a job has left in the folder of its run: its node, or its exit code; nothing before it has begun."""
    record = read_json_object(folder / EXIT_NAME) or {}
    return record if record.get("job_id") == job_id else {}


def _doing(state: str, left: dict[str, Any]) -> str:
    """What a job in this state of the engine does, in words."""
    return f"RUNNING on {left['node']}" if "node" in left and state in ("RUNNING", QUEUED) else state


def is_active(state: str) -> bool:
    """Whether a job in this state runs or will run (again)."""
    return bool(state) and state not in STOPPED + LOST


class QueuedExecutor:
    """Submits a job for each run to an engine and waits for all of them; with `detach`, for none. A job from an earlier
    start of the sweep that is still in the queue is waited for: its number is in the folder of its run. At most `jobs`
    are in the queue at once, None: all. An engine has `states`, `submit` and `cancel`.
    """

    engine, poll_seconds = "", 5.0
    #: Polls in a row without the job in the queue after which a job without an exit code counts as lost: it may be
    #: queued again, or its files may reach this machine late.
    looks = 3

    def __init__(self, program: Sequence[str], *, jobs: int | None = None, detach: bool = False):
        self.program, self._jobs, self._detach = list(program), jobs, detach

    def states(self) -> dict[str, str] | None:
        """The state of each job that the engine still knows; None when it does not answer."""
        raise NotImplementedError

    def submit(self, runs: Sequence[Run], workdir: Path) -> dict[str, Run]:
        """Submits a job for each run, and returns the runs by the numbers of their jobs."""
        raise NotImplementedError

    def cancel(self, job_ids: Sequence[str]) -> None:
        """Cancels jobs, which save their state."""
        raise NotImplementedError

    def execute(self, runs: Iterable[Run], workdir: Path) -> Iterator[tuple[Run, int]]:
        coming, waiting = iter(runs), dict[str, Run]()
        try:
            yield from self._begin(coming, waiting, workdir)
            if self._detach:
                return
            for ended in self._wait(waiting, workdir):
                yield ended
                yield from self._begin(coming, waiting, workdir)
        except BaseException:  # an interrupt: else the cluster would go on with jobs that nobody waits for
            self.cancel(list(waiting))
            raise

    def progress(self, runs: Sequence[Run], workdir: Path) -> tuple[dict[str, str], dict[str, int]]:
        """Returns, by the names of runs, the states of their jobs in the queue, and the exit codes of jobs that have
        ended, 1 for one that was ended from outside.
        """
        states, active, ended = self._answer(), dict[str, str](), dict[str, int]()
        for run in runs:
            if not (job_id := self._job_of(run, workdir)[0]):
                continue
            left, state = left_by(workdir / run.name, job_id), states.get(job_id, "")
            if not is_active(state):
                ended[run.name] = left.get("exit_code", 1)
            else:
                active[run.name] = _doing(state, left)
        return active, ended

    def _begin(self, coming: Iterator[Run], waiting: dict[str, Run], workdir: Path) -> Iterator[tuple[Run, int]]:
        """Adds jobs of further runs to those that are waited for, up to as many as may be in the queue; yields the runs
        whose folders refuse.
        """
        while runs := list(itertools.islice(coming, None if self._jobs is None else self._jobs - len(waiting))):
            known, missing = self._found(runs, workdir), []
            waiting |= known
            for run in runs:
                if run in known.values():
                    continue
                try:
                    add_to_log(writable_folder(workdir / run.name), f"$ {run.command()}")
                    missing.append(run)
                except UserError as error:
                    print(f"    {run.name}: {error}", flush=True)
                    yield run, EXIT_USER_ERROR
            waiting |= self.submit(missing, workdir) if missing else {}

    def _answer(self) -> dict[str, str]:
        if (states := self.states()) is None:
            raise UserError(f"--executor={self.engine.lower()} does not work here: {self.engine} does not answer")
        return states

    def _job_of(self, run: Run, workdir: Path) -> tuple[str, str]:
        """The number of the job of a run, and its command; "" if there is none."""
        record = read_json_object(workdir / run.name / JOB_FILE) or {}
        return record.get("job_id", ""), record.get("command", "")

    def note(self, run: Run, job_id: str, workdir: Path) -> None:
        """Notes the job of a run for the next start of the sweep."""
        write_json(workdir / run.name / JOB_FILE, {"job_id": job_id, "command": run.command()})

    def _found(self, runs: Sequence[Run], workdir: Path) -> dict[str, Run]:
        """The runs with a job from an earlier start of the sweep that is still in the queue."""
        states, known = self._answer(), {}
        for run in runs:
            job_id, command = self._job_of(run, workdir)
            if not is_active(states.get(job_id, "")):
                continue
            job = f"{self.engine} job {job_id}"
            if command != run.command():
                raise UserError(f"run {run.name!r} is another one than its {job} in the queue: cancel that first")
            print(f"    {run.name}: {job} is in the queue already", flush=True)
            known[job_id] = run
        return known

    def _wait(self, waiting: dict[str, Run], workdir: Path) -> Iterator[tuple[Run, int]]:
        """Yields the run of each job, with its exit code, as it leaves the queue; between two yields, jobs may be
        added. A job that was lost, with its node or by mistake, is submitted again.
        """
        polls, lost, reported = collections.Counter[str](), collections.Counter[str](), time.monotonic()
        while waiting:
            if (states := self.states()) is None:
                time.sleep(self.poll_seconds)
                continue
            for job_id, run in list(waiting.items()):
                state, folder = states.get(job_id, ""), workdir / run.name
                polls[job_id] = 0 if is_active(state) else polls[job_id] + 1
                code = left_by(folder, job_id).get("exit_code")
                if not polls[job_id] or (code is None and polls[job_id] < self.looks):
                    continue
                del waiting[job_id]
                if code is not None:
                    yield run, code
                    continue
                lost[run.name] += state not in STOPPED
                try:
                    add_to_log(folder, f"{self.engine} job {job_id} was ended from outside {state}".rstrip())
                    if state not in STOPPED and lost[run.name] <= RETRIES:
                        waiting |= self.submit([run], workdir)
                        continue
                except UserError as error:
                    print(f"    {run.name}: {error}", flush=True)
                yield run, 1
            if time.monotonic() - reported > HEARTBEAT_SECONDS:
                reported = time.monotonic()
                for job_id, run in waiting.items():
                    folder = workdir / run.name
                    does = _doing(states.get(job_id, ""), left_by(folder, job_id))
                    print(f"    {run.name}: {does}  {last_line(folder)}", flush=True)
            if waiting:
                time.sleep(self.poll_seconds)
