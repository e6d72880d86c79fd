"""What a run says while it trains: a progress line and `metrics.jsonl`, by the first process only."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

import jax

from arjax.reporting.progress import Progress
from arjax.reporting.writers import MetricWriter
from arjax.training.history import History
from arjax.training.step import Tally


class Reporter:
    """Progress line and metric files of a run; silent on all processes but the first. A context manager."""

    def __init__(self, workdir: str | os.PathLike, total_steps: int, step: int):
        """Starts at `step`: metrics of later steps, left by a killed run, are removed."""
        first = jax.process_index() == 0
        self._writer = MetricWriter(workdir, resume_step=step) if first else None
        self._progress = Progress(total_steps, start_step=step) if first else None

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writer is not None and self._progress is not None:
            self._progress.close()
            self._writer.close()

    def say(self, text: str) -> None:
        """Prints a line that stays."""
        if self._progress is not None:
            self._progress.message(text)

    def train(self, step: int, tally: Tally, learning_rate: float, seconds: float) -> None:
        """Reports the steps since the last call from their tally, on the host; they took `seconds`."""
        if self._writer is None or self._progress is None:
            return
        metrics = tally.metrics
        bits_per_dim = float(metrics.nll / max(metrics.dims, 1.0) / math.log(2))
        speed = float(metrics.examples / seconds)
        values = {
            "train/loss": float(tally.loss / tally.steps),
            "train/nll_nats": float(metrics.nll / max(metrics.examples, 1.0)),
            "train/bits_per_dim": bits_per_dim,
            "learning_rate": learning_rate,
            "examples_per_second": speed,
        }
        values |= {f"train/{name}": float(mean.value) for name, mean in metrics.means.items()}
        self._writer.write(step, values)
        self._progress.update(step, bits_per_dim, speed)

    def validation(self, step: int, scores: Mapping[str, Any], history: History) -> None:
        """Reports the scores of the validation split."""
        if self._writer is None or self._progress is None:
            return
        numbers = {name: value for name, value in scores.items() if isinstance(value, int | float)}
        self._writer.write(step, {f"validation/{name}": value for name, value in numbers.items()})
        self._progress.validation(step, scores["bits_per_dim"])


def announce(text: str, stream: TextIO | None = None) -> None:
    """Prints a line (to stdout by default) about work that is silent for a while, by the first process."""
    if jax.process_index() == 0:
        print(text, file=sys.stdout if stream is None else stream, flush=True)
