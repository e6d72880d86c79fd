"""What stands in a page: its code blocks, the commands in them, and the files it names."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shlex

_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
_TITLE = re.compile(r'title="([^"]+)"')
_LINK = re.compile(r"\]\(([^)#:]+)\)")
_NAMED_FILE = re.compile(r"(?<![\w/.])(?:arjax|configs|docs|experiments|scripts|tests)/[\w./*-]*[\w*/]")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced code block.

    Attributes:
      language: the first word behind the fence.
      title: the file that the block is, from `title="..."`; "" for none.
      info: everything behind the fence.
      text: the code.
    """

    language: str
    title: str
    info: str
    text: str


def blocks(page: pathlib.Path) -> list[Block]:
    """All code blocks of a page."""
    found = []
    for info, text in _FENCE.findall(page.read_text(encoding="utf-8")):
        title = _TITLE.search(info)
        found.append(Block(info.partition(" ")[0], title[1] if title else "", info, text))
    return found


def titled(page: pathlib.Path) -> dict[str, str]:
    """The files that a page shows in full, by name."""
    return {block.title: block.text for block in blocks(page) if block.title}


def commands(page: pathlib.Path, program: str) -> list[list[str]]:
    """The arguments of every command that begins with `program` in shell blocks and in code between backticks."""
    text = page.read_text(encoding="utf-8")
    lines = [line for block in blocks(page) if block.language == "bash" for line in block.text.splitlines()]
    lines += re.findall(r"`([^`\n]+ --[^`\n]+)`", _FENCE.sub("", text))
    found = []
    for words in (shlex.split(line, comments=True) for line in lines):
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):  # variables set for the command
            words = words[1:]
        if " ".join(words).startswith(program + " "):
            found.append([word for word in words[len(program.split()) :] if word != "&"])
    return found


def named_files(page: pathlib.Path) -> set[str]:
    """The files of the repository that a page names, from the root; those that it shows in full are left out."""
    text = page.read_text(encoding="utf-8")
    text = _FENCE.sub(lambda fence: "" if "title=" in fence[1] else fence[0], text)
    return set(_NAMED_FILE.findall(text)) - {f"arjax/networks/{title}" for title in titled(page)}


def links(page: pathlib.Path) -> set[str]:
    """Relative links and pictures of a page."""
    return set(_LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))))
