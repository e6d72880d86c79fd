"""The files that an import of a user's code runs: found and admitted before any of them runs, and imported.

Code that a run names passes two gates. `admit_all` follows the import statements of a file, also those inside of
functions, without running anything. `importing_admitted` looks at each module that is imported meanwhile, so at those
as well that no statement names: it compiles the very bytes that were admitted, not a compiled file beside them.

While a user's file runs, its folder is the first that `import` searches. A process may run files of several folders,
and the same file again after an edit. A module beside a file is therefore imported anew when it, or another one beside
it, has changed since, and when its name means another file in the folder that is run now.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import os
import runpy
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib import machinery
from importlib.machinery import SOURCE_SUFFIXES, ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from arjax.core.errors import UserError
from arjax.core.files import reading
from arjax.core.trust import is_installed, is_of_arjax, is_of_python

#: Called with the path and the contents of a file before it runs; raises an error about one that must not.
Admit = Callable[[str, bytes], None]
_SUFFIXES = (*machinery.EXTENSION_SUFFIXES, *SOURCE_SUFFIXES, *machinery.BYTECODE_SUFFIXES)


class Module(NamedTuple):
    """A module of a user and its file; "" is the name of a file that is run as a program."""

    name: str
    file: str


def find(name: str, folders: Sequence[str]) -> list[Module]:
    """The modules that an import of a dotted name runs: its packages and itself, as far as there are files of them."""
    modules, parts = [], name.split(".")
    for depth, part in enumerate(parts, start=1):
        bases = [os.path.join(folder or os.curdir, part) for folder in folders]
        file, base = next(((file, base) for base in bases if (file := _file_of(base))), ("", ""))
        modules += [Module(".".join(parts[:depth]), file)] if file else []
        folders = [base] if file else [base for base in bases if os.path.isdir(base)]  # without a file: a namespace
    return modules


def admit_all(modules: Sequence[Module], folder: str, admit: Admit) -> None:
    """Admits these modules, and those of the user that they import; `folder` is the first that Python searches then."""
    waiting, seen = list(modules), set()
    while waiting:
        module = waiting.pop(0)
        if module in seen or not is_foreign(*module):
            continue
        seen.add(module)
        contents = _read(module.file)
        admit(module.file, contents)
        for name in _imported(module, contents):
            waiting += find(name, [folder, *sys.path])


def import_admitted(name: str, folders: Sequence[str], admit: Admit) -> ModuleType:
    """Imports the module of a dotted name; unless it is imported already, its files in the folders, and files of the
    user that it imports, are admitted.
    """
    if name not in sys.modules:
        admit_all(find(name, folders), folders[0], admit)
    with importing_admitted(admit):
        return importlib.import_module(name)


def run_admitted(path: str, admit: Admit) -> None:
    """Runs a file as a program; it and the files of the user that it imports are admitted first."""
    admit_all([Module("", path)], os.path.dirname(path), admit)
    with importing_admitted(admit):
        runpy.run_path(path)


def is_foreign(name: str, file: str) -> bool:
    """Whether a module belongs neither to an installed package nor to Python nor to this package; so is a program."""
    return not name or not (is_of_python(file) or is_of_arjax(file) or is_installed(name, file))


@contextlib.contextmanager
def importing_admitted(admit: Admit) -> Iterator[None]:
    """Within, a module of the user that this thread imports is admitted first."""
    gate = _Gate(admit)
    sys.meta_path.insert(0, gate)
    try:
        yield
    finally:
        sys.meta_path.remove(gate)


class _Gate:
    """A finder of modules that asks all others, and admits the file that they find."""

    def __init__(self, admit: Admit):
        self._admit, self._thread = admit, threading.get_ident()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if threading.get_ident() != self._thread:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        spec = next((candidate for finder in others if (candidate := finder.find_spec(name, path, target))), None)
        if spec is None or not spec.has_location or not spec.origin or not is_foreign(name, spec.origin):
            return spec  # of an installed package, of Python; built in, or a folder without code
        return _admitted(spec, self._admit)


class _Later:
    """A finder of modules in some folders, of those that are admitted, after all other modules."""

    def __init__(self) -> None:
        self.folders: dict[str, Admit] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        for folder, admit in self.folders.items() if path is None else ():
            spec = PathFinder.find_spec(name, [folder], target)
            with contextlib.suppress(UserError):
                if spec is not None and spec.has_location and spec.origin:
                    return _admitted(spec, admit)
        return None


_LATER = _Later()


def _admitted(spec: ModuleSpec, admit: Admit) -> ModuleSpec:
    """The spec of a module of the user, after its file is admitted; source files run as they were then."""
    file = str(spec.origin)
    contents = _read(file)
    admit(file, contents)
    if isinstance(spec.loader, SourceFileLoader):
        spec.loader = _Loader(spec.name, file, contents)
    return spec


class _Loader(SourceFileLoader):
    """Runs these contents of a source file."""

    def __init__(self, name: str, file: str, contents: bytes):
        super().__init__(name, file)
        self._contents = contents

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self._contents, self.path)


def _file_of(base: str) -> str:
    """The file of a module at a path without an ending: of a package, or its own; "" where there is none."""
    files = (f"{base}{os.sep}__init__{suffix}" for suffix in _SUFFIXES), (base + suffix for suffix in _SUFFIXES)
    return next((file for kind in files for file in kind if os.path.isfile(file)), "")


def _imported(module: Module, contents: bytes) -> list[str]:
    """The names that the import statements of a source file may mean."""
    if not module.file.endswith(tuple(SOURCE_SUFFIXES)):
        return []
    try:
        with warnings.catch_warnings(action="ignore"):  # about escape sequences: Python warns when it runs the file
            tree = ast.parse(contents)
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # then it does not run, either
        return []
    package = module.name.split(".")
    package = package if Path(module.file).stem == "__init__" else package[:-1]
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join(filter(None, [*above, node.module or ""]))
            names += [".".join(filter(None, (base, alias.name))) for alias in node.names if alias.name != "*"]
            names += [base] if base else []
    return names


def _read(file: str) -> bytes:
    with reading(file):
        return Path(file).read_bytes()


class _Neighbour(NamedTuple):
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
    is_temporary = folder not in {os.path.realpath(entry) for entry in sys.path} or folder in _APPENDED
    _forget(folder)
    importlib.invalidate_caches()  # files that were just written
    before = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        new = {name for name in set(sys.modules) - before if is_temporary and _is_beside(name, folder)}
        for name in new:
            file = str(sys.modules[name].__file__)
            _NEIGHBOURS[name] = _Neighbour(folder, file, _stamp(file))
        if new and admit is not None:  # for imports inside of their functions
            _LATER.folders[folder] = admit
            if _LATER not in sys.meta_path:
                sys.meta_path.append(_LATER)
        elif new and folder not in sys.path:
            sys.path.append(folder)
            _APPENDED.add(folder)


def import_from(name: str, folder: str, admit: Admit) -> None:
    """Imports a module of a folder; its files are admitted before they run.

    Raises `ModuleNotFoundError` where there is none, and `UserError` where another module has its name in this process.
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


def _is_beside(name: str, folder: str) -> bool:
    """Whether the imported module of that name, of another package than this one, lies in the folder."""
    module, is_ours = sys.modules[name], name.partition(".")[0] == __name__.partition(".")[0]
    return not is_ours and getattr(module, "__name__", "") == name and root_of(module) == folder


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
    with contextlib.suppress(OSError):
        status = os.stat(file)
        return status.st_mtime_ns, status.st_size
    return 0, 0
