"""Runs a sweep on a SLURM cluster: one job for each run, submitted through submitit and found again after a restart."""

from __future__ import annotations

import collections
import importlib.util
import itertools
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from arjax.core.errors import UserError
from arjax.core.files import read_json_object, writable_folder, write_json
from arjax.sweep.executors import HEARTBEAT_SECONDS, LOG_NAME, PROGRAM, add_to_log, last_line
from arjax.sweep.results import read_results
from arjax.sweep.runs import Run

EXIT_NAME = "slurm_exit.json"
JOB_FILE = "slurm_job.json"
POLL_SECONDS = 5.0
#: Polls in a row without the job in the queue after which a job without an exit code counts as killed: it may be queued
#: again, or its files may reach this machine late.
LOOKS = 3
#: States in which squeue still shows a job that will not run any more.
ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    "TIMEOUT",
)


class SlurmJob:
    """Runs a command in a folder; a callable that submitit sends to the cluster. SLURM warns of the time limit with
    SIGUSR2 (`slurm_signal_delay_s` before it), and of a preemption with SIGTERM. Then the command is asked to save and
    end, and the job is queued again if something new was saved: else it would repeat forever. A cancelled job is not
    queued again.
    """

    def __init__(self, command: Sequence[str], folder: Path):
        self._command, self._folder = list(command), folder
        self._time_is_up = self._terminated = False
        self._process: subprocess.Popen | None = None

    def __call__(self) -> int:
        """Returns the exit code of the command, which `exit_code` finds as well unless the job is queued again."""
        first = os.environ.get("SLURM_PROCID", "0") == "0"  # of the processes of a run on several nodes
        self._folder.mkdir(parents=True, exist_ok=True)
        if first:
            (self._folder / EXIT_NAME).unlink(missing_ok=True)
        before = newest_checkpoint(self._folder)
        code = self._run()
        if first and not self._queued_again(before):
            write_json(self._folder / EXIT_NAME, {"job_id": job_id(os.environ), "exit_code": code})
        return code

    def _run(self) -> int:
        # SLURM sends its signals to every process of the job. The command has no use for SIGUSR2 and inherits the mask.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        signal.signal(signal.SIGUSR2, self._warn)
        signal.signal(signal.SIGTERM, self._terminate)
        with (self._folder / LOG_NAME).open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
        return self._process.wait()

    def _warn(self, number: int, frame: FrameType | None) -> None:
        if not self._time_is_up and self._process is not None:
            self._process.terminate()  # once: the command may be at its end already
        self._time_is_up = True

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._terminated = True  # the command has received it, too

    def _queued_again(self, before: str) -> bool:
        if read_results(self._folder) or not (self._time_is_up or (self._terminated and _is_preempted())):
            return False
        if newest_checkpoint(self._folder) == before:
            add_to_log(self._folder, "no step was saved within the time of this job: it needs a longer timeout_min")
            return False
        done = subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], capture_output=True, text=True)
        add_to_log(self._folder, done.stderr if done.returncode else "the job is queued again")
        return not done.returncode


def newest_checkpoint(folder: Path) -> str:
    """The name of the newest state that the run has saved; "" before the first."""
    steps = [path.name for path in (folder / "checkpoints" / "latest").glob("*") if path.name.isdigit()]
    return max(steps, key=int, default="")


def exit_code(folder: Path, job_id: str) -> int | None:
    """The exit code that the job has left in the folder; None when it has not ended by itself."""
    record = read_json_object(folder / EXIT_NAME) or {}
    return record.get("exit_code") if record.get("job_id") == job_id else None


def job_id(environment: Mapping[str, str]) -> str:
    """The number of the job in which this process runs, as squeue writes it: `12`, or `12_3` in an array."""
    if "SLURM_ARRAY_TASK_ID" in environment:
        return f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
    return environment["SLURM_JOB_ID"]


def _is_preempted() -> bool:
    """Whether this job is preempted by another one; it is neither cancelled nor over its time limit."""
    command = ["scontrol", "show", "job", os.environ["SLURM_JOB_ID"]]
    text = subprocess.run(command, capture_output=True, text=True).stdout
    when = re.search(r"\bPreemptTime=(\S+)", text)
    return "JobState=RUNNING" in text and when is not None and when[1] not in ("None", "Unknown")


