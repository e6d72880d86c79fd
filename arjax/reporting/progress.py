"""The progress of a run: one line per log interval."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO


class Progress:
    """Prints the progress of a run: step, loss, speed and the time that is left."""

    def __init__(
        self,
        total_steps: int,
        start_step: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        indent: str = "",
    ):
        self._total = total_steps
        self._stream = sys.stdout if stream is None else stream
        self._clock, self._indent = clock, indent
        # The start, the first step and the latest step, from which the time left follows.
        self._marks = [(start_step, clock())]

    def update(self, step: int, score: str, examples_per_second: float) -> None:
        """Shows the state after `step` steps; `score` is the training loss in words."""
        if step > self._marks[-1][0]:
            self._marks = [*self._marks[:2], (step, self._clock())]
        speed = f"{examples_per_second:,.{0 if examples_per_second >= 10 else 1}f} examples/s"
        left = format_duration(self.seconds_left())
        self.message(f"{self._position(step)}  loss {score}  {speed}  ETA {left}")

    def validation(self, step: int, scores: str) -> None:
        """Shows the scores of the parameters of `step` on the validation split."""
        self.message(f"{self._position(step)}  validation {scores}")

    def message(self, text: str) -> None:
        self._stream.write(f"{self._indent}{text}\n")
        self._stream.flush()

    def seconds_left(self) -> float:
        """Expected seconds until the last step, at the rate so far; infinite before the first update."""
        # The first interval holds the compilation; it is left out as soon as there is a second one.
        (step_0, time_0), (step_1, time_1) = self._marks[1 if len(self._marks) > 2 else 0], self._marks[-1]
        if step_1 <= step_0:
            return 0.0 if step_1 >= self._total else float("inf")
        return (self._total - step_1) * (time_1 - time_0) / (step_1 - step_0)

    def _position(self, step: int) -> str:
        return f"step {step:,}/{self._total:,} ({step / max(self._total, 1):.0%})"


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
