"""Metrics of a run on disk: `metrics.jsonl` always, TensorBoard events when tensorboardX is installed."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from arjax.core.files import reading, write_text, writing
from arjax.core.values import parse_json

FILE_NAME = "metrics.jsonl"


class MetricWriter:
    """Appends named numbers to `workdir/metrics.jsonl`, one JSON object per line, and to TensorBoard when installed.

    A line reads `{"step": 100, "train/bits_per_dim": 2.1}`; a number that is not finite is written as `null`, as JSON
    has no word for it. Lines reach the disk at once, so that a killed run loses none.

    Use as a context manager or call `close`.
    """

    def __init__(self, workdir: str | os.PathLike, resume_step: int | None = None):
        """Opens the file for appending.

        Args:
          workdir: folder of the run; created when missing.
          resume_step: the step the run goes on from. Lines of later steps are removed, as the run will write them
            again; 0 starts a fresh file. None keeps every whole line.
        """
        self._path, self._events = Path(workdir) / FILE_NAME, f"the TensorBoard events in {workdir}"
        with writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists():
                _trim(self._path, resume_step)
            self._path.open("a").close()  # a mistake ends here, before anything is computed
            installed = importlib.util.find_spec("tensorboardX") is not None
            self._tensorboard = _TensorBoardWriter(workdir, resume_step) if installed else None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one line; `values` are scalars (Python, numpy or jax). Raises `UserError` where the disk refuses."""
        scalars = {name: float(value) for name, value in values.items()}
        line = {"step": int(step)} | {k: v if math.isfinite(v) else None for k, v in scalars.items()}
        with writing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
        if self._tensorboard is not None:
            with writing(self._events):
                self._tensorboard.write(int(step), scalars)

    def close(self) -> None:
        """Flushes and closes all files."""
        if self._tensorboard is not None:
            with writing(self._events):
                self._tensorboard.close()

    def __enter__(self) -> MetricWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_metrics(workdir: str | os.PathLike) -> list[dict[str, Any]]:
    """The lines of `workdir/metrics.jsonl` in the order written; empty when there is no file."""
    path = Path(workdir) / FILE_NAME
    return list(_whole_lines(path)) if path.exists() else []


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The metrics in a file, without broken lines: a kill in mid-write leaves half of one, a power cut garbage."""
    with reading(path):
        text = path.read_text(encoding="utf-8", errors="replace")
    for line in text.splitlines():
        try:
            values = parse_json(line)
        except ValueError:
            continue
        if isinstance(values, dict) and isinstance(values.get("step"), int) and all(map(_is_metric, values.values())):
            yield values


def _is_metric(value: Any) -> bool:
    return value is None or isinstance(value, int | float)


def _trim(path: Path, resume_step: int | None) -> None:
    """Rewrites the file without broken lines and without lines after `resume_step`."""
    limit = math.inf if resume_step is None else resume_step
    # At step 0 nothing has been trained: what a dead earlier attempt wrote there is written again as well.
    kept = [line for line in _whole_lines(path) if line["step"] <= limit and resume_step != 0]
    write_text(path, "".join(json.dumps(line) + "\n" for line in kept))


class _TensorBoardWriter:
    """TensorBoard events. They are written at once: in tensorboardX's own writer a thread does it, and cannot report
    that the disk is full.
    """

    def __init__(self, workdir: str | os.PathLike, resume_step: int | None):
        """Opens a new file of events; TensorBoard hides older events of the steps after `resume_step`."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.summary import scalar

        self._event, self._scalar = Event, scalar
        self._file = EventsWriter(os.path.join(workdir, "events"))
        if resume_step is not None:
            self._file.write_event(Event(step=resume_step + 1, session_log=SessionLog(status=SessionLog.START)))
        self._file.flush()

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            self._file.write_event(self._event(step=step, wall_time=time.time(), summary=self._scalar(name, value)))
        self._file.flush()

    def close(self) -> None:
        self._file.close()
