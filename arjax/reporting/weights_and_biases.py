"""Weights & Biases: the run in a project on its server, or on disk with `WANDB_MODE=offline`."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arjax.core.errors import UserError
from arjax.core.files import reading, write_text, writing
from arjax.reporting.writer import WRITERS, Writer, read_config

#: The folder of the package in a workdir, and its file with the name of the run on the server.
FOLDER, ID = "wandb", "arjax-run-id"


@WRITERS.register("wandb")
@dataclasses.dataclass
class WeightsAndBiases(Writer):
    """A run of Weights & Biases: scalars by step, the config, and test scores in its summary.

    A run that goes on is one run there. Its server has rows up to some step and takes none before it, and an offline
    run begins with none: the lines of `metrics.jsonl` that it lacks are sent again, so no number is lost or doubled.
    Of several offline folders of a workdir the newest one holds everything, and is the one to `wandb sync`.

    Attributes:
      project, entity, group: the place of the run on the server; "" for the package's default.
      name: of the run; "": that of the workdir.
    """

    project: str = "arjax"
    entity: str = ""
    group: str = ""
    name: str = ""

    PACKAGE, EXTRA = "wandb", "wandb"

    def open(self, workdir: Path, resume_step: int | None, lines: Sequence[Mapping[str, Any]]) -> None:
        """Begins the run, or goes on with it, and sends the lines that its server lacks."""
        import wandb

        folder = workdir / FOLDER
        with writing(folder):
            folder.mkdir(exist_ok=True)
        try:
            self._run = wandb.init(
                project=self.project,
                entity=self.entity or None,
                group=self.group or None,
                name=self.name or workdir.absolute().name,
                dir=str(workdir),
                id=_run_id(folder / ID),
                resume="allow" if resume_step != 0 else None,  # None: a run of this name is replaced
                config=read_config(workdir),
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
                numbers = {name: value for name, value in line.items() if name != "step" and value is not None}
                self.write(line["step"], numbers)

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Adds to the row of a step. It is sent when it is complete: after a kill in between it is sent again."""
        if step != self._step:
            self._send()
        self._step, self._row = step, self._row | dict(scalars)

    def result(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes the summary of the run, the source of the server's tables."""
        self._run.summary.update(dict(scalars))

    def close(self) -> None:
        """Sends the last row and waits for the server."""
        self._send()
        self._run.finish()

    def _send(self) -> None:
        if self._row:
            self._run.log(self._row, step=self._step)
        self._row = {}


def _run_id(path: Path) -> str:
    """The name by which the server knows the run, the same whenever the run goes on."""
    if not path.exists():
        write_text(path, secrets.token_hex(8))
    with reading(path):
        return path.read_text(encoding="utf-8").strip()
