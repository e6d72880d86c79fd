"""Plugins: the modules and files of users that register components, and their places for a later process.

A plugin is written as one of

    my_package                           a module that Python finds by itself, as an installed one
    my_network in /home/me/configs       a module in a folder
    /home/me/configs/mine.py             a file, such as a config file that registers something

Users write the first; `with_places` makes the others from the modules that a config file imports from beside it.
"""

from __future__ import annotations

import importlib
import os
import re
import runpy
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from arjax.core.entry_points import entry_point_modules
from arjax.core.errors import UserError
from arjax.core.neighbours import import_from, importing_from, root_of
from arjax.core.origin import Origin
from arjax.core.registry import REGISTRIES
from arjax.core.user_files import mistakes_in

_IN = " in "
_RUN_PATH = "<run_path>"  # the name under which `runpy` runs a file


class PluginError(UserError):
    """A plugin that is missing, or that fails when it is imported."""


def import_plugins(plugins: Iterable[str]) -> None:
    """Imports plugins, each once.

    Raises:
      PluginError: one of them is no name, is missing or fails; names it and the reason.
    """
    for plugin in plugins:
        if not isinstance(plugin, str):
            raise PluginError(f"a plugin is the name of a module, such as 'my_package', not {plugin!r}")
        name, _, folder = plugin.partition(_IN)
        try:
            with mistakes_in(f"the plugin {plugin!r}", os.path.dirname(plugin) if plugin.endswith(".py") else folder):
                _import(plugin, name, folder)
        except UserError as error:
            raise PluginError(str(error)) from error


def _import(plugin: str, name: str, folder: str) -> None:
    if plugin.endswith(".py"):
        _run(plugin)
    elif not re.fullmatch(r"\w+(\.\w+)*", name):
        raise UserError(f"a plugin is the name of a module, such as 'my_package', not {plugin!r}")
    elif not (folder and _is_found(import_from, name, folder)) and not _is_found(importlib.import_module, name):
        raise UserError(f"there is no module {name!r}" + " there any more" * bool(folder))


def _is_found(load: Callable[..., Any], name: str, *folder: str) -> bool:
    """Imports a module; False where it, or its package, is missing. Its own imports must not be missing."""
    try:
        load(name, *folder)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            return False
        raise
    return True


def _run(path: str) -> None:
    """Runs a file, unless its components are registered."""
    if not Path(path).is_file():
        raise UserError("the file is not there any more")
    file = os.path.realpath(path)
    if all(origin.file != file for _, origin in _outside()):
        with importing_from(Path(path).parent):
            runpy.run_path(path)


def _outside() -> Iterator[tuple[str, Origin]]:
    """The names that other packages have registered, and where."""
    for registry in list(REGISTRIES):
        for name in registry.names():
            origin = registry.origin(name)
            if origin.is_outside:
                yield name, origin


def with_places(plugins: Iterable[str], names: set[str]) -> tuple[str, ...]:
    """The plugins in the form in which another process finds them, and with them those that register any of the names.

    Installed packages with an entry point are left out: they are found without. Components of a notebook or of a
    program are left out, too: they cannot be found again.
    """
    found = [_place_of_module(plugin) if plugin in sys.modules else plugin for plugin in plugins]
    found += sorted(_place(origin) for name, origin in _outside() if name in names)
    return tuple(dict.fromkeys(filter(None, found)))


def _place(origin: Origin) -> str:
    """The plugin that registers something; "" where none can be named, or none is needed."""
    if origin.module == _RUN_PATH:
        return origin.file
    module = sys.modules.get(origin.module)
    if origin.module == "__main__" or os.path.realpath(getattr(module, "__file__", None) or "") != origin.file:
        return ""
    package = origin.module.partition(".")[0]
    by_entry_point = package in {name.partition(".")[0] for name in entry_point_modules()}
    return "" if by_entry_point else _place_of_module(origin.module)


def _place_of_module(name: str) -> str:
    """An imported module, with its folder unless that is where packages are installed."""
    root = root_of(sys.modules[name])
    installed = {os.path.realpath(sysconfig.get_path(kind)) for kind in ("purelib", "platlib", "stdlib")}
    return f"{name}{_IN}{root}" if root and root not in installed else name
