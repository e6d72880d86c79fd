"""Messages to users: mistakes, each in one sentence with the nearest right name, and remarks."""

from __future__ import annotations

import difflib
import functools
import sys
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake of the user in one clear sentence, which the command line prints before it exits with code 2."""


def refuse(*rules: tuple[object, str]) -> None:
    """Raises `UserError` with the sentence of the first rule whose condition is true."""
    for is_wrong, sentence in rules:
        if is_wrong:
            raise UserError(sentence)


def describe(error: BaseException) -> str:
    """Returns `ValueError: the first line of its message`."""
    lines = str(error).strip().splitlines()
    return type(error).__name__ + (f": {lines[0]}" if lines else "")


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns the known name most like `name`, or abbreviated by it (`lr` for `learning_rate`); "" without one."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    initials = {"".join(word[:1] for word in full.split("_")): full for full in reversed(known) if "_" in full}
    return near[0] if near else initials.get(str(name).lower(), "")


def did_you_mean(name: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """Returns `, did you mean 'x'?`; without a near name `otherwise`, by default the list of known names."""
    known = list(known)
    if near := nearest(name, known):
        return f", did you mean {near!r}?"
    return otherwise if otherwise is not None else f" (there are: {', '.join(known)})" if known else ""


@functools.cache
def say_once(sentence: str) -> None:
    """Prints a remark about something unexpected to stderr, once in a process."""
    print(f"arjax: {sentence}", file=sys.stderr, flush=True)
