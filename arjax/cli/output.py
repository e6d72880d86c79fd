"""Standard output and standard error of the commands: a failed write ends no work and is reported once."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

#: Replacements of characters beyond ASCII where the encoding of the output lacks them.
_PLAIN = str.maketrans({"±": "+-", "×": "x", "–": "-", "…": "...", "→": "->"})


class Output:
    """A text stream that stores the failure of a write instead of raising it; further text is dropped. A closed pipe is
    a request to stop, as in `arjax --mode=list | head`: `BrokenPipeError` is raised. `stream` is None if the descriptor
    is closed; `on_failure` is called once, with the reason.
    """

    def __init__(self, stream: TextIO | None, on_failure: Callable[[str], None] = lambda reason: None):
        self._stream, self._on_failure = stream, on_failure
        self.failure = ""  # why a write failed

    def write(self, text: str) -> int:
        """Writes text in characters that the encoding has; returns the number of characters taken."""
        if self._stream is None:
            self._fail("it is closed")
        elif not self.failure:
            self._call(self._stream.write, _encodable(text, getattr(self._stream, "encoding", None) or "utf-8"))
        return len(text)

    def flush(self) -> None:
        if self._stream is not None and not self.failure:
            self._call(self._stream.flush)

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def discard(self) -> None:
        """Discards the stream's buffer, or the interpreter would fail to flush it at its end."""
        if self._stream is None:
            return
        with contextlib.suppress(OSError, ValueError):  # streams of tests have no descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _call(self, function: Callable, *arguments: Any) -> None:
        try:
            function(*arguments)
        except BrokenPipeError:
            raise
        except OSError as error:
            self.discard()
            self._fail(error.strerror or str(error))

    def _fail(self, reason: str) -> None:
        if not self.failure:
            self.failure = reason
            self._on_failure(reason)


@contextlib.contextmanager
def guarded_output(program: str) -> Iterator[Output]:
    """Replaces `sys.stdout` and `sys.stderr` by an `Output` each; yields that of stdout. A failure of stdout is
    reported on stderr at once, as the work may go on for days.
    """
    before = sys.stdout, sys.stderr
    error = Output(sys.stderr)

    def report(reason: str) -> None:
        error.write(f"{program}: cannot write to the standard output, further output is not shown: {reason}\n")

    sys.stdout, sys.stderr = output, _ = Output(sys.stdout, report), error
    try:
        yield output
        output.flush()
    except BrokenPipeError:
        output.discard()
        raise
    finally:
        error.flush()
        sys.stdout, sys.stderr = before


def _encodable(text: str, encoding: str) -> str:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text
