"""Python code of users: how it is found, which of it may run, and which files a run was trained with.

A plugin is a module or a file that registers components. It is written as one of

    my_package                           a module that Python finds by itself, such as an installed one
    my_network in /home/me/configs       a module in a folder
    /home/me/configs/mine.py             a file, such as a config file that registers something

Users write the first form. `with_places` makes the others from the modules that a config file imports from its folder.
A stored run names its plugins in `config.json`, and anyone may have written that file. Such a plugin runs only if it is

- an installed package: a module in a folder `site-packages`, a project that is installed in editable form, or one that
  `pip --target` has put into a folder of `PYTHONPATH`. The current folder never counts as one of these;
- code that this process has run already, because a call or a config file of the user named it;
- a file in a folder of `$ARJAX_TRUST`, a list of absolute paths like `PATH`;
- named within `trusting()`, which is what `trust=True` and `--trust` mean. Trusted code may import and do anything.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
import importlib
import importlib.metadata
import json
import os
import re
import runpy
import sys
import sysconfig
import traceback
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, NamedTuple

from arjax.core.errors import UserError, describe, refuse, say_once
from arjax.core.files import PACKAGE, digest_of, fingerprint_of

#: The group of entry points with which packages register components.
GROUP = "arjax.plugins"
#: The environment variable with the folders whose code is trusted.
VARIABLE = "ARJAX_TRUST"
_IN = " in "
_RUN_PATH = "<run_path>"  # the name under which `runpy` runs a file


class PluginError(UserError):
    """A plugin that is missing, or that fails when it is imported."""


class UntrustedCodeError(UserError):
    """A run names code that the user has not trusted; `file` is its path."""

    def __init__(self, file: str, message: str = ""):
        remedy = f"read it, then give --trust (from Python, trust=True), or add its folder to ${VARIABLE}"
        super().__init__(message or f"{file}, which you have not trusted: {remedy}")
        self.file = file


@dataclasses.dataclass(frozen=True)
class Origin:
    """The line of code that registered a component, and the global variables of the code."""

    file: str
    line: int
    variables: dict[str, Any] = dataclasses.field(repr=False)
    execution: Any = dataclasses.field(repr=False)  # a module gets another `__spec__` when it is reloaded

    @classmethod
    def of_caller(cls, depth: int) -> Origin:
        """Returns the line that called the function `depth` levels above."""
        frame = sys._getframe(depth)
        variables = frame.f_globals
        return cls(os.path.realpath(frame.f_code.co_filename), frame.f_lineno, variables, variables.get("__spec__"))

    @property
    def module(self) -> str:
        """The name of the module that ran."""
        return self.variables.get("__name__", "")

    @property
    def is_outside(self) -> bool:
        """Whether the code belongs to another package than this one."""
        return self.module.partition(".")[0] != PACKAGE.name

    def repeats(self, earlier: Origin) -> bool:
        """Returns whether this is the earlier definition again: the same line, or the same file executed again."""
        if self.module == "__main__" and "__file__" not in self.variables:  # cells of a notebook, or a prompt
            return self.variables is earlier.variables
        again = self.variables is not earlier.variables or self.execution is not earlier.execution
        return self.file == earlier.file and (again or self.line == earlier.line)

    def __str__(self) -> str:
        package = self.module.partition(".")[0]
        by = f"by {package!r} in " if package.isidentifier() and package != "__main__" else ""
        return f"{by}{self.file}, line {self.line}"


class _Loaded(NamedTuple):
    """A module of the user: the folder in which it was found, its file, and the fingerprint of what was imported."""

    folder: str
    file: str
    fingerprint: str


#: The modules of the user that were imported from beside other files, by name.
_LOADED: dict[str, _Loaded] = {}
#: The files that were run as programs: configs, sweeps and plugins.
_PROGRAMS: set[str] = set()
#: Folders that were appended to `sys.path`.
_APPENDED: set[str] = set()
_TRUSTING = contextvars.ContextVar("trusting", default=False)


# Trust


@contextlib.contextmanager
def trusting(trust: bool = True) -> Iterator[None]:
    """Trusts, in the body, all code that stored runs name; `trust=False` changes nothing."""
    token = _TRUSTING.set(trust or _TRUSTING.get())
    try:
        yield
    finally:
        _TRUSTING.reset(token)


def is_trusting() -> bool:
    """Returns whether this is the body of `trusting`."""
    return _TRUSTING.get()


def check_trusted(files: Mapping[str, str]) -> None:
    """Raises `UntrustedCodeError` unless these files, by the names of their modules, may run."""
    for module, file in files.items():
        if not (_TRUSTING.get() or _is_in(file, _trusted_folders()) or (module and is_installed(module, file))):
            raise UntrustedCodeError(file)


def _trusted_folders() -> set[str]:
    folders = [os.path.expanduser(entry) for entry in os.environ.get(VARIABLE, "").split(os.pathsep) if entry]
    for folder in folders:
        if not os.path.isabs(folder):
            raise UserError(f"the variable {VARIABLE} must hold absolute paths of folders, not {folder!r}")
    return set(map(os.path.realpath, folders))


def is_installed(module: str, file: str) -> bool:
    """Returns whether the file of this module belongs to an installed package, or to arjax. Of a project in editable
    form, only files where Python looks for its packages count: others in its folder may be runs of other people.
    """
    package, root = module.partition(".")[0], _root(module, file)
    if package == PACKAGE.name and root == str(PACKAGE.parent):
        return True
    for owner, folder, is_editable in _packages(_searched()):
        roots = {folder, os.path.join(folder, "src")} if is_editable else {folder}
        if owner == package and (root in roots or (is_editable and root in _python_path() and _is_in(file, {folder}))):
            return True
    return _is_in(file, _installed_folders())


def _root(module: str, file: str) -> str:
    """Returns the folder in which an import finds the file of a module, or the package that the module belongs to."""
    path = Path(file)
    path = path.parent if path.stem == "__init__" else path
    return str(path.parents[module.count(".")])


def _is_in(file: str, folders: set[str]) -> bool:
    return any(file.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders)


def _python_folders(*kinds: str) -> set[str]:
    """Returns folders of this Python, without links, by their names in `sysconfig`."""
    return {os.path.realpath(sysconfig.get_path(kind)) for kind in kinds}


def _installed_folders() -> set[str]:
    """Returns the folders of installed packages, without links: those of this Python, and folders `site-packages` that
    `PYTHONPATH` (on a cluster) or a `.pth` file (of an environment on top of another one) names.
    """
    named = {entry for entry in _python_path() if os.path.basename(entry) in ("site-packages", "dist-packages")}
    return _python_folders("purelib", "platlib") | named


def _python_path() -> set[str]:
    """Returns the folders in which Python searches, without those that were added for the code of runs."""
    return _absolute(sys.path) - _APPENDED


def _searched() -> tuple[str, ...]:
    """Returns the folders with metadata of installed packages."""
    return tuple(sorted({*_installed_folders(), *_absolute(os.environ.get("PYTHONPATH", "").split(os.pathsep))}))


def _absolute(entries: list[str]) -> set[str]:
    """Returns the folders that are written in full, without links and without the current one."""
    return {os.path.realpath(entry) for entry in entries if os.path.isabs(entry)} - {os.path.realpath(os.curdir)}


@functools.cache
def _packages(searched: tuple[str, ...]) -> set[tuple[str, str, bool]]:
    """Returns top-level names of packages, each with its folder, and whether it is a project in editable form."""
    packages = set()
    for folder in searched:
        for each in importlib.metadata.distributions(path=[folder]):
            listed = (each.read_text("top_level.txt") or "").split()
            points = [point.module.partition(".")[0] for point in each.entry_points if point.group == GROUP]
            names = {*listed, *points, re.sub(r"[-.]+", "_", each.name or "")} - {""}
            project = _editable_project(each)
            packages |= {(name, project or folder, bool(project)) for name in names}
    return packages


def _editable_project(distribution: importlib.metadata.Distribution) -> str:
    """Returns the folder of a project that is installed in editable form, "" for others (PEP 610)."""
    text = distribution.read_text("direct_url.json")
    try:
        about = json.loads(text) if text else {}
        url, editable = urllib.parse.urlsplit(about["url"]), about["dir_info"]["editable"]
    except (ValueError, KeyError, TypeError):
        return ""
    return os.path.realpath(urllib.request.url2pathname(url.path)) if editable is True and url.scheme == "file" else ""


def entry_points() -> list[importlib.metadata.EntryPoint]:
    """Returns the entry points of installed packages, sorted. A package that is found twice counts once, the first
    time; metadata in the current folder do not count.
    """
    packages: dict[str, importlib.metadata.Distribution] = {}
    for each in importlib.metadata.distributions(path=list(_searched())):
        packages.setdefault(each.name, each)
    points = [point for each in packages.values() for point in each.entry_points if point.group == GROUP]
    return sorted(points, key=lambda point: point.name)


# Imports


def find(name: str, folders: Sequence[str] | None = None) -> dict[str, str]:
    """Returns the files that an import of a dotted name runs, by module, from `folders` or as usual; {} for none."""
    files, parts = {}, name.split(".")
    for depth, part in enumerate(parts, start=1):
        if folders is None:
            specs = (finder.find_spec(part, None) for finder in sys.meta_path)
            spec = next((spec for spec in specs if spec is not None), None)
        else:
            spec = PathFinder.find_spec(part, list(folders))
        if spec is None:
            return {}
        if spec.has_location and spec.origin:
            files[".".join(parts[:depth])] = os.path.realpath(spec.origin)
        folders = list(spec.submodule_search_locations or ())
    return files if name in files else {}


def import_plugins(plugins: Iterable[str], *, named: bool = False) -> None:
    """Imports plugins, each once, by their names in the forms at the top of this module; plugins that the user has
    `named`, in an argument or a config file, are trusted. Raises `PluginError` for one that is not a name, is missing
    or fails, and `UntrustedCodeError`, before it runs, for one that is not trusted.
    """
    for plugin in map(str, plugins):
        if "\0" in plugin:
            raise PluginError(f"a plugin is the name of a module, such as 'my_package', not {plugin!r}")
        is_program = plugin.endswith(".py")
        folder = os.path.dirname(plugin) if is_program else plugin.partition(_IN)[2]
        with trusting(named), mistakes_in(f"the plugin {plugin!r}", folder, PluginError):
            (_run_plugin if is_program else _import_plugin)(plugin)


def _run_plugin(path: str) -> None:
    if not Path(path).is_file():
        raise UserError("the file is not there any more")
    if (file := os.path.realpath(path)) not in _PROGRAMS:
        check_trusted({"": file})
        with importing_from(os.path.dirname(file)):
            _run_program(path)


def _import_plugin(plugin: str) -> None:
    name, _, folder = plugin.partition(_IN)
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", name) or name.rpartition(".")[2] == "__main__":
        raise UserError(f"a plugin is the name of a module, such as 'my_package', not {plugin!r}")
    of_python = not folder and name.partition(".")[0] in sys.stdlib_module_names
    refuse((of_python, f"{name!r} is a module of Python, which registers nothing"))
    files = find(name, [folder]) if folder else {}
    where, files = (folder, files) if files else ("", find(name))
    refuse((not files, f"there is no module {name!r}" + " there any more" * bool(folder)))
    for module, file in files.items():
        _check_imported(module, file)
    if name not in sys.modules:
        check_trusted(files)
    with importing_from(where) if where else contextlib.nullcontext():
        importlib.import_module(name)
        _check_imported(name, files[name])


def _check_imported(module: str, file: str) -> None:
    if module in sys.modules and (imported := _file_of(module)) != file:
        raise UserError(f"another module {module!r} is imported already: {imported}")


def _file_of(module: str) -> str:
    """Returns the file of an imported module; "" without one."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return os.path.realpath(file) if file else ""


