"""Paths from users."""

from __future__ import annotations

import os
from pathlib import Path

from arjax.core.errors import UserError


def user_path(text: str | os.PathLike) -> Path:
    """The path that a user wrote, with `~` and `~name` replaced by home folders. It need not exist.

    Raises:
      UserError: no file can have this path: an empty text, or none at all, a NUL character, a user without a home
        folder behind `~`, a name that is too long, a parent folder without permission.
    """
    text = path_text(text)
    if text == "":  # which is the current folder to the system
        raise UserError("the path is empty: name a file or a folder, the current one is '.'")
    path = Path(text)
    try:
        path = path.expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return path
    except RuntimeError as error:  # from expanduser
        raise UserError(f"{str(text)!r} is no path: there is no such home folder, write the path in full") from error
    except ValueError as error:  # a NUL character, or characters that cannot be encoded
        raise UserError(f"{str(text)!r} is no path: {error}") from error
    except OSError as error:
        raise UserError(f"cannot use the path {str(text)!r}: {error.strerror}") from error
    return path


def path_text(path: str | os.PathLike) -> str:
    """The path as a text; raises `UserError` for anything else than a path."""
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise UserError(f"a path is a text, such as 'runs/digits', not {path!r}")
    return os.fspath(path)