class SlurmExecutor:
    """Submits one SLURM job for each run and waits for all of them; needs submitit. A job from an earlier start of the
    sweep that is still in the queue is waited for: its number is in the folder of its run. squeue tells the states of
    jobs, on clusters without accounting as well. At most `jobs` are in the queue at once, None: all; `options` go to
    `submitit.AutoExecutor.update_parameters`.
    """

    def __init__(
        self, workdir: Path, options: Mapping[str, Any], program: Sequence[str] = PROGRAM, *, jobs: int | None = None
    ):
        if importlib.util.find_spec("submitit") is None:
            raise UserError("--executor=slurm needs submitit: pip install 'arjax[slurm]'")
        import submitit

        if "%" in str(workdir.resolve()):
            raise UserError(
                f"SLURM reads % in the name of a log as something else: choose another --workdir than {workdir}"
            )
        try:
            parameters = {"requeue": True} | dict(options.get("slurm_additional_parameters", {}))
            self._executor = submitit.AutoExecutor(folder=workdir / "slurm", cluster="slurm")
            self._executor.update_parameters(**(dict(options) | {"slurm_additional_parameters": parameters}))
        except (RuntimeError, NameError, TypeError, ValueError) as error:  # no SLURM, or an option that it lacks
            raise UserError(f"--executor=slurm does not work here: {str(error).splitlines()[0]}") from error
        self._program, self._jobs = list(program), jobs

    def execute(self, runs: Iterable[Run], workdir: Path) -> Iterator[tuple[Run, int]]:
        coming, waiting = iter(runs), dict[str, Run]()
        try:
            self._begin(coming, waiting, workdir)
            for ended in _wait(waiting, workdir):
                yield ended
                self._begin(coming, waiting, workdir)
        except BaseException:  # an interrupt: else the cluster would go on with jobs that nobody waits for
            cancel(list(waiting))
            raise

    def _begin(self, coming: Iterator[Run], waiting: dict[str, Run], workdir: Path) -> None:
        """Adds jobs of further runs to those that are waited for, up to as many as may be in the queue."""
        num_free = None if self._jobs is None else self._jobs - len(waiting)
        runs = list(itertools.islice(coming, num_free))
        waiting |= self._found(runs, workdir) if runs else {}
        missing = [run for run in runs if run not in waiting.values()]
        waiting |= self._submit(missing, workdir) if missing else {}

    def _found(self, runs: Sequence[Run], workdir: Path) -> dict[str, Run]:
        """The runs with a job from an earlier start of the sweep that is still in the queue."""
        states, known = job_states(), {}
        if states is None:
            raise UserError("--executor=slurm does not work here: squeue does not answer")
        for run in runs:
            record = read_json_object(workdir / run.name / JOB_FILE) or {}
            job_id = record.get("job_id", "")
            if not is_active(states.get(job_id, "")):
                continue
            if record.get("command") != run.command():
                raise UserError(
                    f"run {run.name!r} is another one than its SLURM job {job_id} in the queue: scancel {job_id} first"
                )
            print(f"    {run.name}: SLURM job {job_id} is in the queue already", flush=True)
            known[job_id] = run
        return known

    def _submit(self, runs: Sequence[Run], workdir: Path) -> dict[str, Run]:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        jobs = []
        for run in runs:
            folder = writable_folder(workdir / run.name)
            jobs.append(SlurmJob([*self._program, *run.arguments(workdir)], folder))
        try:
            with self._executor.batch():
                submitted = [self._executor.submit(job) for job in jobs]
        except (FailedJobError, FailedSubmissionError) as error:
            raise UserError(f"the jobs could not be submitted: {str(error).strip().splitlines()[-1]}") from error
        by_job = dict(zip((job.job_id for job in submitted), runs, strict=True))
        for job_id, run in by_job.items():
            write_json(workdir / run.name / JOB_FILE, {"job_id": job_id, "command": run.command()})
        return by_job


def _wait(waiting: dict[str, Run], workdir: Path) -> Iterator[tuple[Run, int]]:
    """Yields the run of each job, with its exit code, as it leaves the queue; between two yields, jobs may be added."""
    polls, reported = collections.Counter[str](), time.monotonic()
    while waiting:
        states = job_states()
        if states is None:
            time.sleep(POLL_SECONDS)
            continue
        for job_id, run in list(waiting.items()):
            state, folder = states.get(job_id, ""), workdir / run.name
            polls[job_id] = 0 if is_active(state) else polls[job_id] + 1
            code = exit_code(folder, job_id)
            if not polls[job_id] or (code is None and polls[job_id] < LOOKS):
                continue
            if code is None:
                add_to_log(writable_folder(folder), f"SLURM job {job_id} was ended from outside {state}".rstrip())
            del waiting[job_id]
            yield run, 1 if code is None else code
        if time.monotonic() - reported > HEARTBEAT_SECONDS:
            reported = time.monotonic()
            for job_id, run in waiting.items():
                print(f"    {run.name}: {states.get(job_id, '')}  {last_line(workdir / run.name)}", flush=True)
        if waiting:
            time.sleep(POLL_SECONDS)


def job_states() -> dict[str, str] | None:
    """The state of each job of this user that SLURM still knows; None when squeue does not answer."""
    command = ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%i|%T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return dict(line.split("|", 1) for line in done.stdout.splitlines() if "|" in line) if not done.returncode else None


def is_active(state: str) -> bool:
    """Whether a job in this state runs or will run (again)."""
    return bool(state) and state not in ENDED


def cancel(job_ids: Sequence[str]) -> None:
    """Cancels jobs: SLURM sends SIGTERM, on which they save their state, and kills them after its KillWait."""
    if job_ids:
        subprocess.run(["scancel", "--quiet", *job_ids], check=False)
