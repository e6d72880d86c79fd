"""Metrics of a run on disk: `metrics.jsonl` always, and the further writers in `config.train.writers`."""

from __future__ import annotations

import ast
import contextlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arjax.core.files import reading, write_text, writing
from arjax.core.output import say_once
from arjax.core.registry import Component
from arjax.core.values import parse_expression, parse_json
from arjax.reporting.tensorboard import TensorBoard
from arjax.reporting.weights_and_biases import WeightsAndBiases
from arjax.reporting.writer import WRITERS, Writer

__all__ = ["WRITERS", "MetricWriter", "TensorBoard", "WeightsAndBiases", "Writer", "make_writers", "read_metrics"]

FILE_NAME = "metrics.jsonl"


class MetricWriter(contextlib.AbstractContextManager):
    """Appends named numbers to `workdir/metrics.jsonl`, one JSON object per line, and hands them to other writers.

    A line reads `{"step": 100, "train/bits_per_dim": 2.1}`; a number that is not finite is written as `null`, as JSON
    has no word for it. Lines reach the disk at once, so that a killed run loses none.

    Use as a context manager or call `close`.
    """

    def __init__(self, workdir: str | os.PathLike, resume_step: int | None = None, others: Sequence[Writer] = ()):
        """Opens the file for appending.

        Args:
          workdir: folder of the run; created when missing.
          resume_step: the step the run goes on from. Lines of later steps are removed, as the run will write them
            again; 0 starts a fresh file. None keeps every whole line.
          others: writers that get the same numbers, opened here.
        """
        self._path, self._others = Path(workdir) / FILE_NAME, []
        with writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists():
                _trim(self._path, resume_step)
            self._path.open("a").close()  # raises a mistake before anything is computed
        for writer in others:
            writer.open(self._path.parent, resume_step, read_metrics(workdir))
            self._others.append(writer)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one line; `values` are scalars (Python, numpy or jax). Raises `UserError` where the disk refuses."""
        scalars = {name: float(value) for name, value in values.items()}
        line = {"step": int(step)} | {k: v if math.isfinite(v) else None for k, v in scalars.items()}
        with writing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
        for writer in self._others:
            writer.write(int(step), scalars)

    def result(self, step: int, values: Mapping[str, float]) -> None:
        """Hands the scores of the finished run, those of `results.json`, to the other writers."""
        for writer in self._others:
            writer.result(int(step), values)

    def close(self) -> None:
        """Flushes and closes all files."""
        while self._others:
            self._others.pop().close()

    def __exit__(self, *exception: object) -> None:
        self.close()


def make_writers(writers: str | Sequence[Component]) -> list[Writer]:
    """Builds the writers that a text calls, see `read_writers`, or those that were read from it."""
    return [writer.build() for writer in (read_writers(writers) if isinstance(writers, str) else writers)]


def read_writers(text: str) -> tuple[Component, ...]:
    """The writers that a text calls, such as `tensorboard,wandb(project='digits')`; none for "". Raises `UserError`: an
    unknown writer or option. `Writer.check` tells whether their packages are there.
    """
    return tuple(WRITERS.read(call) for call in _calls(text))


def _calls(text: str) -> list[str]:
    """The calls between the commas."""
    if not text.strip():
        return []
    try:
        found = parse_expression(text)
    except ValueError:
        return [text]  # no readable call: the registry raises an error about it
    return [ast.unparse(call) for call in found.elts] if isinstance(found, ast.Tuple) else [text]


def read_metrics(workdir: str | os.PathLike) -> list[dict[str, Any]]:
    """The lines of `workdir/metrics.jsonl` in the order written; empty when there is no file.

    Damaged lines are left out, with a warning that names them.
    """
    path = Path(workdir) / FILE_NAME
    return _whole_lines(path) if path.exists() else []


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The metrics in a file, without broken lines; a warning about these.

    A kill in mid-write leaves half of the last line, which a run that goes on writes again: that is no damage.
    """
    with reading(path):
        text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.split("\n")
    parsed = [_metrics(line) for line in lines[:-1]]
    found = [values for values in parsed if values is not None]
    damaged = [number for number, values in enumerate(parsed, start=1) if values is None]
    if (values := _metrics(lines[-1])) is not None:  # whole, but for its end
        found.append(values)
    if damaged:
        numbers = ", ".join(map(str, damaged[:3])) + (", ..." if len(damaged) > 3 else "")
        say_once(f"{path} is damaged: {len(damaged)} of its {len(lines) - 1} lines are left out (line {numbers})")
    return found


def _metrics(line: str) -> dict[str, Any] | None:
    """The metrics in a line; None where it is broken."""
    try:
        values = parse_json(line)
    except ValueError:
        return None
    if not isinstance(values, dict) or not isinstance(values.get("step"), int):
        return None
    return values if all(value is None or isinstance(value, int | float) for value in values.values()) else None


def _trim(path: Path, resume_step: int | None) -> None:
    """Rewrites the file without broken lines and without lines after `resume_step`."""
    limit = math.inf if resume_step is None else resume_step
    # At step 0 nothing has been trained: the lines of an earlier attempt about it are written again as well.
    kept = [line for line in _whole_lines(path) if line["step"] <= limit and resume_step != 0]
    write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