@contextlib.contextmanager
def importing_from(folder: str | os.PathLike) -> Iterator[None]:
    """Lets `import` in the body search `folder` before all others, and afterwards, if that imported something, after
    them. A module that is imported already stays as it is; a remark says if its file was edited since. Raises
    `UserError` if the folder has a module of the same name as one from another folder.
    """
    folder = os.path.realpath(folder)
    importlib.invalidate_caches()  # files that were just written
    _check_imported_from(folder)
    before = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        new = {name: file for name in set(sys.modules) - before if (file := _file_beside(name, folder))}
        _LOADED.update({name: _Loaded(folder, file, _fingerprint(file)) for name, file in new.items()})
        if new and folder not in sys.path:  # for imports inside of functions
            sys.path.append(folder)
            _APPENDED.add(folder)


def _check_imported_from(folder: str) -> None:
    """Checks that files of the folder import no module that the process has imported from another folder."""
    files = [path for path in Path(folder).glob("*.py") if path.is_file()]
    names = {path.stem for path in files} | {path.parent.name for path in Path(folder).glob("*/__init__.py")}
    for name in sorted(names & sys.modules.keys()):
        file, here = _file_of(name), find(name, [folder]).get(name)
        if file in ("", here) or _is_in(file, _python_folders("stdlib", "platstdlib")) or is_installed(name, file):
            continue
        statement = re.compile(rf"^\s*(from|import)\b.*\b{re.escape(name)}\b", re.MULTILINE)
        if any(statement.search(path.read_text(encoding="utf-8", errors="replace")) for path in files):
            remedy = "rename one of them, or use another process"
            raise UserError(f"another module {name!r} than {here} is imported already, {file}: {remedy}")
    for name, loaded in _LOADED.items():
        is_here = name in sys.modules and loaded.folder == folder
        if is_here and _fingerprint(loaded.file) not in ("", loaded.fingerprint):
            say_once(f"{loaded.file} has changed since it was imported: the new version runs in a new process")


