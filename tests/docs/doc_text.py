"""What stands in a page: its code blocks, the commands in them, the numbers that they print, and the files it names."""

import ast
import contextlib
import dataclasses
import io
import itertools
import pathlib
import re
import shlex
import sys
import tokenize
from collections.abc import Iterator
from typing import Any

import numpy as np
from registries import within

from arjax.core.registry import Registry

_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
_TITLE = re.compile(r'title="([^"]+)"')
_LINK = re.compile(r"\]\(([^)#:]+)\)")
#: Not the speed "examples/s".
_NAMED_FILE = re.compile(
    r"(?<![\w/.])(?:arjax|configs|docs|examples(?!/s\b)|experiments|scripts|tests)/[\w./*-]*[\w*/]"
)


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced code block: the first word behind its fence, the file of its `title="..."`, the whole line, its code."""

    language: str
    title: str
    info: str
    text: str


def blocks(page: pathlib.Path) -> list[Block]:

    found = []
    for info, text in _FENCE.findall(page.read_text(encoding="utf-8")):
        title = _TITLE.search(info)
        found.append(Block(info.partition(" ")[0], title[1] if title else "", info, text))
    return found


def titled(page: pathlib.Path) -> dict[str, str]:
    """The files that a page shows in full, by name."""
    return {block.title: block.text for block in blocks(page) if block.title}


@contextlib.contextmanager
def titled_files(page: pathlib.Path, folder: pathlib.Path, registry: Registry, monkeypatch: Any) -> Iterator[None]:
    """The files of a page in a folder; what their modules register, and find beside them, is there until the end."""
    modules = {pathlib.Path(name).stem for name in titled(page)}
    for name, text in titled(page).items():
        (folder / name).write_text(text)
    for module in modules:
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.syspath_prepend(str(folder))
    with within(registry):
        yield
    for module in modules:
        sys.modules.pop(module, None)


def commands(page: pathlib.Path, program: str) -> list[list[str]]:
    """The arguments of every command that begins with `program` in shell blocks and in code between backticks."""
    text = page.read_text(encoding="utf-8")
    lines = [line for block in blocks(page) if block.language == "bash" for line in block.text.splitlines()]
    lines += re.findall(r"`([^`\n]+ --[^`\n]+)`", _FENCE.sub("", text))
    found = []
    for words in (shlex.split(line, comments=True) for line in lines):
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):  # variables set for the command
            words = words[1:]
        words = list(itertools.takewhile(lambda word: word not in (">", ">>", "|"), words))
        if " ".join(words).startswith(program + " "):
            found.append([word for word in words[len(program.split()) :] if word != "&"])
    return found


def named_files(page: pathlib.Path) -> set[str]:
    """The files of the repository that a page names, from the root; those that it shows in full are left out."""
    text = page.read_text(encoding="utf-8")
    text = _FENCE.sub(lambda fence: "" if "title=" in fence[1] else fence[0], text)
    return set(_NAMED_FILE.findall(text)) - {f"arjax/networks/{title}" for title in titled(page)}


def prose(page: pathlib.Path) -> str:
    """A page without its code blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: pathlib.Path) -> set[str]:
    """Relative links and pictures of a page."""
    return set(_LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))))


_NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?!\w)")
#: Numbers that are those of a machine: its speed, its devices, and the time that is left.
_OF_MACHINE = re.compile(r"[\d,]+ examples/s|ETA [\dhms]+|CPU, \d+ cores?")
_SHAPE = re.compile(r"(?:([\w.]+) is )?((?:int|float|uint|bool)\d*)?\[(\d+(?:, \d+)*)\]")
#: Part of a decimal number by which another machine may print another one, beside the last digit.
_TOLERANCE = 0.02


def check_printed(shown: str, printed: str) -> None:
    """Compares a text in a page with the one that a command prints: the words and the whole numbers are the same, and
    decimal numbers nearly. `...` in the page stands for anything; what a machine is like does not count.
    """
    pattern, numbers = [], []
    for part in re.split(r"(\.\.\.)", _OF_MACHINE.sub("...", shown)):
        if part == "...":
            pattern.append(".*?")
            continue
        last = 0
        for match in _NUMBER.finditer(part):
            pattern += [re.escape(part[last : match.start()]), f"({_NUMBER.pattern})"]
            numbers.append(match[0])
            last = match.end()
        pattern.append(re.escape(part[last:]))
    found = re.search("".join(pattern), printed)
    assert found, f"the page shows {shown!r}, and it prints {printed!r}"
    for number, other in zip(numbers, found.groups(), strict=True):
        value, actual = (float(text.replace(",", "")) for text in (number, other))
        digits = len(number.partition(".")[2])
        allowed = _TOLERANCE * abs(value) + 10.0**-digits if digits else 0
        assert abs(value - actual) <= allowed, f"the page shows {number} in {shown!r}, and it prints {other}"


def run(block: Block, page: str, names: dict[str, Any]) -> dict[str, Any]:
    """Runs a block of Python, statement by statement, and checks the comments that say what comes out:

        print(fitted)  # Fitted(...; 734 parameters; ...)
        x = model.sample(params, key, 8)  # int32[8, 4, 4], all of class 2
        batch = source.__getitems__([0])  # batch.x is int32[1, 6]

    Returns the names that it defines, and as `_printed` the lines that it printed.
    """
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(block.text).readline)
        if token.type == tokenize.COMMENT and not token.line.lstrip().startswith("#")
    }
    for statement in ast.parse(block.text).body:
        out = io.StringIO()
        program = compile(ast.Module([statement], []), page, "exec", dont_inherit=True)
        with contextlib.redirect_stdout(out):
            exec(program, names)
        names["_printed"] = names.get("_printed", []) + out.getvalue().splitlines()
        of_lines = {
            line: comments[line] for line in range(statement.lineno, statement.end_lineno + 1) if line in comments
        }
        printing = [
            of_lines[node.end_lineno]
            for node in ast.walk(statement)
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print" and node.end_lineno in of_lines
        ]
        for shown in filter(_NUMBER.search, printing):
            check_printed(shown.partition(", as ")[0], out.getvalue().splitlines()[0])
        if not printing:
            for comment in of_lines.values():
                _check_shapes(statement, comment, names)
    return names


def _check_shapes(statement: ast.stmt, comment: str, names: dict[str, Any]) -> None:
    """Compares the shapes and types in a comment with those of the values that the statement gives names to."""
    targets = [ast.unparse(target) for target in getattr(statement, "targets", [])]
    targets = [name.strip() for name in itertools.chain(*(target.strip("()").split(",") for target in targets))]
    for expression, dtype, shape in _SHAPE.findall(comment):
        for target in [expression] if expression else targets if "each" in comment else targets[:1]:
            value = eval(target, names)
            where = f"{target}: the page says {comment!r}"
            assert np.shape(value) == tuple(map(int, shape.split(", "))), f"{where}, and it is {np.shape(value)}"
            if dtype:
                assert str(np.asarray(value).dtype).startswith(dtype), f"{where}, and it is {np.asarray(value).dtype}"


def outputs(page: pathlib.Path) -> list[tuple[str, list[str]]]:
    """Commands with the first lines that a page shows of their output: blocks with `output="..."` behind the fence."""
    found = []
    for block in blocks(page):
        command = re.search(r'output="([^"]+)"', block.info)
        if command:
            found.append((command[1], block.text.splitlines()))
    return found
