"""The user's own code with which a run was trained: `code.json` in its folder has the fingerprints of the files.

Code that has changed since is told, and runs: most edits change no number. So a table says which of its rows are of an
older version of a network.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from arjax.core.files import digest_of, fingerprint_of, note_versions, versions_in, writing
from arjax.core.output import say_once

FILE_NAME = "code.json"


def fingerprints(files: Iterable[str]) -> dict[str, str]:
    """By file, the fingerprint of its contents."""
    return {file: _fingerprint(file) for file in files}


def note_code(code: Mapping[str, str], workdir: str | os.PathLike) -> None:
    """Notes the `fingerprints` with which a training begins or goes on, beside those of the versions before. Raises
    `UserError` where the disk refuses.
    """
    note_versions(Path(workdir) / FILE_NAME, code)


def copy_code(source: str | os.PathLike, workdir: str | os.PathLike) -> None:
    """The run in `workdir` was trained in another folder."""
    if (Path(source) / FILE_NAME).exists():
        with writing(Path(workdir) / FILE_NAME):
            shutil.copyfile(Path(source) / FILE_NAME, Path(workdir) / FILE_NAME)


def changed_code(workdir: str | os.PathLike) -> list[str]:
    """The files that are not those with which the run in `workdir` was trained from its first step to its last; without
    those that are not there any more.
    """
    noted = versions_in(Path(workdir) / FILE_NAME)
    there = {file: versions for file, versions in noted.items() if os.path.isfile(file)}
    return [file for file, versions in there.items() if versions != [_fingerprint(file)]]


def tell_changed_code(workdir: str | os.PathLike) -> None:
    """Prints a remark about each file of `changed_code`."""
    for file in changed_code(workdir):
        say_once(f"{file} has changed since the training of {os.fspath(workdir)} began")


def _fingerprint(file: str) -> str:
    return fingerprint_of([digest_of(file)])