def _file_beside(name: str, folder: str) -> str:
    """Returns the file of an imported module of the user in that folder, or below; "" for all other modules."""
    file = _file_of(name)
    is_there = file and _root(name, file) == folder and getattr(sys.modules[name], "__name__", "") == name
    return file if is_there and not is_installed(name, file) else ""


def _run_program(path: str) -> dict[str, Any]:
    """Runs a file, and returns its variables."""
    variables = runpy.run_path(path)
    _PROGRAMS.add(os.path.realpath(path))
    return variables


def run_user_file(path: str, function: str, kind: type, *args: Any, instead: tuple[str, str] = ("", "")) -> Any:
    """Calls `function(*args)` of a Python file of the user and checks the type of its result. `instead` names a
    function that the file may define in its place, and the remedy. Any error in the file is a `UserError` with the
    file, the line and the reason.
    """
    folder = os.path.dirname(path)
    with mistakes_in(path, folder), importing_from(folder):
        names = _run_program(path)
        if not callable(names.get(function)):
            other, remedy = instead
            raise UserError(f"{path} does not define {function}()" + (f": {remedy}" if other in names else ""))
        result = names[function](*args)
    if not isinstance(result, kind):
        raise UserError(f"{function}() in {path} must return a {kind.__name__}, not {type(result).__name__}")
    return result


