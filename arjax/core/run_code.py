"""The user's own code with which a run was trained: `code.json` in its folder has the fingerprints of the files.

Code that has changed since is told, and runs: most edits change no number. So a table says which of its rows are of an
older version of a network.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from arjax.core.files import digest_of, fingerprint_of, read_json_object, write_json
from arjax.core.output import say_once

FILE_NAME = "code.json"


def note_code(files: Iterable[str], workdir: str | os.PathLike) -> None:
    """Notes the files with which a training begins or goes on: of each the fingerprints of all versions, the last one
    last. Raises `UserError` where the disk refuses.
    """
    noted = _noted(workdir)
    for file in files:
        now = _fingerprint(file)
        noted[file] = [*(each for each in noted.get(file, []) if each != now), now]
    if noted:
        write_json(Path(workdir) / FILE_NAME, noted)


def changed_code(workdir: str | os.PathLike) -> list[str]:
    """The files that are not those with which the run in `workdir` was trained from its first step to its last; without
    those that are not there any more.
    """
    there = {file: versions for file, versions in _noted(workdir).items() if os.path.isfile(file)}
    return [file for file, versions in there.items() if versions != [_fingerprint(file)]]


def tell_changed_code(workdir: str | os.PathLike) -> None:
    """Prints a remark about each file of `changed_code`."""
    for file in changed_code(workdir):
        say_once(f"{file} has changed since the training of {workdir} began")


def _noted(workdir: str | os.PathLike) -> dict[str, list[str]]:
    """By file, the fingerprints of its versions; of a damaged `code.json` what can be read."""
    noted = read_json_object(Path(workdir) / FILE_NAME) or {}
    return {file: versions for file, versions in noted.items() if isinstance(versions, list)}


def _fingerprint(file: str) -> str:
    return fingerprint_of([digest_of(file)])
