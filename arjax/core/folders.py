"""The folder of a run: making it, and locking it for writing."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from arjax.core.errors import UserError
from arjax.core.files import locked
from arjax.core.paths import user_path


def writable_folder(path: str | os.PathLike) -> Path:
    """Makes the folder when missing and returns it; raises `UserError` when nothing can be written there."""
    folder = user_path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise UserError(f"cannot write to the folder {str(path)!r}: {error.strerror}") from error


@contextlib.contextmanager
def folder_to_write(path: str | os.PathLike) -> Iterator[Path]:
    """The same for a body: after a `UserError` there, the folders that were made for it are removed where empty."""
    folder = user_path(path)
    made = [each for each in (folder, *folder.parents) if not os.path.exists(each)]
    try:
        yield writable_folder(path)
    except UserError:
        with contextlib.suppress(OSError):  # one that is not empty, or that others have removed
            for each in made:
                each.rmdir()
        raise


@contextlib.contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Holds the folder for one training run; raises `UserError` when another process trains there at this moment.

    Two runs would remove each other's checkpoints. The lock is on the folder itself and ends with the process in any
    case. File systems without locks (some network ones) are used without.
    """
    with locked(folder, exclusive=True) as free:
        if not free:
            raise UserError(f"another process is training in {folder}: wait for it, or choose another --workdir")
        yield


def is_trained_in(folder: Path) -> bool:
    """Whether a process holds the folder for training; always False on file systems without locks."""
    with locked(folder, exclusive=False, wait=False) as free:
        return not free