@contextlib.contextmanager
def mistakes_in(name: str, folder: str, kind: type[UserError] = UserError) -> Iterator[None]:
    """Turns any error in code of the user but `UntrustedCodeError` into one sentence that begins with `name`. It names
    the line where `name` is a file, and the line of another file in the folder that the error comes from.
    """
    try:
        yield
    except UntrustedCodeError:
        raise
    except UserError as error:
        raise kind(f"{error}" if name in str(error) else f"{name}: {error}") from error
    except (Exception, SystemExit) as error:  # the user's own code: it can raise anything
        places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        places += [(error.filename, error.lineno)] if isinstance(error, SyntaxError) and error.filename else []
        lines = [f", line {line}," for file, line in places if file == name]
        where = f"{name}{lines[-1] if lines else ''}"
        raise kind(f"{where} fails with {_first_line(error)}{_beside(name, folder, places)}") from error


def _beside(path: str, folder: str, places: list[tuple[str, int | None]]) -> str:
    """Returns ` (my_network.py, line 7)` where an error comes from a file in the folder of the user's file, else ""."""
    folder = os.path.realpath(folder)
    places = [(os.path.realpath(file), line) for file, line in places]
    near = [(file, line) for file, line in places if file.startswith(folder + os.sep) and "site-packages" not in file]
    near = [(file, line) for file, line in near if not _is_in(file, {str(PACKAGE)})]
    if not near or near[-1][0] == os.path.realpath(path):
        return ""
    return f" ({os.path.relpath(near[-1][0], folder)}, line {near[-1][1]})"


