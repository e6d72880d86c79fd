"""The runs of a sweep in stages: a run that reads the folder of another one starts after that one has ended."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from arjax.sweep.runs import Run

#: Between the words of a config's argument and of the values of its fields.
_BETWEEN_WORDS = re.compile(r"[\s,:;=()\[\]{}'\"]+")


def reads(runs: Sequence[Run], folders: Mapping[str, Path]) -> dict[str, set[str]]:
    """By the name of each run, those of the others that it reads: its pilots, and those whose folders its config's
    argument or a field names, such as `train.init_from`.
    """
    owners = {os.path.realpath(folders[run.name]): run.name for run in runs}
    found = {run.name: {owners[path] for path in _paths(run) if path in owners} for run in runs}
    return {run.name: (found[run.name] | set(run.pilots) & set(owners.values())) - {run.name} for run in runs}


def stages(runs: Sequence[Run], needs: Mapping[str, set[str]]) -> list[list[Run]]:
    """The runs, those of a stage in their sequence. A run is in the stage after the last of the runs that it `needs`.

    Runs that need each other in a circle are in the last stage.
    """
    left, found = list(runs), []
    while left:
        waiting = {run.name for run in left}
        ready = [run for run in left if not needs[run.name] & waiting] or left
        found.append(ready)
        left = [run for run in left if run not in ready]
    return found


def _paths(run: Run) -> set[str]:
    """All words of the run's config and fields that may be paths."""
    fields = [text for _, text in run.override_texts()]
    words = {word for text in [run.config, *fields] for word in _BETWEEN_WORDS.split(text)}
    return {
        os.path.realpath(os.path.expanduser(word)) for word in words.union(fields) if "/" in word and "\0" not in word
    }
