"""Runs a sweep on a SLURM cluster: one job for each run, submitted through submitit and found again after a restart."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from arjax.cli.main import marked_as_parent
from arjax.core.errors import UserError
from arjax.core.files import writable_folder
from arjax.sweep.executors import PROGRAM, add_to_log, start
from arjax.sweep.queued import RETRIES, QueuedExecutor, QueuedJob, newest_checkpoint
from arjax.sweep.results import read_results
from arjax.sweep.runs import Run


class SlurmJob(QueuedJob):
    """Runs a command in a folder; a callable that submitit sends to the cluster. SLURM warns of the time limit with
    SIGUSR2 (`slurm_signal_delay_s` before it), and of a preemption with SIGTERM. Then the command is asked to save and
    end, and the job is queued again if something new was saved: else it would repeat forever. A cancelled job is not
    queued again.
    """

    _time_is_up = _terminated = False

    def __call__(self) -> int:
        """Returns the exit code of the command, which `left_by` finds as well unless the job is queued again."""
        first = os.environ.get("SLURM_PROCID", "0") == "0"  # of the processes of a run on several nodes
        alone = os.environ.get("SLURM_NTASKS", "1") == "1"
        self.folder.mkdir(parents=True, exist_ok=True)
        before = newest_checkpoint(self.folder)
        code = self.run(job_id(os.environ), first=first, retries=RETRIES if alone else 0)
        if first and not self._queued_again(before):
            self.leave(job_id(os.environ), code)
        return code

    def attempt(self) -> int:
        # SLURM sends its signals to every process of the job. The command has no use for SIGUSR2 and inherits the mask.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        signal.signal(signal.SIGUSR2, self._warn)
        signal.signal(signal.SIGTERM, self._terminate)
        self.process = start(self.command, self.folder, marked_as_parent())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
        return self.process.wait()

    def _warn(self, number: int, frame: FrameType | None) -> None:
        if not self._time_is_up and self.process is not None:
            self.process.terminate()  # once: the command may be at its end already
        self._time_is_up = self.stopped = True

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._terminated = self.stopped = True  # the command has received it, too

    def _queued_again(self, before: str) -> bool:
        if read_results(self.folder) or not (self._time_is_up or (self._terminated and _is_preempted())):
            return False
        if newest_checkpoint(self.folder) == before:
            add_to_log(self.folder, "no step was saved within the time of this job: it needs a longer timeout_min")
            return False
        done = subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], capture_output=True, text=True)
        add_to_log(self.folder, done.stderr if done.returncode else "the job is queued again")
        return not done.returncode


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


class SlurmExecutor(QueuedExecutor):
    """Submits jobs to SLURM; needs submitit. squeue tells their states, on clusters without accounting as well.
    `options` go to `submitit.AutoExecutor.update_parameters`.
    """

    engine = "SLURM"

    def __init__(self, workdir: Path, options: Mapping[str, Any], program: Sequence[str] = PROGRAM, **queue: Any):
        super().__init__(program, **queue)
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

    def states(self) -> dict[str, str] | None:
        command = ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%i|%T"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            return None
        lines = [line.split("|", 1) for line in done.stdout.splitlines() if "|" in line]
        return None if done.returncode else dict(lines)

    def submit(self, runs: Sequence[Run], workdir: Path) -> dict[str, Run]:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        jobs = []
        for run in runs:
            folder = writable_folder(workdir / run.name)
            jobs.append(SlurmJob([*self.program, *run.arguments(workdir)], folder))
        try:
            with self._executor.batch():
                submitted = [self._executor.submit(job) for job in jobs]
        except (FailedJobError, FailedSubmissionError) as error:
            raise UserError(f"the jobs could not be submitted: {str(error).strip().splitlines()[-1]}") from error
        by_job = dict(zip((job.job_id for job in submitted), runs, strict=True))
        for job_id, run in by_job.items():
            self.note(run, job_id, workdir)
        return by_job

    def cancel(self, job_ids: Sequence[str]) -> None:
        if job_ids:  # SLURM sends SIGTERM, on which they save their state, and kills them after its KillWait
            subprocess.run(["scancel", "--quiet", *job_ids], check=False)
