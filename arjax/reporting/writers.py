"""Metrics of a run on disk: `metrics.jsonl` always, and the further writers in `config.train.writers`."""

from __future__ import annotations

import abc
import ast
import contextlib
import dataclasses
import importlib.util
import json
import math
import os
import secrets
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from arjax.core.errors import UserError, say_once
from arjax.core.files import check_regular, read_json_object, reading, write_text, writing
from arjax.core.registry import Component, Registry
from arjax.core.values import parse_expression, parse_json
from arjax.reporting.reports import is_as_written

WRITERS = Registry("writer")
FILE_NAME = "metrics.jsonl"
#: The folder of Weights & Biases in a workdir, and its file with the name of the run on the server.
_WANDB_FOLDER, _WANDB_ID = "wandb", "arjax-run-id"


class Writer(abc.ABC):
    """A destination of the metrics of a run. Subclasses are dataclasses; their fields are the options of a call string.
    The first process of a run opens its writers, writes and closes. A run that goes on opens them again: they must then
    show every number once, as `metrics.jsonl` does.
    """

    #: The package that it needs, and the extra of arjax that installs it.
    PACKAGE: ClassVar[str] = ""
    EXTRA: ClassVar[str] = ""

    def check(self) -> None:
        if self.PACKAGE and importlib.util.find_spec(self.PACKAGE) is None:
            hint = f" (pip install 'arjax[{self.EXTRA}]')" if self.EXTRA else ""
            name = WRITERS.name_of(type(self)) or type(self).__name__
            raise UserError(f"the writer {name!r} needs the package {self.PACKAGE}, which is not installed{hint}")

    @abc.abstractmethod
    def open(self, workdir: Path, resume_step: int | None, lines: Sequence[Mapping[str, Any]]) -> None:
        """Begins to write in the folder of a run, from `resume_step`: earlier lines about later steps are void. 0: a
        fresh run, None: append.
        """

    @abc.abstractmethod
    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Numbers after a step, by names such as `train/loss`; a step may come several times, with other names."""

    def result(self, step: int, scalars: Mapping[str, float]) -> None:
        """The scores of the finished run, by names such as `test/nll_nats`."""
        self.write(step, scalars)

    def picture(self, step: int, name: str, path: Path) -> None:  # noqa: B027  not every writer takes plots
        """A plot of the run, a png file."""

    @abc.abstractmethod
    def close(self) -> None:
        """Ends; everything is kept."""


class MetricWriter(contextlib.AbstractContextManager):
    """Appends named numbers to `workdir/metrics.jsonl`, one JSON object per line, and hands them to other writers. A
    line reads `{"step": 100, "train/bits_per_dim": 2.1}`, with `null` for a number that is not finite. Lines reach the
    disk at once, so that a killed run loses none. Lines behind `resume_step` are removed, as the run will write them
    again; 0 starts a fresh file, None keeps every whole line.
    """

    def __init__(self, workdir: str | os.PathLike, resume_step: int | None = None, others: Sequence[Writer] = ()):
        self._path, self._others = Path(workdir) / FILE_NAME, []
        with writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists():
                limit = math.inf if resume_step is None else resume_step
                # At step 0 nothing has been trained: lines of an earlier attempt about it are written again as well.
                kept = [line for line in _whole_lines(self._path) if line["step"] <= limit and resume_step != 0]
                write_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))
            self._path.open("a").close()  # raises a mistake before anything is computed
        for writer in others:
            writer.open(self._path.parent, resume_step, read_metrics(workdir))
            self._others.append(writer)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        scalars = {name: float(value) for name, value in values.items()}
        line = {"step": int(step)} | {k: v if math.isfinite(v) else None for k, v in scalars.items()}
        with writing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
        for writer in self._others:
            writer.write(int(step), scalars)

    def result(self, step: int, values: Mapping[str, float]) -> None:
        for writer in self._others:
            writer.result(int(step), values)

    def close(self) -> None:
        while self._others:
            self._others.pop().close()

    def __exit__(self, *exception: object) -> None:
        self.close()


def make_writers(writers: str | Sequence[Component]) -> list[Writer]:
    """Builds the writers that a text calls, see `read_writers`, or those that were read from it."""
    return [writer.build() for writer in (read_writers(writers) if isinstance(writers, str) else writers)]


def read_writers(text: str) -> tuple[Component, ...]:
    """Returns the writers that a text calls, such as `tensorboard,wandb(project='digits')`; packages may be missing."""
    return tuple(WRITERS.read(call) for call in _calls(text))


def _calls(text: str) -> list[str]:
    if not text.strip():
        return []
    try:
        expression = parse_expression(text)
    except ValueError:
        return [text]  # no readable call: the registry raises an error about it
    return [ast.unparse(call) for call in expression.elts] if isinstance(expression, ast.Tuple) else [text]


def read_metrics(workdir: str | os.PathLike) -> list[dict[str, Any]]:
    """Returns the lines of `workdir/metrics.jsonl`, none when there is no file; a warning tells what is damaged."""
    path = Path(workdir) / FILE_NAME
    lines = _whole_lines(path) if path.exists() else []
    if lines and not is_as_written(workdir, FILE_NAME, lines):
        say_once(f"{path} is not as the run has written it: lines are missing, or have changed")
    return lines


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The metrics in a file, without broken lines; half of the last one, which a kill leaves, is no damage."""
    check_regular(path)
    with reading(path):
        text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.split("\n")
    parsed = [_metrics(line) for line in lines[:-1]]
    whole = [values for values in parsed if values is not None]
    damaged = [number for number, values in enumerate(parsed, start=1) if values is None]
    if (values := _metrics(lines[-1])) is not None:  # whole, but for its end
        whole.append(values)
    if damaged:
        numbers = ", ".join(map(str, damaged[:3])) + (", ..." if len(damaged) > 3 else "")
        say_once(f"{path} is damaged: {len(damaged)} of its {len(lines) - 1} lines are left out (line {numbers})")
    return whole


