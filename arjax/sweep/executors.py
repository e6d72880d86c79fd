"""Execution of runs: on this machine, N at once, and the report on the end of each; `slurm.py` has clusters."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Protocol

from arjax.cli.command_line import EXIT_USER_ERROR
from arjax.cli.main import marked_as_parent
from arjax.core.errors import UserError
from arjax.core.files import only_run_in, writable_folder, writing
from arjax.parallel.devices import CUDA, share_cores, share_devices, visible_devices
from arjax.reporting.progress import format_duration
from arjax.sweep.dependencies import note_dependencies
from arjax.sweep.results import read_results
from arjax.sweep.runs import Run
from arjax.sweep.table import Table

LOG_NAME = "log.txt"
HEARTBEAT_SECONDS = 60.0
RETRY_SECONDS = 0.5
#: The runs of a sweep are trusted, as are the runs that they read: the sweep file names them.
PROGRAM = (sys.executable, "-m", "arjax", "--trust")
EXIT_SOME_FAILED = 1


class Executor(Protocol):
    """Runs jobs and yields (run, exit code) as they end, in any order."""

    def execute(self, runs: Iterable[Run], workdir: Path) -> Iterator[tuple[Run, int]]:
        """Executes all runs, each in its folder of the sweep's workdir; a run that fails does not stop the others. A
        run is taken from `runs` when it can start, after the caller has seen all that ended before: it may depend on
        them. When the caller is interrupted, running jobs are asked to save and end, and waiting ones do not start.
        """


class LocalExecutor:
    """Runs up to `jobs` processes at once on this machine, which end with this one. Each gets `devices_per_job`
    devices, or all; if there are no devices, the cores are shared out. `program` is `arjax` without its arguments, and
    `most` the largest number of runs that can go on at once, if known.
    """

    def __init__(
        self,
        jobs: int,
        devices_per_job: int | None = None,
        program: Sequence[str] = PROGRAM,
        *,
        most: int | None = None,
    ):
        all_devices, self._jobs = visible_devices(os.environ), jobs if most is None else min(jobs, max(most, 1))
        devices: list[list[str]] = [[]] * self._jobs
        if devices_per_job is not None and most != 0:
            devices = share_devices(all_devices, self._jobs, devices_per_job)
        cores: list[set[int]] = [set()] * self._jobs if all_devices else share_cores(self._jobs)
        #: The devices and the cores that are free for a job; all of the machine where one is empty.
        self._shares: queue.SimpleQueue[tuple[list[str], set[int]]] = queue.SimpleQueue()
        for share in zip(devices, cores, strict=True):
            self._shares.put(share)
        self._program = list(program)
        self._processes: dict[str, subprocess.Popen] = {}
        self._lock = threading.Lock()
        self._stopped = False

    def execute(self, runs: Iterable[Run], workdir: Path) -> Iterator[tuple[Run, int]]:
        coming, running = iter(runs), dict[Future[int], Run]()
        with ThreadPoolExecutor(self._jobs) as pool:
            try:
                while True:
                    for run in itertools.islice(coming, self._jobs - len(running)):
                        running[pool.submit(self._execute_one, run, workdir)] = run
                    if not running:
                        break
                    done, _ = wait(running, timeout=HEARTBEAT_SECONDS, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield running.pop(future), future.result()
                    if not done:
                        with self._lock:
                            names = list(self._processes)
                        for name in names:
                            print(f"    {name}: {last_line(workdir / name)}", flush=True)
            except BaseException:  # an interrupt: the pool would otherwise wait for every job to end by itself
                with self._lock:
                    self._stopped = True  # waiting jobs do not start, running ones save their state and exit
                    for process in self._processes.values():
                        process.terminate()
                raise

    def _execute_one(self, run: Run, workdir: Path) -> int:
        folder = workdir / run.name
        try:
            writable_folder(folder)
            wait_for_folder(folder, lambda text: print(f"    {run.name}: {text}", flush=True), lambda: self._stopped)
            add_to_log(folder, f"$ {run.command()}")
        except UserError as error:
            print(f"    {run.name}: {error}", flush=True)
            return EXIT_USER_ERROR
        command, (devices, cores) = [*self._program, *run.arguments(workdir)], self._shares.get()
        environment = marked_as_parent() | ({CUDA: ",".join(devices)} if devices else {})
        try:
            if cores:  # this thread, and the processes that it starts; not where that is forbidden
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(0, cores)
            with self._lock:
                if self._stopped:
                    return 1
                # In a session of its own: Ctrl-C and the end of a terminal reach the sweep alone.
                process = start(command, folder, environment, start_new_session=True)
                self._processes[run.name] = process
            return process.wait()
        finally:
            self._shares.put((devices, cores))
            with self._lock:
                self._processes.pop(run.name, None)


def start(command: Sequence[str], folder: Path, environment: Mapping[str, str], **options: Any) -> subprocess.Popen:
    """Starts the process of a run, whose output goes to the log in its folder."""
    with (folder / LOG_NAME).open("ab") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment, **options
        )


def wait_for_folder(folder: Path, tell: Callable[[str], None], is_stopped: Callable[[], bool]) -> None:
    """Waits while another process trains in the folder, such as one that a killed sweep or job has left behind."""
    reported = False
    while not is_stopped():
        try:
            with only_run_in(folder):
                return
        except UserError as error:
            if not reported:
                tell(f"{str(error).partition(':')[0]}; waiting for it to end")
        reported = True
        time.sleep(RETRY_SECONDS)


def add_to_log(folder: Path, text: str) -> None:
    """Adds a line to the log of a run."""
    path = folder / LOG_NAME
    with writing(path), path.open("a", encoding="utf-8") as log:
        log.write(f"{' '.join(text.split())}\n")


def last_line(folder: Path) -> str:
    """The last line of a run's log, without the carriage returns of progress lines; "" when there is none."""
    path = folder / LOG_NAME
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2000))
        lines = file.read().decode("utf-8", errors="replace").replace("\r", "\n").strip().splitlines()
    return lines[-1].strip() if lines else ""


