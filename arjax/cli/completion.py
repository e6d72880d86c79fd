"""Completion of command lines by the Tab key; imports nothing heavy, as it must be fast.

The shells call `arjax --complete SHELL LINE` with the line up to the cursor, and get one candidate a line. Names of
components come from `names.json` beside this file, which `make tables` writes; `tests/cli/test_completion.py` compares.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from arjax.core.errors import UserError
from arjax.core.files import find_file, short_names

NAMES = Path(__file__).with_name("names.json")

BASH = """\
_arjax_complete() {
    local IFS=$'\\n'
    COMPREPLY=($(COMP_WORDBREAKS="$COMP_WORDBREAKS" "$1" --complete bash "${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
    [[ "${COMPREPLY[*]: -1}" == *[=/.:,] ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -F _arjax_complete arjax arjax-sweep
"""
ZSH = """\
_arjax_complete() {
    local -a found
    found=("${(@f)$($words[1] --complete zsh "${(j: :)words[1,CURRENT-1]} $PREFIX" 2>/dev/null)}")
    compadd -S '' -- ${(M)found:#*[=/.:,]}
    compadd -- ${found:#*[=/.:,]}
}
compdef _arjax_complete arjax arjax-sweep
"""
FISH = """\
function _arjax_complete
    $argv[1] --complete fish (commandline -cp) 2>/dev/null
end
complete -c arjax -f -a '(_arjax_complete arjax)'
complete -c arjax-sweep -f -a '(_arjax_complete arjax-sweep)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
#: Fields whose values are names of components of these kinds, or call strings that begin with one.
VALUES = {
    "model.ordering": "orderings",
    "model.partition": "partitions",
    "model.conditional": "conditionals",
    "model.orders": "orders",
    "model.graph": "graphs",
    "objective": "objectives",
    "optimizer.name": "optimizers",
    "optimizer.schedule": "schedules",
    "sample.sampler": "samplers",
    "train.writers": "writers",
    "evaluate.split": "splits",
    "dtype": "dtypes",
}
#: Fields that the config file alone can set.
FIXED = ("dataset.name", "network.name", "model.kind")
#: Words in the argument of a config file whose values are names of components.
ARGUMENTS = {"network": "networks", "dataset": "datasets", "objective": "objectives", "sampler": "samplers"}
ARGUMENTS |= {"ordering": "orderings", "partition": "partitions", "conditional": "conditionals", "orders": "orders"}


def answer(program: str, arguments: Sequence[str]) -> int:
    """Prints the candidates for `SHELL LINE`, one a line; returns the exit code."""
    if len(arguments) != 2 or arguments[0] not in SCRIPTS:
        raise UserError(f"--complete is what shells call: turn completion on with {program} --completion=bash")
    shell, line = arguments
    for text in complete(program, shell, line, os.environ.get("COMP_WORDBREAKS", "")):
        print(text)
    return 0


def complete(program: str, shell: str, line: str, breaks: str = "") -> list[str]:
    """The candidates for the last word of a command line, which ends at the cursor.

    Args:
      program: `arjax` or `arjax-sweep`.
      shell: bash gets what stands behind the last of `breaks` in the word, as it replaces no more.
      breaks: the characters at which bash divides words.
    """
    *before, word = _words(line)
    matches = sorted({text for text in _candidates(program, before[1:], word) if text.startswith(word)})
    start = max((word.rfind(character) + 1 for character in breaks if character in "=:"), default=0)
    return [text[start:] for text in matches] if shell == "bash" else matches


def _words(line: str) -> list[str]:
    """The words of a line without quotation marks; the last one is "" behind a space."""
    words, quote = [""], ""
    for character in line:
        if character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        elif not quote and character in " \t":
            words.append("")
        else:
            words[-1] += character
    return [word for word in words[:-1] if word] + words[-1:]


def _candidates(program: str, before: list[str], word: str) -> Iterable[str]:
    """Whole words that begin with about this one; the caller drops those that do not."""
    names = json.loads(NAMES.read_text(encoding="utf-8"))
    flags = names["flags"][program]
    if before and (flags.get(before[-1]) or (before[-1].startswith("--config.") and "=" not in before[-1])):
        start = f"{before[-1]}="  # its value is a word of its own
        return (text.removeprefix(start) for text in _candidates(program, before[:-1], start + word))
    given = _given(before)
    flag, has_value, value = word.partition("=")
    if program == "arjax" and flag.startswith("--config."):
        known = _fields(names, given)
        field = flag.removeprefix("--config.")
        if has_value:
            values = ("true", "false") if known.get(field) == "bool" else names["names"].get(VALUES.get(field, ""), ())
            return (f"{flag}={text}" for text in values)
        return _next_parts("--config.", known, field)
    if not has_value:
        more = ["--config."] if program == "arjax" else []
        return [*(f"{name}=" if takes else name for name, takes in flags.items() if name not in given), *more]
    readers: dict[str, Callable[[str], Iterable[str]]] = {
        "--config": lambda text: _configs(names, text),
        "--sweep": lambda text: [*_files(text, ".py"), *short_names("configs/sweeps")],
        "--workdir": lambda text: _files(text, None),
    }
    if flag in readers:
        return (f"{flag}={text}" for text in readers[flag](value))
    return (f"{flag}={text}" for text in names["choices"][program].get(flag, ()))


def _given(before: Sequence[str]) -> dict[str, str]:
    """The flags with their values, `--workdir=x` and `--workdir x`."""
    matches = {}
    for argument, after in zip(before, (*before[1:], ""), strict=False):
        flag, has_value, value = argument.partition("=")
        if flag.startswith("--"):
            matches[flag] = value if has_value or after.startswith("--") else after
    return matches


def _next_parts(prefix: str, fields: Iterable[str], typed: str) -> Iterator[str]:
    """Sections (`--config.train.`) and fields (`--config.seed=`) that follow the parts that are typed."""
    done = typed[: typed.rfind(".") + 1]
    for field in fields:
        if field.startswith(done):
            part, dot, _ = field.removeprefix(done).partition(".")
            yield f"{prefix}{done}{part}{'.' if dot else '='}"


def _fields(names: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """The fields of the config, with the types of their values: those of the run in the workdir where there is one;
    else those of every config, and the options of the components that the config file or its argument names.
    """
    stored = Path(given.get("--workdir", "")) / "config.json"
    if given.get("--workdir") and stored.is_file():
        with contextlib.suppress(OSError, ValueError):
            return dict(_flat(json.loads(stored.read_bytes())))
    matches = dict(names["fields"])
    path, _, argument = given.get("--config", "").partition(":")
    words = set(re.findall(r"\w+", argument))
    words |= set(re.findall(r"(?:dataset|network|model)_config\(\s*[\"'](\w+)[\"']", _config_file(path)))
    for section, kinds in {"network": ("networks",), "dataset": ("datasets",), "model": ("kinds",)}.items():
        for kind in kinds:
            for name in words & names["options"][kind].keys():
                matches |= {f"{section}.{option}": type_ for option, type_ in names["options"][kind][name].items()}
    return {name: type_ for name, type_ in matches.items() if name not in FIXED}


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", type(value).__name__


def _configs(names: Mapping[str, Any], text: str) -> Iterator[str]:
    """Config files by their paths and their short names, or words of the argument behind `:`."""
    path, colon, argument = text.partition(":")
    if colon:
        head = text[: len(text) - len(argument)]
        done, last = argument[: argument.rfind(",") + 1], argument.rpartition(",")[2]
        key, has_value, _ = last.partition("=")
        if has_value:
            yield from (f"{head}{done}{key}={name}" for name in names["names"].get(ARGUMENTS.get(key, ""), ()))
        else:
            yield from (f"{head}{done}{word}" for word in _arguments(_config_file(path)))
        return
    yield from _files(text, ".py")
    yield from short_names("configs")


def _config_file(path: str) -> str:
    """The text of a config file given by path or name; "" where it cannot be read."""
    with contextlib.suppress(OSError, UnicodeDecodeError, UserError):
        return find_file(path, "configs").read_text(encoding="utf-8")
    return ""


def _arguments(source: str) -> Iterator[str]:
    """The words that a config file reads by `parse_arg`: `smoke`, `network=`."""
    with contextlib.suppress(SyntaxError, ValueError, RecursionError):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "parse_arg":
                for keyword in node.keywords:
                    is_switch = isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, bool)
                    if keyword.arg:
                        yield keyword.arg if is_switch else f"{keyword.arg}="


def _files(text: str, suffix: str | None) -> Iterator[str]:
    """Folders, and files with a suffix, that begin with a text."""
    folder = os.path.dirname(text)
    with contextlib.suppress(OSError):
        for entry in os.scandir(os.path.expanduser(folder) or "."):
            path = os.path.join(folder, entry.name)
            if entry.is_dir() and not entry.name.startswith((".", "__")):
                yield f"{path}/"
            elif suffix and entry.name.endswith(suffix):
                yield path
