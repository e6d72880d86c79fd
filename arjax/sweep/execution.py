"""Executes runs, and reports the end of each."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence

from arjax.reporting.progress import format_duration
from arjax.sweep.executors import LOG_NAME, Executor, last_line
from arjax.sweep.results import read_results
from arjax.sweep.runs import Run
from arjax.sweep.table import Table

EXIT_SOME_FAILED = 1


def execute(executor: Executor, runs: Iterable[Run], total: int, table: Table) -> Iterator[tuple[Run, int, str]]:
    """Executes the runs, `total` of them; prints the end of each, and notes those that have results.

    Yields:
      The run, its exit code, and the sentence about its failure, "" for one that has results.
    """
    start, folders = time.monotonic(), table.folders
    for done, (run, code) in enumerate(executor.execute(runs, folders), start=1):
        folder, problem, how = folders[run.name], "", "finished"
        if code == 0 and read_results(folder):
            table.finish(run)
            if table.complaints([run]):
                how = "FAILED, as its results lack the metric of its row"
        else:
            how = f"FAILED (exit code {code})" if code else "ended without results"
            problem = f"{run.name} {how}, see {folder}/{LOG_NAME}: {last_line(folder)}"
        left = (time.monotonic() - start) / done * (total - done)
        print(f"[{done}/{total}] {run.name} {how}  ETA {format_duration(left)}", flush=True)
        yield run, code, problem


def tell_failures(sentences: Sequence[str]) -> int:
    """Prints a line for each; returns the exit code."""
    for sentence in sentences:
        print(f"arjax-sweep: {' '.join(sentence.split())}", file=sys.stderr)
    return EXIT_SOME_FAILED if sentences else 0
