"""The contract of a writer: another destination of the metrics of a run, beside its own `metrics.jsonl`."""

from __future__ import annotations

import abc
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from arjax.core.errors import UserError
from arjax.core.files import read_json_object
from arjax.core.registry import Registry

WRITERS = Registry("writer")


class Writer(abc.ABC):
    """A destination of the metrics of a run. Subclasses are dataclasses; their fields are the options of a call string.

    The first process of a run opens its writers, writes and closes. A run that goes on opens them again: they must then
    show every number once, as `metrics.jsonl` does.
    """

    #: The package that it needs, and the extra of arjax that installs it.
    PACKAGE: ClassVar[str] = ""
    EXTRA: ClassVar[str] = ""

    def check(self) -> None:
        """Raises `UserError` when the package is not installed."""
        if self.PACKAGE and importlib.util.find_spec(self.PACKAGE) is None:
            hint = f" (pip install 'arjax[{self.EXTRA}]')" if self.EXTRA else ""
            name = next((name for name in WRITERS.names() if WRITERS.get(name) is type(self)), type(self).__name__)
            raise UserError(f"the writer {name!r} needs the package {self.PACKAGE}, which is not installed{hint}")

    @abc.abstractmethod
    def open(self, workdir: Path, resume_step: int | None, lines: Sequence[Mapping[str, Any]]) -> None:
        """Begins to write.

        Args:
          workdir: folder of the run; its `config.json` is there.
          resume_step: the step the run goes on from: earlier lines about later steps are void; 0 for a fresh
            run; None to append.
          lines: the valid lines of `metrics.jsonl`.
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


def read_config(workdir: Path) -> dict[str, Any]:
    """The config of a run as plain values; empty where it has none."""
    return read_json_object(workdir / "config.json") or {}
