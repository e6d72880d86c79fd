"""Which code may run: that of installed packages, and the files that the user has trusted.

A run that names other code is not opened. Installed are all modules in a folder of installed packages (`site-packages`)
and, by the names of their packages, editable installations and those in a folder that `PYTHONPATH` names in full (`pip
--target`). The current folder is never one of these, whatever lies there: a run that comes as a folder or an archive
may bring modules along. Nor is any other folder in which Python looks for modules, such as that of a script.

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
import importlib.metadata
import json
import os
import re
import site
import stat
import sys
import sysconfig
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from arjax.core.errors import UserError
from arjax.core.files import write_text, writing
from arjax.core.output import say_once

#: The group of entry points with which packages register components.
GROUP = "arjax.plugins"
_NAMES = ("site-packages", "dist-packages")
VARIABLE = "ARJAX_TRUSTED"

#: (path, hash) of the files that a call of the user in this process has named.
_NAMED: set[tuple[str, str]] = set()
_TRUSTING = contextvars.ContextVar("trusting", default=False)


def is_installed(name: str, file: str) -> bool:
    """Whether the file of the module of that name belongs to an installed package."""
    file = os.path.realpath(file)
    if _is_in(file, _folders()):
        return True
    package = name.partition(".")[0]
    return any(_is_in(file, {folder}) for owner, folder in _packages(_searched()) if owner == package)


def is_of_python(file: str) -> bool:
    """Whether a file is in the folders of Python itself."""
    return _is_in(os.path.realpath(file), {os.path.realpath(sysconfig.get_path(k)) for k in ("stdlib", "platstdlib")})


def is_of_arjax(file: str) -> bool:
    """Whether a file is one of this package."""
    return _is_in(os.path.realpath(file), {os.path.dirname(os.path.dirname(os.path.realpath(__file__)))})


def distributions() -> Iterator[importlib.metadata.Distribution]:
    """The installed packages; metadata in the current folder are those of none."""
    yield from importlib.metadata.distributions(path=list(_searched()))


def _folders() -> set[str]:
    """The folders of installed packages, without links: those of this Python, and those of such a name that Python
    searches (a cluster has them in `PYTHONPATH`, an environment on top of another one in a `.pth` file).
    """
    folders = [sysconfig.get_path(kind) for kind in ("purelib", "platlib")] + site.getsitepackages()
    folders += [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    named = [entry for entry in _elsewhere(sys.path) if os.path.basename(entry) in _NAMES]
    return {*map(os.path.realpath, folders), *named}


def _searched() -> tuple[str, ...]:
    """The folders with metadata of installed packages."""
    return tuple(sorted({*_folders(), *_elsewhere(os.environ.get("PYTHONPATH", "").split(os.pathsep))}))


def _elsewhere(entries: list[str]) -> set[str]:
    """The folders that are written in full, without links and without the current one."""
    return {os.path.realpath(entry) for entry in entries if os.path.isabs(entry)} - {os.path.realpath(os.curdir)}


def _is_in(file: str, folders: set[str]) -> bool:
    return any(file.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders)


@functools.cache
def _packages(searched: tuple[str, ...]) -> set[tuple[str, str]]:
    """The names of the packages in these folders, or installed in editable form there, each with its folder."""
    names = set()
    for folder in searched:
        for each in importlib.metadata.distributions(path=[folder]):
            names |= {(name, _project_of(each) or folder) for name in _names_of(each)}
    return names


def _project_of(distribution: importlib.metadata.Distribution) -> str:
    """The folder of a project that is installed in editable form, "" for others (PEP 610)."""
    text = distribution.read_text("direct_url.json")
    try:
        about = json.loads(text) if text else {}
        url, editable = urllib.parse.urlsplit(about["url"]), about["dir_info"]["editable"]
    except (ValueError, KeyError, TypeError):
        return ""
    return os.path.realpath(urllib.request.url2pathname(url.path)) if editable is True and url.scheme == "file" else ""


def _names_of(distribution: importlib.metadata.Distribution) -> set[str]:
    """The top-level names of a distribution: as it lists them, its own name, and those of its entry points."""
    listed = (distribution.read_text("top_level.txt") or "").split()
    points = [point.module.partition(".")[0] for point in distribution.entry_points if point.group == GROUP]
    return {*listed, *points, re.sub(r"[-.]+", "_", distribution.name or "")} - {""}


class UntrustedCodeError(UserError):
    """Code that a run names, and that the user has not trusted: the path of the file, and the words about it."""

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
        with writing(entry.parent):
            entry.parent.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            entry.parent.mkdir(exist_ok=True, mode=0o700)
        write_text(entry, f"{path}\n")
    except UserError as error:
        say_once(f"{error}; opening a run with this code will need --trust (from Python, trust=True)")


def store() -> Path:
    """The folder of the store, which need not exist.

    Raises `UserError` where the variable holds no absolute path, or others may write in the folder.
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