def _first_line(error: BaseException) -> str:
    """Returns the kind of an error and the first line of its message; of a locked config, the field and the nearest."""
    locked = re.search(r'Key "(\w+)" does not exist', str(error))
    if locked:  # ml_collections prints the whole config here
        near = re.search(r'Did you mean "(\w+)"', str(error))
        return f"unknown config field {locked[1]!r}" + (f", did you mean {near[1]!r}?" if near else "")
    return describe(error)


# Places and fingerprints


def with_places(plugins: Iterable[str], origins: Iterable[Origin]) -> tuple[str, ...]:
    """Returns the plugins, and the code of the `origins`, in the form in which another process finds them. Installed
    packages with an entry point are left out, as they are found without, and so are components of a notebook or of a
    program, which cannot be found again.
    """
    places = [_place_of_module(plugin) if plugin in sys.modules else plugin for plugin in plugins]
    places += sorted(map(_place, origins))
    return tuple(dict.fromkeys(filter(None, places)))


def _place(origin: Origin) -> str:
    """Returns the plugin that registers something; "" if none can be named, or none is needed."""
    if origin.module == _RUN_PATH:
        return origin.file
    if origin.module == "__main__" or _file_of(origin.module) != origin.file:
        return ""
    of_packages = {point.module.partition(".")[0] for point in entry_points()}
    return "" if origin.module.partition(".")[0] in of_packages else _place_of_module(origin.module)


def _place_of_module(name: str) -> str:
    """Returns the name of an imported module, with its folder unless that is where packages are installed."""
    root = _root(name, file) if (file := _file_of(name)) else ""
    installed = not root or root in _python_folders("purelib", "platlib", "stdlib")
    return name if installed else f"{name}{_IN}{root}"


def code_of(plugins: Iterable[str]) -> dict[str, str]:
    """Returns the files that plugins, in the form of `with_places`, run, and those beside them that this process has
    imported, with the fingerprint of each.
    """
    files, folders = dict[str, str](), set[str]()
    for plugin in plugins:
        name, _, folder = plugin.partition(_IN)
        is_program = plugin.endswith(".py")
        folder = os.path.realpath(os.path.dirname(plugin) if is_program else folder)
        if file := os.path.realpath(plugin) if is_program else _file_beside(name, folder):
            files[file] = _fingerprint(file)
            folders.add(folder)
    imported = (each for name, each in _LOADED.items() if each.folder in folders and name in sys.modules)
    files |= {each.file: each.fingerprint for each in imported}
    return {file: files[file] for file in sorted(files) if files[file]}


def _fingerprint(file: str) -> str:
    """Returns the fingerprint of the contents of a file; "" if the file is gone."""
    return fingerprint_of([digest_of(file)]) if os.path.isfile(file) else ""
