"""TensorBoard events in the workdir; `tensorboard --logdir=runs` shows them."""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arjax.core.files import reading, writing
from arjax.reporting.writer import WRITERS, Writer, read_config


@WRITERS.register("tensorboard")
@dataclasses.dataclass
class TensorBoard(Writer):
    """TensorBoard events: scalars, the config as text, and the plots of the run.

    They are written at once: in tensorboardX's own writer a thread does it, and cannot report that the disk is full.
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
            fields = json.dumps(read_config(workdir), indent=2, sort_keys=True)
            # As a block of code: TensorBoard reads texts as Markdown.
            self._add(0, [text("config", "\n".join(f"    {line}" for line in fields.splitlines()))])

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """One event for each number."""
        from tensorboardX.summary import scalar

        self._add(step, [scalar(name, value) for name, value in scalars.items()])

    def picture(self, step: int, name: str, path: Path) -> None:
        """The file as it is."""
        from tensorboardX.proto.summary_pb2 import Summary

        with reading(path):
            data = path.read_bytes()
        width, height = struct.unpack(">II", data[16:24])  # behind the signature, length and name of the first chunk
        image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=data)
        self._add(step, [Summary(value=[Summary.Value(tag=name, image=image)])])

    def close(self) -> None:
        """Closes the file."""
        with writing(self._place):
            self._file.close()

    def _add(self, step: int, summaries: list[Any]) -> None:
        with writing(self._place):
            for summary in summaries:
                self._file.write_event(self._event(step=step, wall_time=time.time(), summary=summary))
            self._file.flush()
