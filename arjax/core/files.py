"""Reading and writing files: errors of the disk are one sentence, and a file is written whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arjax.core.errors import UserError
from arjax.core.values import parse_json


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turns an error of the disk (full, read-only, a folder in the place of a file) into a `UserError`."""
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


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """The path of a file that replaces another one when the body has written it to the end.

    A reader finds the old file or the new one, and so does a restart after a kill at any moment.

    Raises:
      UserError: the disk refuses; the old file is unchanged.
    """
    path = Path(path)
    replacement = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    with writing(path):
        try:
            yield replacement
            replacement.replace(path)
        finally:
            with contextlib.suppress(OSError):
                replacement.unlink()


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a file atomically; see `replacing`."""
    with replacing(path) as replacement:
        replacement.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes a value as indented JSON, atomically; see `replacing`."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json_object(path: str | os.PathLike) -> dict[str, Any] | None:
    """The JSON object in a file, or None when there is no file or it holds anything else: half of one, or garbage.

    Raises `UserError` when the file cannot be read: a folder in its place, no permission, a broken disk.
    """
    with reading(path):
        try:
            value = parse_json(Path(path).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # both decoding errors are ValueErrors
            return None
    return value if isinstance(value, dict) else None


@contextlib.contextmanager
def locked(folder: str | os.PathLike, *, exclusive: bool, wait: bool | None = None) -> Iterator[bool]:
    """Holds a lock on a folder, which ends with the process: exclusive, or shared with other shared locks.

    By default a shared lock is waited for and an exclusive one is not; `wait` changes that.

    Yields:
      Whether the lock is held. True also where there is no such folder, or the file system has no locks (some network
      ones).
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        yield True
        return
    try:
        free = True
        try:
            kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
            wait = not exclusive if wait is None else wait
            fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            free = False
        except OSError:
            pass
        yield free
    finally:
        os.close(descriptor)
