"""Runs that read the folders of other runs of their sweep: their stages, and changes since they were trained."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from arjax.core.errors import UserError, did_you_mean, refuse
from arjax.core.files import writable_folder
from arjax.reporting.reports import read_report
from arjax.sweep.runs import WORKDIR, Run
from arjax.training.record import changed_code, note_read, versions_read

#: What is named in the folder of the sweep.
_HERE = re.compile(re.escape(WORKDIR) + r"/+(\w[\w./+=-]*)")


def places_named(run: Run) -> set[str]:
    """What a run names in the workdir of its sweep, as `{workdir}/...`."""
    return {os.path.normpath(name) for text in run.texts() for name in _HERE.findall(text)}


def dependencies(runs: Sequence[Run]) -> dict[str, set[str]]:
    """Returns, by the name of each run, the names of the others that it reads: its pilots, and the runs whose folder, a
    file in it, or a folder of several runs is named by an argument or a field of its config, such as `train.init_from`.
    """
    names, needs = {run.name for run in runs}, dict[str, set[str]]()
    for run in runs:
        places = [place for place in places_named(run) if not _is_in(run.name, place)]
        owners = {name for name in names for place in places if _is_in(place, name) or _is_in(name, place)}
        needs[run.name] = (owners | set(run.pilots) & names) - {run.name}
    return needs


def _is_in(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder}/")


def check_dependencies(waiting: Sequence[Run], runs: Sequence[Run], workdir: Path) -> None:
    """Raises `UserError` if a waiting run names a folder of the workdir that does not exist and is no run, or another
    run without `{workdir}`, or if runs read each other in a circle.
    """
    needs = dependencies(waiting)
    last = [run.name for stage in in_stages(waiting, needs)[-1:] for run in stage]
    refuse((any(needs[name] & {*last} for name in last), f"no run of a circle can begin: {', '.join(last)}"))
    names = {run.name for run in runs}
    for run in waiting:
        for place in sorted(places_named(run)):
            known = any(_is_in(place, name) or _is_in(name, place) for name in names)
            if not known and place[0] != "." and not os.path.exists(workdir / place):
                wrong = f"run {run.name!r} reads {WORKDIR}/{place}, which is no run of this sweep"
                raise UserError(f"{wrong}{did_you_mean(place, names, '')}")
        for path in re.findall(r"[\w./~+-]+/[\w.+-]+", " ".join(_HERE.sub("", text) for text in run.texts())):
            parts = path.split("/")
            ends = {"/".join(parts[first:]) for first in range(1, len(parts))} & names - {run.name}
            is_other = os.path.exists(path) and not os.path.realpath(path).startswith(f"{os.path.realpath(workdir)}/")
            if ends and not is_other:
                place = f"{WORKDIR}/{min(ends)}"
                is_run = f"and {min(ends)!r} is a run of this sweep"
                raise UserError(f"run {run.name!r} reads {path}, {is_run}: write {place} in the sweep file")


def with_dependencies(names: Iterable[str], runs: Sequence[Run]) -> list[str]:
    """The names of runs, of those that they read, of those that these read, and so on."""
    needs, closure = dependencies(runs), list(dict.fromkeys(names))
    for name in closure:
        closure += sorted(needs[name] - set(closure))
    return closure


def in_stages(runs: Sequence[Run], needs: Mapping[str, set[str]]) -> list[list[Run]]:
    """Returns the runs by stages: each stands after the runs that it `needs`; circles are in the last stage."""
    left, by_stage = list(runs), []
    while left:
        waiting = {run.name for run in left}
        ready = [run for run in left if not needs[run.name] & waiting] or left
        by_stage.append(ready)
        left = [run for run in left if run not in ready]
    return by_stage


def note_dependencies(run: Run, workdir: Path) -> None:
    """Notes in the record of a run which runs it reads, and with which parameters, beside those of earlier starts."""
    if read := _versions_of_dependencies(run, workdir):
        folder = writable_folder(workdir / run.name)
        note_read(read, folder, anew=not any((folder / "checkpoints" / "latest").glob("*")))


def changed_dependencies(run: Run, workdir: Path) -> list[str]:
    """Returns the runs that a run has read with other parameters than they have now."""
    noted = versions_read(workdir / run.name)
    return [name for name, now in _versions_of_dependencies(run, workdir).items() if noted.get(name, [now]) != [now]]


def print_changes(runs: Sequence[Run], workdir: Path) -> None:
    """Prints which files of the user's code, and which runs that others read, have changed since runs have finished."""
    for changed, sentence in (
        (lambda run, workdir: changed_code(workdir / run.name), "has changed since the training of {} began"),
        (changed_dependencies, "has been trained further, or anew, since it was read by {}"),
    ):
        names_of: dict[str, list[str]] = {}
        for run in runs:
            try:
                for name in changed(run, workdir):
                    names_of.setdefault(name, []).append(run.name)
            except UserError as error:
                print(f"    {error}", flush=True)
        for name, of_runs in names_of.items():
            folders, these = "folder" if len(of_runs) == 1 else "folders", ", ".join(of_runs)
            remedy = f"remove the {folders} of {these} to train again"
            print(f"    {name} {sentence.format(these)}: {remedy}", flush=True)


def _versions_of_dependencies(run: Run, workdir: Path) -> dict[str, str]:
    """Returns, by name, a text that identifies the best parameters of each finished run that a run names."""
    versions = {}
    for place in sorted(places_named(run) - {run.name}):
        for name in map(str, (Path(place), *Path(place).parents[:-1])):  # a file lies in the folder of its run
            if os.path.isdir(workdir / name) and (report := read_report(workdir / name)) is not None:
                scores = (value for entry, value in sorted(report.items()) if entry.startswith("validation_"))
                versions[name] = " ".join(map(str, [report["best_step"], *scores]))
    return versions
