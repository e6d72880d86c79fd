"""Python files that are run by name: configs and sweeps of the user, and those that come with the package.

A mistake in them is one sentence.
"""

from __future__ import annotations

import contextlib
import os
import re
import runpy
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arjax.core.errors import UserError, describe, did_you_mean
from arjax.core.files import user_path
from arjax.core.trust import UntrustedCodeError, is_of_arjax
from arjax.core.user_code import importing_from

#: The folder of the package, in which the configs of the project travel along.
PACKAGE = Path(__file__).parents[1]


def split_argument(text: str) -> tuple[str, str]:
    """`configs/x.py:a,b=c` -> (`configs/x.py`, `a,b=c`); `x:a` -> (`x`, `a`)."""
    head, separator, arg = text.partition(".py:")
    if separator:
        return head + ".py", arg
    if text.endswith(".py") or user_path(text).is_file():
        return text, ""
    head, _, arg = text.partition(":")
    return head, arg


def short_names(folder: str) -> dict[str, Path]:
    """The files of a folder such as `configs` by their short names: those in it here, and those of the package."""
    return {path.stem: path for each in (PACKAGE, Path()) for path in sorted((each / folder).glob("*.py"))}


def find_file(text: str, folder: str, kind: str = "file") -> Path:
    """The file of that path or short name; raises `UserError` with the nearest name of such a `kind` of file.

    `digits` and `digits.py` are, in this sequence, `digits.py`, `configs/digits.py` and the `configs/digits.py` of the
    package, for the folder `configs`. So is the path `configs/digits.py` where there is no such file.
    """
    path = user_path(text)
    if path.is_file():
        return path
    names, is_name = short_names(folder), "/" not in text and not text.endswith(".py")
    if is_name and (here := Path(f"{text}.py")).is_file():
        return here
    if Path(text).parent in (Path(), Path(folder)) and path.name.removesuffix(".py") in names:
        return names[path.name.removesuffix(".py")]
    near = "" if is_name else did_you_mean(text, map(str, sorted(path.parent.glob("*.py"))))
    raise UserError(f"there is no {kind} {text!r}{near or did_you_mean(path.name.removesuffix('.py'), sorted(names))}")


def run_user_file(path: str, function: str, kind: type, *args: Any, instead: tuple[str, str] = ("", "")) -> Any:
    """Calls `function(*args)` of a Python file of the user and checks the type of its result.

    `instead` names a function that the file may define in its place, with what to do then, in words. Raises `UserError`
    for any error in the file, with the file, line and reason.
    """
    folder = os.path.dirname(path)
    with importing_from(folder), mistakes_in(path, folder):
        names = runpy.run_path(path)
        if not callable(names.get(function)):
            other, remedy = instead
            raise UserError(f"{path} does not define {function}()" + (f": {remedy}" if other in names else ""))
        result = names[function](*args)
    if not isinstance(result, kind):
        raise UserError(f"{function}() in {path} must return a {kind.__name__}, not {type(result).__name__}")
    return result


@contextlib.contextmanager
def mistakes_in(name: str, folder: str) -> Iterator[None]:
    """Runs code of the user; any error in it but `UntrustedCodeError` becomes one sentence that begins with `name`.

    The sentence has the line where `name` is a file, and the line of another file in the folder where the error comes
    from one.
    """
    try:
        yield
    except UntrustedCodeError:
        raise
    except UserError as error:
        raise UserError(f"{error}" if name in str(error) else f"{name}: {error}") from error
    except (Exception, SystemExit) as error:  # the user's own code: it can raise anything
        places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        places += [(error.filename, error.lineno)] if isinstance(error, SyntaxError) and error.filename else []
        lines = [f", line {line}," for file, line in places if file == name]
        where = f"{name}{lines[-1] if lines else ''}"
        raise UserError(f"{where} fails with {_first_line(error)}{_beside(name, folder, places)}") from error


def _beside(path: str, folder: str, places: list[tuple[str, int | None]]) -> str:
    """` (my_network.py, line 7)`: where an error comes from a file in the folder of the user's file."""
    folder = os.path.realpath(folder)
    places = [(os.path.realpath(file), line) for file, line in places]
    near = [(file, line) for file, line in places if file.startswith(folder + os.sep)]
    near = [(file, line) for file, line in near if not is_of_arjax(file) and "site-packages" not in file]
    if not near or near[-1][0] == os.path.realpath(path):
        return ""
    return f" ({os.path.relpath(near[-1][0], folder)}, line {near[-1][1]})"


def _first_line(error: BaseException) -> str:
    """The kind of an error and the first line of its message; of a locked config, the field and the nearest one."""
    locked = re.search(r'Key "(\w+)" does not exist', str(error))
    if locked:  # ml_collections prints the whole config here
        near = re.search(r'Did you mean "(\w+)"', str(error))
        return f"unknown config field {locked[1]!r}" + (f", did you mean {near[1]!r}?" if near else "")
    return describe(error)
