"""Standard output and standard error of the commands: text that cannot be written ends no work and is told once."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

#: How characters beyond ASCII are written where the encoding of the output has none of them.
_PLAIN = str.maketrans({"±": "+-", "×": "x", "–": "-", "…": "...", "→": "->"})


class Output:
    """A text stream that remembers the failure of a write instead of raising it; what follows is dropped.

    A closed pipe is no failure but a wish to stop, as in `arjax --mode=list | head`: `BrokenPipeError` is raised.

    Attributes:
      failure: why a write failed, "" while none has.
    """

    def __init__(self, stream: TextIO | None, on_failure: Callable[[str], None] = lambda reason: None):
        """`stream`: None when the descriptor is closed. `on_failure` is called once, with the reason."""
        self._stream = stream
        self._on_failure = on_failure
        self.failure = ""

    def write(self, text: str) -> int:
        """Writes text in characters that the encoding has; returns the number of characters taken."""
        if self._stream is None:
            self._fail("it is closed")
        elif not self.failure:
            self._call(self._stream.write, _encodable(text, getattr(self._stream, "encoding", None) or "utf-8"))
        return len(text)

    def flush(self) -> None:
        """Hands over what was written so far."""
        if self._stream is not None and not self.failure:
            self._call(self._stream.flush)

    def isatty(self) -> bool:
        """Whether this is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def discard(self) -> None:
        """Sends what waits in the stream's buffer nowhere, or the interpreter would fail on it when it ends."""
        with contextlib.suppress(OSError, ValueError):  # streams that tests put here have no descriptor
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
    """Puts an `Output` in the place of `sys.stdout` and `sys.stderr`; yields that of stdout.

    When stdout fails, stderr tells so at that moment: the work may go on for days.
    """
    before = sys.stdout, sys.stderr
    error = Output(sys.stderr)

    def tell(reason: str) -> None:
        error.write(f"{program}: cannot write to the standard output, what follows is not shown: {reason}\n")

    sys.stdout, sys.stderr = output, _ = Output(sys.stdout, tell), error
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