def _metrics(line: str) -> dict[str, Any] | None:
    try:
        values = parse_json(line)
    except ValueError:
        return None
    if not isinstance(values, dict) or not isinstance(values.get("step"), int):
        return None
    return values if all(value is None or isinstance(value, int | float) for value in values.values()) else None


@WRITERS.register("tensorboard")
@dataclasses.dataclass
class TensorBoard(Writer):
    """TensorBoard events: scalars, the config as text, and the plots of the run. They are written at once: the thread
    of tensorboardX's own writer cannot report that the disk is full.
    """

    PACKAGE, EXTRA = "tensorboardX", "tensorboard"

    def open(self, workdir: Path, resume_step: int | None, lines: Sequence[Mapping[str, Any]]) -> None:
        """Opens a new file of events; TensorBoard hides older events of the steps after `resume_step`."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.summary import text

        self._event, self._place = Event, f"the TensorBoard events in {workdir}"
        with writing(self._place):
            # The package names files by the second, and a second file of one second would replace the first.
            self._file = EventsWriter(os.path.join(workdir, "events"), filename_suffix=f".{time.time_ns()}")
            if resume_step is not None:
                self._file.write_event(Event(step=resume_step + 1, session_log=SessionLog(status=SessionLog.START)))
            self._file.flush()
        if resume_step == 0:
            fields = json.dumps(_config_of(workdir), indent=2, sort_keys=True)
            # As a block of code: TensorBoard reads texts as Markdown.
            self._add(0, [text("config", "\n".join(f"    {line}" for line in fields.splitlines()))])

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        from tensorboardX.summary import scalar

        self._add(step, [scalar(name, value) for name, value in scalars.items()])

    def picture(self, step: int, name: str, path: Path) -> None:
        from tensorboardX.proto.summary_pb2 import Summary

        with reading(path):
            data = path.read_bytes()
        width, height = struct.unpack(">II", data[16:24])  # behind the signature, length and name of the first chunk
        image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=data)
        self._add(step, [Summary(value=[Summary.Value(tag=name, image=image)])])

    def close(self) -> None:
        with writing(self._place):
            self._file.close()

    def _add(self, step: int, summaries: list[Any]) -> None:
        with writing(self._place):
            for summary in summaries:
                self._file.write_event(self._event(step=step, wall_time=time.time(), summary=summary))
            self._file.flush()


@WRITERS.register("wandb")
@dataclasses.dataclass
class WeightsAndBiases(Writer):
    """A run of Weights & Biases: scalars by step, the config, and test scores in its summary.

    A run that goes on is one run there. Its server takes no rows before its last step, and an offline run begins with
    none: the lines of `metrics.jsonl` that it lacks are sent again, so no number is lost or doubled. Of several offline
    folders of a workdir, `wandb sync` the newest one, which holds everything. `project`, `entity` and `group` are the
    place of the run on the server, "" for the package's default; the `name` "" is that of the workdir.
    """

    project: str = "arjax"
    entity: str = ""
    group: str = ""
    name: str = ""

    PACKAGE, EXTRA = "wandb", "wandb"

    def open(self, workdir: Path, resume_step: int | None, lines: Sequence[Mapping[str, Any]]) -> None:
        """Begins the run, or goes on with it, and sends the lines that its server lacks."""
        import wandb

        folder = workdir / _WANDB_FOLDER
        with writing(folder):
            folder.mkdir(exist_ok=True)
        try:
            self._run = wandb.init(
                project=self.project,
                entity=self.entity or None,
                group=self.group or None,
                name=self.name or workdir.absolute().name,
                dir=str(workdir),
                id=_run_id(folder / _WANDB_ID),
                resume="allow" if resume_step != 0 else None,  # None: a run of this name is replaced
                config=_config_of(workdir),
                settings=wandb.Settings(console="off"),  # it would replace the standard output
            )
        except wandb.Error as error:
            reason = " ".join(str(error).split())
            raise UserError(f"wandb begins no run: {reason}; WANDB_MODE=offline works without a server") from error
        self._step = 0
        self._row: dict[str, float] = {}
        known = self._run.step
        for line in lines:
            if line["step"] >= known:
                self.write(line["step"], _numbers(line))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Adds to the row of a step. It is sent when it is complete: after a kill in between it is sent again."""
        if step != self._step:
            self._send()
        self._step, self._row = step, self._row | dict(scalars)

    def result(self, step: int, scalars: Mapping[str, float]) -> None:
        self._run.summary.update(dict(scalars))

    def close(self) -> None:
        self._send()
        self._run.finish()

    def _send(self) -> None:
        if self._row:
            self._run.log(self._row, step=self._step)
        self._row = {}


