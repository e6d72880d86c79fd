"""The progress of a run: a bar on a terminal, elsewhere one line per log interval."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO


class Progress:
    """Shows the progress of a run: step, loss, speed and the time that is left. On a terminal a bar moves below the
    printed lines; anywhere else (notebooks, log files, pipes) each update is a line.
    """

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
        # A dumb terminal (an editor's shell, some CI logs) cannot draw a line anew.
        self._has_bar = self._stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
        self._bar: _Bar | None = None
        self._about = ""
        self._marks = [(start_step, clock())]

    def at(self, step: int) -> None:
        """Moves the bar to a step, between two updates; elsewhere nothing is shown."""
        self._mark(step)
        if self._has_bar:
            self._show_bar(step)

    def update(self, step: int, score: str, examples_per_second: float) -> None:
        """Shows the state after `step` steps; `score` is the training loss in words."""
        self._mark(step)
        self._about = f"loss {score}  {examples_per_second:,.{0 if examples_per_second >= 10 else 1}f} examples/s"
        if self._has_bar:
            self._show_bar(step, now=True)
        else:
            self._write(f"{self._position(step)}  {self._about}  ETA {format_duration(self.seconds_left())}")

    def validation(self, step: int, scores: str) -> None:
        """Prints the scores of the parameters of `step` on the validation split, above the bar."""
        self.message(f"{self._position(step)}  validation {scores}")

    def message(self, text: str) -> None:
        if self._bar is None:
            self._write(text)
        else:
            self._bar.message(self._indent + text)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def seconds_left(self) -> float:
        """Expected seconds until the last step, at the rate so far; infinite before the first update."""
        # The first interval holds the compilation; it is left out as soon as there is a second one.
        (step_0, time_0), (step_1, time_1) = self._marks[1 if len(self._marks) > 2 else 0], self._marks[-1]
        if step_1 <= step_0:
            return 0.0 if step_1 >= self._total else float("inf")
        return (self._total - step_1) * (time_1 - time_0) / (step_1 - step_0)

    def _mark(self, step: int) -> None:
        """Records the start, the first step and the latest step, from which the time left follows."""
        if step > self._marks[-1][0]:
            self._marks = [*self._marks[:2], (step, self._clock())]

    def _position(self, step: int) -> str:
        return f"step {step:,}/{self._total:,} ({step / max(self._total, 1):.0%})"

    def _show_bar(self, step: int, now: bool = False) -> None:
        if self._bar is None:
            self._bar, self._drawn = _Bar(self._stream, self._total), float("-inf")
        now = now or self._clock() - self._drawn >= self._bar.REFRESH  # not if that was done a moment ago
        self._bar.show(step, self._about, f"ETA {format_duration(self.seconds_left())}", now)
        if now:
            self._drawn = self._clock()

    def _write(self, line: str) -> None:
        self._stream.write(f"{self._indent}{line}\n")
        self._stream.flush()


class _Bar:
    """A bar of rich, drawn on request: there is no thread that could write in between."""

    #: Seconds between two drawings.
    REFRESH = 0.1

    def __init__(self, stream: TextIO, total: int):
        from rich import progress
        from rich.console import Console
        from rich.table import Column

        self._console: Any = Console(file=stream, force_terminal=True, highlight=False, markup=False, emoji=False)
        text = functools.partial(progress.TextColumn, markup=False, style="default")
        self._progress = progress.Progress(
            text("{task.completed:,.0f}/{task.total:,.0f}", table_column=Column(no_wrap=True)),
            progress.BarColumn(bar_width=20),
            text("{task.description}", table_column=Column(no_wrap=True, ratio=1)),
            text("{task.fields[left]}", table_column=Column(no_wrap=True)),
            console=self._console,
            auto_refresh=False,
            expand=True,
            redirect_stdout=False,  # the stream is guarded already
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("", total=total, left="")
        self._progress.start()

    def show(self, step: int, about: str, left: str, now: bool) -> None:
        self._progress.update(self._task, completed=step, description=about, left=left, refresh=now)

    def message(self, text: str) -> None:
        """A line above the bar; a long one goes on in the next line, as everywhere on a terminal."""
        self._console.print(text, soft_wrap=True)

    def stop(self) -> None:
        self._progress.stop()


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
