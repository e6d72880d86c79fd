"""Plugins: the modules and files of users that register components, and their places for a later process.

A plugin is written as one of

    my_package                           a module that Python finds by itself, as an installed one
    my_network in /home/me/configs       a module in a folder
    /home/me/configs/mine.py             a file, such as a config file that registers something

Users write the first; `with_places` makes the others from the modules that a config file imports from beside it.

A run that someone else has made may name any code in its `config.json`. Its plugins are imported where they are
installed packages or code that the user trusts (`arjax.core.trust`). Those that a call or a config file of the user
names are imported always.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from arjax.core import user_code
from arjax.core.errors import UserError
from arjax.core.registry import REGISTRIES, Origin, entry_points
from arjax.core.trust import UntrustedCodeError, admit, is_installed, is_of_python, name_in_process, remember
from arjax.core.user_files import mistakes_in

_IN = " in "
_RUN_PATH = "<run_path>"  # the name under which `runpy` runs a file


class PluginError(UserError):
    """A plugin that is missing, or that fails when it is imported."""


def import_plugins(plugins: Iterable[str], *, named: bool = False) -> None:
    """Imports plugins, each once.

    `named`: this call of the user names them, in an argument or a config file. Otherwise a run does: those that are
    neither installed nor trusted are refused.

    Raises:
      PluginError: one of them is no name, is missing or fails; names it and the reason.
      UntrustedCodeError: one of them, or a file that it imports, is code that the user has not trusted.
    """
    for plugin in plugins:
        if not isinstance(plugin, str):
            raise PluginError(f"a plugin is the name of a module, such as 'my_package', not {plugin!r}")
        name, _, folder = plugin.partition(_IN)
        try:
            with mistakes_in(f"the plugin {plugin!r}", os.path.dirname(plugin) if plugin.endswith(".py") else folder):
                _import(plugin, name, folder, name_in_process if named else admit)
        except UntrustedCodeError:
            raise
        except UserError as error:
            raise PluginError(str(error)) from error


def remember_plugins(plugins: Iterable[str]) -> None:
    """Trusts the files of plugins, in the form of `with_places`, and those beside them that they import."""
    for modules, folder in _modules_of(plugins):
        user_code.admit_all(modules, folder, remember)


def files_of(plugins: Iterable[str]) -> list[str]:
    """The files of the user that plugins, in the form of `with_places`, run: their own, and those that these import."""
    files: dict[str, None] = {}
    for modules, folder in _modules_of(plugins):
        user_code.admit_all(modules, folder, lambda file, _: files.setdefault(os.path.realpath(file)))
    return list(files)


def _modules_of(plugins: Iterable[str]) -> Iterator[tuple[list[user_code.Module], str]]:
    """Of each plugin its modules, with those beside them that this process has imported, and the folder in which it
    looks for others; "" for none of its own.
    """
    for plugin in plugins:
        name, _, folder = plugin.partition(_IN)
        of_file = plugin.endswith(".py")
        folder = os.path.dirname(plugin) if of_file else folder
        modules = [user_code.Module("", plugin)] if of_file else user_code.find(name, [folder] if folder else sys.path)
        beside = [user_code.Module("", file) for file in user_code.files_beside(folder)] if folder else []
        yield [*modules, *beside], folder


def _import(plugin: str, name: str, folder: str, admit: user_code.Admit) -> None:
    if plugin.endswith(".py"):
        _run(plugin, admit)
    elif not re.fullmatch(r"\w+(\.\w+)*", name) or name.rpartition(".")[2] == "__main__":
        raise UserError(f"a plugin is the name of a module, such as 'my_package', not {plugin!r}")
    elif _is_of_python(name, [folder] if folder else sys.path):
        raise UserError(f"{name!r} is a module of Python, which registers nothing")
    elif folder and _is_found(user_code.import_from, name, folder, admit):
        return
    elif not _is_found(user_code.import_admitted, name, sys.path, admit):
        raise UserError(f"there is no module {name!r}" + " there any more" * bool(folder))


def _is_of_python(name: str, folders: Sequence[str]) -> bool:
    if modules := user_code.find(name, folders):
        return is_of_python(modules[-1].file) and not is_installed(*modules[-1])
    return name.partition(".")[0] in sys.stdlib_module_names


def _is_found(load: Callable[..., Any], name: str, *rest: Any) -> bool:
    """Imports a module; False where it, or its package, is missing. Its own imports must not be missing."""
    try:
        load(name, *rest)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            return False
        raise
    return True


def _run(path: str, admit: user_code.Admit) -> None:
    """Runs a file, unless its components are registered."""
    if not Path(path).is_file():
        raise UserError("the file is not there any more")
    file = os.path.realpath(path)
    if all(origin.file != file for _, origin in _outside()):
        with user_code.importing_from(Path(path).parent, admit):
            user_code.run_admitted(path, admit)


def _outside() -> Iterator[tuple[str, Origin]]:
    """The names that other packages have registered, and where."""
    for registry in list(REGISTRIES):
        origins = ((name, registry.origin(name)) for name in registry.names())
        yield from ((name, origin) for name, origin in origins if origin is not None and origin.is_outside)


def joined(of_run: tuple[str, ...], named: tuple[str, ...]) -> tuple[str, ...]:
    """The plugins of a run and those that a command names, which take the place of plugins of the same name."""
    if not isinstance(named, tuple) or not all(isinstance(plugin, str) for plugin in named):
        return named  # refused where plugins are checked

    def name(plugin: str) -> str:
        """`mine` of `mine`, of `mine in /home/me` and of `/home/me/mine.py`."""
        return os.path.basename(plugin.partition(_IN)[0]).removesuffix(".py")

    names = set(map(name, named))
    return (*(plugin for plugin in of_run if not isinstance(plugin, str) or name(plugin) not in names), *named)


def with_places(plugins: Iterable[str], names: set[str]) -> tuple[str, ...]:
    """The plugins in the form in which another process finds them, and with them those that register any of the names.

    Installed packages with an entry point are left out: they are found without. Components of a notebook or of a
    program are left out, too: they cannot be found again.
    """
    places = [_place_of_module(plugin) if plugin in sys.modules else plugin for plugin in plugins]
    places += sorted(_place(origin) for name, origin in _outside() if name in names)
    return tuple(dict.fromkeys(filter(None, places)))


def _place(origin: Origin) -> str:
    """The plugin that registers something; "" where none can be named, or none is needed."""
    if origin.module == _RUN_PATH:
        return origin.file
    module = sys.modules.get(origin.module)
    if origin.module == "__main__" or os.path.realpath(getattr(module, "__file__", None) or "") != origin.file:
        return ""
    of_packages = {point.module.partition(".")[0] for point in entry_points()}
    return "" if origin.module.partition(".")[0] in of_packages else _place_of_module(origin.module)


def _place_of_module(name: str) -> str:
    """An imported module, with its folder unless that is where packages are installed."""
    root = user_code.root_of(sys.modules[name])
    installed = {os.path.realpath(sysconfig.get_path(kind)) for kind in ("purelib", "platlib", "stdlib")}
    return f"{name}{_IN}{root}" if root and root not in installed else name
