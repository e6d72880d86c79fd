"""Modules beside a user's file: while the file runs, its folder is the first that `import` searches.

A process may run files of several folders, and the same file again after an edit. A module beside a file is therefore
imported anew when it, or another one beside it, has changed since, and when its name means another file in the folder
that is run now.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from arjax.core.errors import UserError
from arjax.core.user_code import Admit, find, find_admitted_in, import_admitted

PACKAGE = __name__.partition(".")[0]


@dataclasses.dataclass(frozen=True)
class _Neighbour:
    """A module that was imported from beside a user's file, and the state of its source at that time."""

    folder: str
    file: str
    stamp: tuple[int, int]


_NEIGHBOURS: dict[str, _Neighbour] = {}
#: Folders that were appended to `sys.path`.
_APPENDED: set[str] = set()


@contextlib.contextmanager
def importing_from(folder: str | os.PathLike, admit: Admit | None = None) -> Iterator[None]:
    """Within, `import` searches `folder` before all others; afterwards, where that imported something, after them.

    With `admit`, only files that it admits are found there afterwards: other code may look for any name.
    """
    folder = os.path.realpath(folder)
    own = folder not in {os.path.realpath(entry) for entry in sys.path} or folder in _APPENDED
    _forget(folder)
    importlib.invalidate_caches()  # files that were just written
    before = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        new = {name for name in set(sys.modules) - before if own and _is_beside(sys.modules[name], name, folder)}
        for name in new:
            file = str(sys.modules[name].__file__)
            _NEIGHBOURS[name] = _Neighbour(folder, file, _stamp(file))
        if new and admit is not None:  # for imports inside of their functions
            find_admitted_in(folder, admit)
        elif new and folder not in sys.path:
            sys.path.append(folder)
            _APPENDED.add(folder)


def import_from(name: str, folder: str, admit: Admit) -> None:
    """Imports a module of a folder; its files are admitted before they run.

    Raises:
      ModuleNotFoundError: there is none.
      UserError: another module has its name in this process; or one of the files is not admitted.
    """
    if not any(module.name == name for module in find(name, [folder])):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    with importing_from(folder, admit):
        module = import_admitted(name, [folder], admit)
    if root_of(module) != os.path.realpath(folder):
        raise UserError(f"another module {name!r} is imported already: {module.__file__}")


def files_beside(folder: str) -> list[str]:
    """The files of a folder that were imported while a file beside them ran."""
    return [each.file for each in _NEIGHBOURS.values() if each.folder == os.path.realpath(folder)]


def root_of(module: ModuleType) -> str:
    """The folder in which `import` finds a module, or the package that it belongs to; "" for one without a file."""
    file = getattr(module, "__file__", None)
    if not file:
        return ""
    path = Path(os.path.realpath(file))
    path = path.parent if path.stem == "__init__" else path
    return str(path.parents[module.__name__.count(".")])


def _is_beside(module: ModuleType | None, name: str, folder: str) -> bool:
    return name.partition(".")[0] != PACKAGE and getattr(module, "__name__", "") == name and root_of(module) == folder


def _forget(folder: str) -> None:
    """Removes from `sys.modules` changed modules, and modules that are not those of their names in this folder."""
    stale = {each.folder for each in _NEIGHBOURS.values() if _stamp(each.file) != each.stamp}
    for name, neighbour in list(_NEIGHBOURS.items()):
        top = os.path.join(folder, name.partition(".")[0])
        hidden = neighbour.folder != folder and (os.path.exists(top + ".py") or os.path.isdir(top))
        if neighbour.folder in stale or hidden:
            sys.modules.pop(name, None)
            del _NEIGHBOURS[name]


def _stamp(file: str) -> tuple[int, int]:
    try:
        found = os.stat(file)
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
