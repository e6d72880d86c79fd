"""Where the runs of a sweep are executed: on this machine, N at once, or on a SLURM cluster through submitit."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Protocol

from arjax.errors import UserError
from arjax.sweep.runs import Run

LOG_NAME = "log.txt"
HEARTBEAT_SECONDS = 60.0
PROGRAM = (sys.executable, "-m", "arjax.main")


class Executor(Protocol):
    """Runs jobs and yields (run, exit code) as they end, in any order."""

    def execute(self, runs: Sequence[Run], folders: Mapping[str, Path]) -> Iterator[tuple[Run, int]]:
        """Executes all runs, each in its folder; a run that fails does not stop the others.

        When the caller is interrupted, running jobs are asked to save and end, and waiting ones do not start.
        """


class LocalExecutor:
    """Runs up to `jobs` processes at once on this machine."""

    def __init__(self, jobs: int, program: Sequence[str] = PROGRAM):
        """`program` is the command line of `arjax` without its arguments."""
        if jobs < 1:
            raise UserError(f"--jobs must be at least 1, not {jobs}")
        self._jobs = jobs
        self._program = list(program)
        self._processes: dict[str, subprocess.Popen] = {}
        self._lock = threading.Lock()
        self._stopped = False

    def execute(self, runs: Sequence[Run], folders: Mapping[str, Path]) -> Iterator[tuple[Run, int]]:
        """See `Executor.execute`."""
        with ThreadPoolExecutor(self._jobs) as pool:
            futures = {pool.submit(self._execute_one, run, folders[run.name]): run for run in runs}
            waiting = set(futures)
            try:
                while waiting:
                    done, waiting = wait(waiting, timeout=HEARTBEAT_SECONDS, return_when=FIRST_COMPLETED)
                    yield from ((futures[future], future.result()) for future in done)
                    if not done:
                        self._tell_progress(folders)
            except BaseException:  # an interrupt: the pool would otherwise wait for every job to end by itself
                self._stop()
                raise

    def _stop(self) -> None:
        """Terminates the running jobs, which save their state and exit; waiting ones do not start."""
        with self._lock:
            self._stopped = True
            for process in self._processes.values():
                process.terminate()

    def _tell_progress(self, folders: Mapping[str, Path]) -> None:
        with self._lock:
            names = list(self._processes)
        for name in names:
            print(f"    {name}: {last_line(folders[name])}", flush=True)

    def _execute_one(self, run: Run, folder: Path) -> int:
        folder.mkdir(parents=True, exist_ok=True)
        command = [*self._program, *run.arguments(str(folder))]
        with (folder / LOG_NAME).open("a", encoding="utf-8") as log:
            log.write(f"$ {run.command()}\n")
            log.flush()
            with self._lock:
                if self._stopped:
                    return 1
                process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
                self._processes[run.name] = process
            try:
                return process.wait()
            finally:
                with self._lock:
                    del self._processes[run.name]


class SlurmExecutor:
    """Submits one SLURM job per run and waits for all of them; needs submitit."""

    def __init__(self, workdir: Path, options: Mapping[str, Any], program: Sequence[str] = PROGRAM):
        """`options` go to `submitit.AutoExecutor.update_parameters`, such as `{"slurm_partition": "gpu"}`."""
        if importlib.util.find_spec("submitit") is None:
            raise UserError("--executor=slurm needs submitit: pip install 'arjax[slurm]'")
        import submitit

        try:
            self._executor = submitit.AutoExecutor(folder=workdir / "slurm", cluster="slurm")
            self._executor.update_parameters(**options)
        except (
            RuntimeError,
            NameError,
            TypeError,
            ValueError,
        ) as error:  # no SLURM here, or an option it does not have
            raise UserError(f"--executor=slurm does not work here: {str(error).splitlines()[0]}") from error
        self._program = list(program)
        self._jobs: list[Any] = []

    def execute(self, runs: Sequence[Run], folders: Mapping[str, Path]) -> Iterator[tuple[Run, int]]:
        """See `Executor.execute`."""
        import submitit.helpers

        commands = {run.name: [*self._program, *run.arguments(str(folders[run.name]))] for run in runs}
        with self._executor.batch():
            self._jobs = [self._executor.submit(run_logged, commands[run.name], folders[run.name]) for run in runs]
        by_job = dict(zip((job.job_id for job in self._jobs), runs, strict=True))
        try:
            for job in submitit.helpers.as_completed(self._jobs):
                # A job that SLURM killed has an exception in the place of its result.
                yield by_job[job.job_id], 1 if job.exception() is not None else job.result()
        except BaseException:  # an interrupt: without it the cluster would go on with jobs nobody waits for
            for job in self._jobs:
                job.cancel()  # SLURM sends SIGTERM, on which the jobs save their state
            raise


def run_logged(command: Sequence[str], folder: Path) -> int:
    """Runs a command with its output appended to the folder's log; returns its exit code."""
    os.makedirs(folder, exist_ok=True)
    with (folder / LOG_NAME).open("a", encoding="utf-8") as log:
        return subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL).returncode


def last_line(folder: Path) -> str:
    """The last line of a run's log, without the carriage returns of progress lines; "" when there is none."""
    path = folder / LOG_NAME
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2000))
        lines = file.read().decode("utf-8", errors="replace").replace("\r", "\n").strip().splitlines()
    return lines[-1].strip() if lines else ""
