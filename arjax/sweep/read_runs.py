"""The runs that a run of a sweep reads: `read.json` in its folder says which parameters they had when it was trained.

A run that is trained further gives others their first parameters, or judges them, with other parameters than before.
Rows of before stand, and the sweep tells them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from arjax.core.errors import UserError
from arjax.core.files import read_json_object, writable_folder, write_json
from arjax.reporting.reports import read_report
from arjax.sweep.runs import Run, paths_of

FILE_NAME = "read.json"


def note_read(run: Run, workdir: Path) -> None:
    """Notes the runs that a run reads as its training begins, or goes on: then beside those of before. Raises
    `UserError` where the disk refuses.
    """
    folder, found = workdir / run.name, _read_by(run, workdir)
    goes_on = any((folder / "checkpoints" / "latest").glob("*"))
    noted = _noted(folder) if goes_on else {}
    for name, now in found.items():
        noted[name] = [*(each for each in noted.get(name, []) if each != now), now]
    if noted:
        write_json(writable_folder(folder) / FILE_NAME, noted)


def changed_read(run: Run, workdir: Path) -> list[str]:
    """The runs that are not those any more that a run has read from its first step to its last."""
    noted = _noted(workdir / run.name)
    return [name for name, now in _read_by(run, workdir).items() if noted.get(name, [now]) != [now]]


def tell_read(runs: Sequence[Run], workdir: Path) -> None:
    """Prints the runs that have been trained further since finished runs have read them."""
    readers: dict[str, list[str]] = {}
    for run in runs:
        try:
            for name in changed_read(run, workdir):
                readers.setdefault(name, []).append(run.name)
        except UserError as error:
            print(f"    {error}", flush=True)
    for name, names in readers.items():
        folders = "the folder" if len(names) == 1 else "the folders"
        since = f"{name} has been trained further, or anew, since it was read by {', '.join(names)}"
        print(f"    {since}: remove {folders} of {', '.join(names)} to train again", flush=True)


def _read_by(run: Run, workdir: Path) -> dict[str, str]:
    """By the path from the workdir, a text that tells the best parameters of each finished run that a run names."""
    here, found = os.path.realpath(workdir), dict[str, str]()
    for path in sorted(paths_of(run, workdir) - {os.path.realpath(workdir / run.name)}):
        if os.path.isdir(path) and (report := read_report(path)) is not None:
            scores = (value for name, value in sorted(report.items()) if name.startswith("validation_"))
            found[os.path.relpath(path, here)] = " ".join(map(str, [report["best_step"], *scores]))
    return found


def _noted(folder: Path) -> dict[str, list[str]]:
    """By name, what the runs were that a run has read; of a damaged `read.json` what can be read."""
    noted = read_json_object(folder / FILE_NAME) or {}
    return {name: versions for name, versions in noted.items() if isinstance(versions, list)}
