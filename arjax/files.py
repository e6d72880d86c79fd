"""Reading and writing files, where a disk that refuses is one sentence, and a file is written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from arjax.errors import UserError


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turns the refusal of a disk (full, read-only, a folder in the place of a file) into a `UserError`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def reading(path: str | os.PathLike) -> Iterator[None]:
    """Turns a file that cannot be read (no permission, a folder in its place) into a `UserError`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a file at once: whoever reads it, or a kill at any moment, finds the old text or the new one.

    Raises:
      UserError: the disk refuses; the old file is as it was.
    """
    path = Path(path)
    replacement = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with writing(path):
        try:
            replacement.write_text(text, encoding="utf-8")
            replacement.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                replacement.unlink()
            raise
