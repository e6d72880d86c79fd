"""The progress of a run: one updating line on a terminal, one line per log interval elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO


class Progress:
    """Says where a run stands: step, loss, speed and the time that is left.

    On a terminal one line is rewritten in place; anywhere else (log files, pipes) each update is a line of its own.
    """

    def __init__(
        self,
        total_steps: int,
        start_step: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Starts the clock.

        Args:
          total_steps: step at which the run ends.
          start_step: step from which a resumed run goes on.
          stream: where to write, stdout by default.
          clock: seconds; a parameter so that tests can turn it.
        """
        self._total = total_steps
        self._stream = sys.stdout if stream is None else stream
        self._clock = clock
        self._in_place = self._stream.isatty()
        self._width = 0
        self._marks = [(start_step, clock())]

    def update(self, step: int, bits_per_dim: float, examples_per_second: float) -> None:
        """Shows the state after `step` steps."""
        # Start, first update and latest update are all that the ETA needs.
        self._marks = [*self._marks[:2], (step, self._clock())]
        parts = [
            self._position(step),
            f"loss {bits_per_dim:.4f} bits/dim",
            f"{examples_per_second:,.0f} examples/s",
            f"ETA {format_duration(self.seconds_left())}",
        ]
        self._show("  ".join(parts))

    def validation(self, step: int, bits_per_dim: float) -> None:
        """Prints the score of the parameters of `step` on the validation split, a line that stays."""
        self.message(f"{self._position(step)}  validation {bits_per_dim:.4f} bits/dim")

    def message(self, text: str) -> None:
        """Prints a line that stays, above the progress line."""
        if self._in_place and self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._width = 0
        self._stream.write(text + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Ends the updating line; call it when the run ends."""
        if self._in_place and self._width:
            self._stream.write("\n")
            self._stream.flush()
            self._width = 0

    def seconds_left(self) -> float:
        """Expected seconds until the last step, at the rate so far; infinite before the first update."""
        # The first interval holds the compilation; it is left out as soon as there is a second one.
        (step_0, time_0), (step_1, time_1) = self._marks[1 if len(self._marks) > 2 else 0], self._marks[-1]
        if step_1 <= step_0:
            return 0.0 if step_1 >= self._total else float("inf")
        return (self._total - step_1) * (time_1 - time_0) / (step_1 - step_0)

    def _position(self, step: int) -> str:
        return f"step {step:,}/{self._total:,} ({step / max(self._total, 1):.0%})"

    def _show(self, line: str) -> None:
        if self._in_place:
            # A line longer than the terminal would wrap, and then no longer be rewritten in place.
            line = line[: shutil.get_terminal_size().columns - 1]
            self._stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()


def format_duration(seconds: float) -> str:
    """`42s`, `3m05s`, `2h07m`, `3d04h`; `?` when it is not known."""
    if seconds == float("inf"):
        return "?"
    whole = round(seconds)
    days, hours, minutes = whole // 86400, whole // 3600, whole // 60
    if days:
        return f"{days}d{hours % 24:02d}h"
    if hours:
        return f"{hours}h{minutes % 60:02d}m"
    return f"{minutes}m{whole % 60:02d}s" if minutes else f"{whole}s"
