"""What has changed since finished runs of a sweep were trained: files of the user's own code, and runs that they read.

`read.json` in the folder of a run says which parameters the runs that it reads had when it was trained. A run that is
trained further gives others their first parameters, or judges them, with other parameters than before. Rows of before
stand, and the sweep tells them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from arjax.core.errors import UserError
from arjax.core.files import writable_folder
from arjax.core.run_code import changed_code
from arjax.core.versions import note_versions, versions_in
from arjax.reporting.reports import FILE_NAME as RESULTS
from arjax.reporting.reports import read_report
from arjax.sweep.runs import Run, paths_of

FILE_NAME = "read.json"


def note_read(run: Run, workdir: Path) -> None:
    """Notes the runs that a run reads as its training begins, or goes on: then beside those of before. Raises
    `UserError` where the disk refuses.
    """
    if found := _read_by(run, workdir):
        folder = writable_folder(workdir / run.name)
        goes_on = any((folder / "checkpoints" / "latest").glob("*"))
        note_versions(folder / FILE_NAME, found, anew=not goes_on)


def changed_read(run: Run, workdir: Path) -> list[str]:
    """The runs that are not those any more that a run has read from its first step to its last."""
    noted = versions_in(workdir / run.name / FILE_NAME)
    return [name for name, now in _read_by(run, workdir).items() if noted.get(name, [now]) != [now]]


def tell_code(runs: Sequence[Run], workdir: Path) -> None:
    """Prints the files of the user's own code that have changed since finished runs were trained with them."""
    changed = lambda run: changed_code(workdir / run.name)  # noqa: E731
    _tell(runs, changed, "{} has changed since the training of {} began")


def tell_read(runs: Sequence[Run], workdir: Path) -> None:
    """Prints the runs that have been trained further since finished runs have read them."""
    changed = lambda run: changed_read(run, workdir)  # noqa: E731
    _tell(runs, changed, "{} has been trained further, or anew, since it was read by {}")


def _tell(runs: Sequence[Run], changed: Callable[[Run], list[str]], sentence: str) -> None:
    """Prints what has changed, and for which runs."""
    found: dict[str, list[str]] = {}
    for run in runs:
        try:
            for name in changed(run):
                found.setdefault(name, []).append(run.name)
        except UserError as error:
            print(f"    {error}", flush=True)
    for name, of_runs in found.items():
        folders, these = "folder" if len(of_runs) == 1 else "folders", ", ".join(of_runs)
        print(f"    {sentence.format(name, these)}: remove the {folders} of {these} to train again", flush=True)


def _run_of(path: str) -> str:
    """The folder of the finished run that a file lies in; another path itself."""
    folders = (str(folder) for folder in Path(path).parents if (folder / RESULTS).is_file())
    return path if os.path.isdir(path) else next(folders, path)


def _read_by(run: Run, workdir: Path) -> dict[str, str]:
    """By the path from the workdir, a text that tells the best parameters of each finished run that a run names."""
    here, found = os.path.realpath(workdir), dict[str, str]()
    for path in sorted({_run_of(path) for path in paths_of(run, workdir)} - {os.path.realpath(workdir / run.name)}):
        if os.path.isdir(path) and (report := read_report(path)) is not None:
            scores = (value for name, value in sorted(report.items()) if name.startswith("validation_"))
            found[os.path.relpath(path, here)] = " ".join(map(str, [report["best_step"], *scores]))
    return found
