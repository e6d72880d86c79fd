"""The SLURM job of a sweep: one run of `arjax`, which saves, and is queued again, at its time limit."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from arjax.core.files import read_json_object, write_json
from arjax.sweep.executors import LOG_NAME
from arjax.sweep.results import read_results

EXIT_NAME = "slurm_exit.json"


class Job:
    """Runs a command in a folder; a callable that submitit sends to the cluster.

    SLURM warns of the time limit with SIGUSR2 (`slurm_signal_delay_s` before it), and of a preemption with SIGTERM.
    Then the command is asked to save and end, and the job is queued again, provided that something new was saved: else
    it would go on like that forever. A cancelled job saves and is not queued again.
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
        """Runs the command with its output appended to the folder's log."""
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
            self._process.terminate()  # once: a second SIGTERM ends it without saving
        self._time_is_up = True

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._terminated = True  # the command has received it, too

    def _queued_again(self, before: str) -> bool:
        """Puts a stopped job back into the queue; returns whether it is there."""
        if read_results(self._folder) or not (self._time_is_up or (self._terminated and _is_preempted())):
            return False
        if newest_checkpoint(self._folder) == before:
            self._log("no step was saved within the time of this job: it needs a longer timeout_min")
            return False
        done = subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], capture_output=True, text=True)
        self._log("the job is queued again" if not done.returncode else done.stderr.strip())
        return not done.returncode

    def _log(self, text: str) -> None:
        with (self._folder / LOG_NAME).open("a", encoding="utf-8") as log:
            log.write(f"{text}\n")


def newest_checkpoint(folder: Path) -> str:
    """The name of the newest state that the run has saved; "" before the first."""
    steps = [path.name for path in (folder / "checkpoints" / "latest").glob("*") if path.name.isdigit()]
    return max(steps, key=int, default="")


def exit_code(folder: Path, job_id: str) -> int | None:
    """The exit code that the job has left in the folder; None when it has not ended by itself."""
    found = read_json_object(folder / EXIT_NAME) or {}
    return found.get("exit_code") if found.get("job_id") == job_id else None


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
