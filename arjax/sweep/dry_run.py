"""`arjax-sweep --dry_run`: the runs of a sweep as a table, with their cost; or their commands. Writes nothing."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from arjax.core.errors import UserError
from arjax.reporting.progress import format_duration
from arjax.reporting.tables import print_table
from arjax.sweep.cost import expected_minutes, measured_minutes, tried_minutes
from arjax.sweep.execution import tell_failures
from arjax.sweep.results import CONFIG_NAME
from arjax.sweep.runs import Run
from arjax.sweep.table import Table

#: The forms of a dry run: the table; the table, with trials of runs like which none has finished; the commands.
FORMS = ("table", "trial", "commands")


def print_runs(runs: Sequence[Run], table: Table, form: str) -> int:
    """Prints each run's name, its state, its minutes and the fields in which the runs differ; or, in the form
    `commands`, its command. Returns the exit code.
    """
    runs = [table.resolved(run) for run in runs]
    if form == "commands":
        for run in runs:
            print(_command(run, table))
        return 0
    states = {run.name: state(run, table) for run in runs}
    finished = [run for run in runs if states[run.name] == "finished"]
    measured, problems = measured_minutes(finished, table.folders), []
    if form == "trial":
        known = expected_minutes(runs, measured)
        tried, problems = tried_minutes([run for run in runs if run.name not in known])
    else:
        tried = {}
    expected = expected_minutes(runs, measured | tried)
    points = [{"config": run.config} | dict(run.override_texts()) for run in runs]
    fields = [field for field in dict.fromkeys(field for point in points for field in point) if _differs(field, points)]
    cells = [
        [run.name, states[run.name], _minutes(run, measured, expected), *(point.get(field, "") for field in fields)]
        for run, point in zip(runs, points, strict=True)
    ]
    print_table(["run", "state", "minutes", *fields], cells, right=["minutes"])
    for run in runs:
        if run.pilots:
            print(
                f"{run.name} takes, too, the fields of the best of {', '.join(run.pilots)} on validation, once they end"
            )
    print(f"the first one: {_command(runs[0], table)}" if runs else "no runs")
    left = [run for run in runs if run.name not in measured]
    print(f"{len(runs)} runs, {len(finished)} of them already finished; {_cost(left, expected)}")
    return tell_failures(problems)


def _command(run: Run, table: Table) -> str:
    return shlex.join(["arjax", *run.arguments(str(table.folders[run.name]))])


def _minutes(run: Run, measured: dict[str, float], expected: dict[str, float]) -> str:
    if run.name not in expected:
        return "?"
    return f"{'' if run.name in measured else '~'}{expected[run.name]:.3g}"


def _cost(left: Sequence[Run], expected: dict[str, float]) -> str:
    """The cost of the runs that are left, in words."""
    if not left:
        return "nothing is left to do"
    known = [expected[run.name] for run in left if run.name in expected]
    about = f"about {format_duration(60 * sum(known))}, one after another" if known else ""
    if len(known) == len(left):
        return f"the other {len(left)} take {about}"
    of_some = f"{len(known)} of the other {len(left)} take {about}, and " if known else ""
    return f"{of_some}no run like the other {len(left) - len(known)} has finished: --dry_run=trial tells their minutes"


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
