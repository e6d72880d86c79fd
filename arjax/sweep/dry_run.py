"""`arjax-sweep --dry_run`: the runs of a sweep as a table, with their commands. Writes nothing."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from arjax.core.errors import UserError
from arjax.reporting.tables import print_table
from arjax.sweep.results import CONFIG_NAME
from arjax.sweep.runs import Run
from arjax.sweep.table import Table


def print_runs(runs: Sequence[Run], table: Table) -> None:
    """Prints each run's name, its state, the fields in which the runs differ, and below its command."""
    runs = [table.resolved(run) for run in runs]
    points = [{"config": run.config} | dict(run.override_texts()) for run in runs]
    fields = [field for field in dict.fromkeys(field for point in points for field in point) if _differs(field, points)]
    states = [state(run, table) for run in runs]
    cells = [
        [run.name, status, *(point.get(field, "") for field in fields)]
        for run, status, point in zip(runs, states, points, strict=True)
    ]
    print_table(["run", "state", *fields], cells)
    for run in runs:
        print(shlex.join(["arjax", *run.arguments(str(table.folders[run.name]))]))
        if run.pilots:
            print(f"    and the fields of the best of {', '.join(run.pilots)} on validation, when they have ended")
    print(f"{len(runs)} runs, {states.count('finished')} of them already finished")


def state(run: Run, table: Table) -> str:
    """`finished`, `started`, `changed` (finished with another command) or `new`; or the reason why it has no row."""
    outcome = table.outcome(run)
    if isinstance(outcome, UserError):
        return str(outcome)
    if outcome is not None:
        return "finished"
    folder = table.folders[run.name]
    if table.was_finished(run):
        return "changed"
    return "started" if (folder / CONFIG_NAME).exists() else "new"


def _differs(field: str, points: Sequence[dict[str, str]]) -> bool:
    return len({point.get(field, "") for point in points}) > 1
