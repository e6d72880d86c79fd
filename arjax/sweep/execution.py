"""Executes runs, and reports the end of each."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from arjax.reporting.progress import format_duration
from arjax.sweep.executors import LOG_NAME, Executor, last_line
from arjax.sweep.results import read_results
from arjax.sweep.runs import Run
from arjax.sweep.table import Table

EXIT_SOME_FAILED = 1


def execute(
    executor: Executor, stages: Iterable[Iterable[Run]], total: int, table: Table
) -> Iterator[tuple[Run, int, str]]:
    """Executes the runs, `total` of them, stage by stage; prints the end of each, and notes those that have results.

    Yields:
      The run, its exit code, and the sentence about its failure, "" for one that has results.
    """
    left, folders = TimeLeft(total), table.folders
    ended = (end for runs in stages for end in executor.execute(left.starting(runs), folders))
    for done, (run, code) in enumerate(ended, start=1):
        folder, problem, how = folders[run.name], "", "finished"
        if code == 0 and read_results(folder):
            table.finish(run)
            if table.complaints([run]):
                how = "FAILED, as its results lack the metric of its row"
        else:
            how = f"FAILED (exit code {code})" if code else "ended without results"
            problem = f"{run.name} {how}, see {folder}/{LOG_NAME}: {last_line(folder)}"
        print(f"[{done}/{total}] {run.name} {how}  ETA {format_duration(left.after(run))}", flush=True)
        yield run, code, problem


class TimeLeft:
    """The time that the runs of a sweep will still take, where several of them may go on at once."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic):
        """`total`: number of runs; `clock`: seconds, a parameter so that tests can turn it."""
        self._total, self._clock, self._start = total, clock, clock()
        self._begun: dict[str, float] = {}
        self._durations: list[float] = []

    def starting(self, runs: Iterable[Run]) -> Iterator[Run]:
        """The runs; each of them begins when it is taken."""
        for run in runs:
            self._begun[run.name] = self._clock()
            yield run

    def after(self, run: Run) -> float:
        """Expected seconds after the end of a run.

        Waiting runs take as long as those before, as many at once as now; what runs now is taken to be half done. Once
        all have been taken, as a population and a cluster take them at once, the runs ended per second tell it.
        """
        now = self._clock()
        self._durations.append(now - self._begun.pop(run.name))
        done, running = len(self._durations), len(self._begun)
        waiting = self._total - done - running
        if waiting <= 0:
            return (now - self._start) / done * running
        return sum(self._durations) / done * (waiting + running / 2) / (running + 1)


def tell_failures(sentences: Sequence[str]) -> int:
    """Prints a line for each; returns the exit code."""
    for sentence in sentences:
        print(f"arjax-sweep: {' '.join(sentence.split())}", file=sys.stderr)
    return EXIT_SOME_FAILED if sentences else 0
