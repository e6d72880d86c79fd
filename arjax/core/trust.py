"""The files of Python code that the user has trusted: a run that names other code is not opened.

A file is trusted under its path and the hash of its contents: an edited one has to be trusted anew. Training trusts the
code of the run, and so does a call with `trust=True` or `--trust`. The store is a folder of the user's, with one small
file for each of them, so that processes which write at the same time need no lock:

    FOLDER/<hash of the path>/<hash of the contents>    the path

`FOLDER` is `$ARJAX_TRUSTED`, else `$XDG_STATE_HOME/arjax/trusted`, else `~/.local/state/arjax/trusted`. Whoever can
write there can make arjax run code.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from arjax.core.errors import UserError
from arjax.core.files import write_text

VARIABLE = "ARJAX_TRUSTED"

#: (path, hash) of the files that a call of the user in this process has named.
_NAMED: set[tuple[str, str]] = set()
_TRUSTING = contextvars.ContextVar("trusting", default=False)


class UntrustedCodeError(UserError):
    """Code that a run names, and that the user has not trusted.

    Attributes:
      file: its path.
      reason: the words about it in a sentence.
    """

    def __init__(self, file: str, reason: str, message: str = ""):
        super().__init__(message or f"{file}, {reason}: read it, then give --trust (from Python, trust=True) to run it")
        self.file, self.reason = file, reason


@contextlib.contextmanager
def trusting(wanted: bool = True) -> Iterator[None]:
    """Within, code that runs name is trusted, from then on, when it is imported; `wanted=False` changes nothing."""
    token = _TRUSTING.set(wanted or _TRUSTING.get())
    try:
        yield
    finally:
        _TRUSTING.reset(token)


def admit(file: str, contents: bytes) -> None:
    """Raises `UntrustedCodeError` unless the user has trusted a file with these contents; trusts it in `trusting`."""
    if _TRUSTING.get():
        remember(file, contents)
        return
    path, digest = _identity(file, contents)
    if (path, digest) in _NAMED:
        return
    entries = _entries(path)
    if not os.path.isfile(entries / digest):
        known = os.path.isdir(entries)
        reason = "which has changed since you trusted it" if known else "which you have not trusted"
        raise UntrustedCodeError(path, reason)


def name_in_process(file: str, contents: bytes) -> None:
    """Trusts a file in this process: a call of the user has named it."""
    _NAMED.add(_identity(file, contents))


def remember(file: str, contents: bytes) -> None:
    """Trusts a file from now on, in all processes of the user; a store that cannot be written gives a warning."""
    name_in_process(file, contents)
    path, digest = _identity(file, contents)
    entry = _entries(path) / digest
    if os.path.isfile(entry):
        return
    try:
        _make(entry.parent)
        write_text(entry, f"{path}\n")
    except UserError as error:
        _warn(f"{error}; opening a run with this code will need --trust (from Python, trust=True)")


def store() -> Path:
    """The folder of the store, which need not exist.

    Raises:
      UserError: the variable holds no absolute path, or others may write in the folder.
    """
    named, state = os.environ.get(VARIABLE, ""), os.environ.get("XDG_STATE_HOME", "")
    if named and not os.path.isabs(named):
        raise UserError(f"the variable {VARIABLE} must be the absolute path of a folder, not {named!r}")
    state = state if os.path.isabs(state) else os.path.expanduser("~/.local/state")
    folder = Path(named or os.path.join(state, "arjax", "trusted"))
    with contextlib.suppress(OSError):
        if os.stat(folder).st_mode & stat.S_IWOTH:
            raise UserError(f"everyone can write to {folder}, the list of the code that you trust: chmod o-w {folder}")
    return folder


def _entries(path: str) -> Path:
    """The folder with an entry for each trusted version of a file."""
    return store() / hashlib.sha256(os.fsencode(path)).hexdigest()[:32]


def _identity(file: str, contents: bytes) -> tuple[str, str]:
    return os.path.realpath(file), hashlib.sha256(contents).hexdigest()


def _make(folder: Path) -> None:
    """Makes a folder of the store, which the user alone may write."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}") from error


@functools.cache
def _warn(sentence: str) -> None:
    print(f"arjax: {sentence}", file=sys.stderr, flush=True)
