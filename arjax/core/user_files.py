"""Runs Python files written by the user (configs, sweeps); a mistake in them is one sentence."""

from __future__ import annotations

import contextlib
import os
import re
import runpy
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from arjax.core.errors import UserError, describe
from arjax.core.files import user_path
from arjax.core.registry import did_you_mean
from arjax.core.trust import UntrustedCodeError
from arjax.core.user_code import importing_from


def run_user_file(path: str, function: str, kind: type, *args: Any) -> Any:
    """Calls `function(*args)` of a Python file of the user and checks the type of its result.

    Raises:
      UserError: one sentence with the file, line and reason, for any error in the file.
    """
    folder = os.path.dirname(path)
    with importing_from(folder), mistakes_in(path, folder):
        names = runpy.run_path(path)
        if not callable(names.get(function)):
            raise UserError(f"{path} does not define {function}()")
        result = names[function](*args)
    if not isinstance(result, kind):
        raise UserError(f"{function}() in {path} must return a {kind.__name__}, not {type(result).__name__}")
    return result


@contextlib.contextmanager
def mistakes_in(name: str, folder: str) -> Iterator[None]:
    """Runs code of the user; any error in it becomes one sentence that begins with `name`.

    The sentence has the line where `name` is a file, and the line of another file in the folder where the error comes
    from one.

    Raises:
      UntrustedCodeError: as it is.
      UserError: instead of any other exception.
    """
    try:
        yield
    except UntrustedCodeError:
        raise
    except UserError as error:
        raise UserError(f"{error}" if name in str(error) else f"{name}: {error}") from error
    except (Exception, SystemExit) as error:  # the user's own code: it can raise anything
        raise UserError(
            f"{name}{_line_in(name, error)} fails with {_first_line(error)}{_beside(name, folder, error)}"
        ) from error


def load_list(
    path: str, function: str, kinds: tuple[type, ...], file: str, things: str, args: tuple[str, ...] = ()
) -> list[Any]:
    """The objects that `function(*args)` of a user's file lists, each of one of the kinds, with a `name` of its own.

    `file` and `things` are the words for the file ("sweep file") and the objects ("runs") in messages.

    Raises:
      UserError: a missing or failing file, an empty list, other objects in the list, or names that are used twice.
    """
    if not user_path(path).is_file():
        raise UserError(f"there is no {file} {path!r}{nearby_files(path)}")
    path = str(user_path(path))
    found = run_user_file(path, function, list, *args)
    if not found:
        raise UserError(f"{function}() in {path} returns no {things}")
    for each in found:
        if not isinstance(each, kinds):
            names = " or ".join(f"{kind.__module__.rpartition('.')[0]}.{kind.__name__}" for kind in kinds)
            raise UserError(f"{function}() in {path} must return {names} objects, not {each!r}")
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two {things} of {path} are named {name!r}")
    return found


def select(found: Sequence[Any], only: str, thing: str) -> list[Any]:
    """Those named in a comma-separated list; all of them for "". Raises `UserError` for an unknown name."""
    by_name = {each.name: each for each in found}
    chosen = [name for name in only.split(",") if name]
    for name in chosen:
        if name not in by_name:
            raise UserError(f"there is no {thing} {name!r} in the list{did_you_mean(name, by_name)}")
    return [by_name[name] for name in chosen] if only else list(found)


def _line_in(path: str, error: BaseException) -> str:
    """`, line 12` for the last line of the user's file on the way to the error."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return f", line {error.lineno},"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f", line {lines[-1]}," if lines else ""


def _beside(path: str, folder: str, error: BaseException) -> str:
    """` (my_network.py, line 7)`: where an error comes from a file in the folder of the user's file."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    places += [(error.filename, error.lineno)] if isinstance(error, SyntaxError) and error.filename else []
    folder = os.path.realpath(folder)
    near = [(file, line) for file, line in places if _is_users(os.path.realpath(file), folder)]
    if not near or os.path.realpath(near[-1][0]) == os.path.realpath(path):
        return ""
    return f" ({os.path.relpath(os.path.realpath(near[-1][0]), folder)}, line {near[-1][1]})"


def _is_users(file: str, folder: str) -> bool:
    """Whether a file in the folder, or further down, is neither of this package nor of an environment."""
    package = os.path.realpath(Path(__file__).parents[1])
    return file.startswith(folder + os.sep) and not file.startswith(package + os.sep) and "site-packages" not in file


def _first_line(error: BaseException) -> str:
    """The kind of an error and the first line of its message; of a locked config, the field and the nearest one."""
    locked = re.search(r'Key "(\w+)" does not exist', str(error))
    if locked:  # ml_collections prints the whole config here
        near = re.search(r'Did you mean "(\w+)"', str(error))
        return f"unknown config field {locked[1]!r}" + (f", did you mean {near[1]!r}?" if near else "")
    return describe(error)


def nearby_files(path: str) -> str:
    """The part of a message that names the Python file nearest to a path that does not exist."""
    folder = Path(path).parent
    names = [str(folder / p.name) for p in sorted(folder.glob("*.py"))] if folder.is_dir() else []
    return did_you_mean(path, names)
