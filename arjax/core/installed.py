"""Which code belongs to an installed package: code that a run may name without a question to the user.

Installed are all modules in a folder of installed packages (`site-packages`). By the names of their packages, so are
those that are installed in editable form, and those in a folder that `PYTHONPATH` names in full (`pip --target`).

The current folder is never one of these, whatever lies there: a run that comes as a folder or an archive may bring
modules along. Nor is any other folder in which Python looks for modules, such as that of a script.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import re
import site
import sys
import sysconfig
import urllib.parse
import urllib.request
from collections.abc import Iterator

#: The group of entry points with which packages register components.
GROUP = "arjax.plugins"
_NAMES = ("site-packages", "dist-packages")


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
    found = [sysconfig.get_path(kind) for kind in ("purelib", "platlib")] + site.getsitepackages()
    found += [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    named = [entry for entry in _elsewhere(sys.path) if os.path.basename(entry) in _NAMES]
    return {*map(os.path.realpath, found), *named}


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
    found = set()
    for folder in searched:
        for each in importlib.metadata.distributions(path=[folder]):
            found |= {(name, _project_of(each) or folder) for name in _names_of(each)}
    return found


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