@WRITERS.register("trackio")
@dataclasses.dataclass
class Trackio(Writer):
    """A run of trackio, on this machine (in `TRACKIO_DIR`), without an account: `trackio show`. A run that goes on is
    written again, from the lines of `metrics.jsonl`, in the place of the earlier one.
    """

    project: str = "arjax"
    group: str = ""
    name: str = ""

    PACKAGE, EXTRA = "trackio", "trackio"

    def open(self, workdir: Path, resume_step: int | None, lines: Sequence[Mapping[str, Any]]) -> None:
        import trackio

        known, name = workdir / "trackio-run-id", self.name or workdir.absolute().name
        about = {"project": self.project, "group": self.group or None, "config": _config_of(workdir)}
        with contextlib.suppress(ValueError):  # there is no such project any more
            for run in trackio.Api().runs(self.project) if known.exists() else ():
                if run.id == _run_id(known):
                    run.delete()
        try:
            self._run = trackio.init(name=name, embed=False, auto_log_cpu=False, auto_log_gpu=False, **about)
        except ValueError as error:
            raise UserError(f"trackio begins no run: {' '.join(str(error).split())}") from error
        write_text(known, self._run.id)
        for line in lines:
            self.write(line["step"], _numbers(line))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        self._run.log(dict(scalars), step=step)

    def close(self) -> None:
        self._run.finish()


def _numbers(line: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers in a line of `metrics.jsonl`."""
    return {name: value for name, value in line.items() if name != "step" and value is not None}


def _run_id(path: Path) -> str:
    """The name by which the server knows the run, the same whenever the run goes on."""
    if not path.exists():
        write_text(path, secrets.token_hex(8))
    with reading(path):
        return path.read_text(encoding="utf-8").strip()


def _config_of(workdir: Path) -> dict[str, Any]:
    return read_json_object(workdir / "config.json") or {}
