"""The rows of a sweep, as a sweep file lists them: runs, and rows computed from them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from arjax.core.errors import UserError
from arjax.core.user_files import load_list
from arjax.reporting.reports import check_metric
from arjax.sweep.derived import Derived, Mean, Mixture
from arjax.sweep.runs import Run

Row = Run | Derived


def load_sweep(path: str) -> list[Row]:
    """The rows that `get_sweep()` of a sweep file returns, or `get_sweep(arg)` of `file.py:arg`.

    Raises:
      UserError: a missing or failing file, something that is not a list of rows, names that are used twice, or a row
        that is made of missing runs or waits for them.
    """
    file, _, arg = path.partition(".py:")
    path, args = (f"{file}.py", (arg,)) if arg else (path, ())
    rows = load_list(path, "get_sweep", (Run, Mean, Mixture), "sweep file", "runs", args)
    runs = {row.name: row for row in rows if isinstance(row, Run)}
    for row in rows:
        row.check(runs)
    return rows


def runs_of(selected: Sequence[Row], rows: Sequence[Row]) -> list[Run]:
    """The runs among the selected rows, the members of the other ones and the pilots of all these, in the order of the
    sweep file.
    """
    names = {name for row in selected for name in (row.of if isinstance(row, Derived) else (row.name,))}
    names |= {name for row in rows if isinstance(row, Run) and row.name in names for name in row.pilots}
    return [row for row in rows if isinstance(row, Run) and row.name in names]


def check_runs(runs: Sequence[Run], path: str) -> None:
    """Checks the runs of a sweep file before any of them starts.

    Raises:
      UserError: a config file that does not exist, or a metric that no run has.
    """
    for run in runs:
        check_metric(run.metric, f"run {run.name!r}")
        if not os.path.isfile(run.config.partition(".py:")[0].removesuffix(".py") + ".py"):
            raise UserError(f"run {run.name!r} of {path} names a config file that does not exist: {run.config!r}")