def execute(
    executor: Executor, stages: Iterable[Iterable[Run]], total: int, table: Table
) -> Iterator[tuple[Run, int, str]]:
    """Executes `total` runs stage by stage; prints the end of each, and notes those that have results. Yields the run,
    its exit code, and the sentence about its failure, "" for one that has results.
    """
    begun = time.monotonic()

    def starting(runs: Iterable[Run]) -> Iterator[Run]:
        for run in runs:
            with contextlib.suppress(UserError):  # the run itself will tell that its folder refuses
                note_dependencies(run, table.workdir)
            yield run

    ended = (end for runs in stages for end in executor.execute(starting(runs), table.workdir))
    for done, (run, code) in enumerate(ended, start=1):
        folder, problem, how = table.workdir / run.name, "", "finished"
        if code == 0 and read_results(folder):
            table.outdated[run.name] = ""
            if table.complaints([run]):
                how = "FAILED, as its results lack the metric of its row"
        else:
            how, problem = failure(run, code, table.workdir)
        left = (time.monotonic() - begun) / done * (total - done)
        print(f"[{done}/{total}] {run.name} {how}  ETA {format_duration(left)}", flush=True)
        yield run, code, problem


def failure(run: Run, code: int, workdir: Path) -> tuple[str, str]:
    """Returns how a run has failed, and the sentence about it."""
    how = f"FAILED (exit code {code})" if code else "ended without results"
    return how, f"{run.name} {how}, see {workdir / run.name}/{LOG_NAME}: {last_line(workdir / run.name)}"


def tell_failures(sentences: Sequence[str]) -> int:
    """Prints a line for each; returns the exit code."""
    for sentence in sentences:
        print(f"arjax-sweep: {' '.join(sentence.split())}", file=sys.stderr)
    return EXIT_SOME_FAILED if sentences else 0
