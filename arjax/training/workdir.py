"""The folder of a run, which may be deleted, moved or replaced while the run goes on."""

from __future__ import annotations

import os
from pathlib import Path

from arjax.core.errors import UserError
from arjax.core.files import writing


class RunFolder(os.PathLike):
    """A folder, made when missing, and held open to identify it later. A context manager, and a path."""

    def __init__(self, path: str | os.PathLike):
        self._path = Path(path)
        with writing(self._path):
            self._path.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDONLY)

    def __fspath__(self) -> str:
        return str(self._path)

    def __str__(self) -> str:
        return str(self._path)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._descriptor)

    def is_there(self) -> bool:
        """Whether the path still leads to the folder that it led to at the start."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except OSError:
            return False

    def check(self) -> None:
        """Refuses to write where the folder is gone: a deleted one would be made again, without its files."""
        if not self.is_there():
            raise UserError(
                f"the folder {self._path} was deleted, moved or replaced during the run, which ends here; where it was "
                "moved, give the new place as --workdir to go on from its last checkpoint"
            )
