"""Reports of a population in training: progress, and `metrics.jsonl` with means over members."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from arjax.reporting.progress import Progress
from arjax.reporting.writers import MetricWriter, make_writers
from arjax.training.headline import headline
from arjax.training.history import History
from arjax.training.setup import Setup
from arjax.training.step import Tally

#: (steps in all, steps done) -> the progress of a training.
Show = Callable[[int, int], Progress]


class PopulationReporter:
    """Reports members together. A context manager."""

    def __init__(
        self,
        workdir: str | os.PathLike,
        setup: Setup,
        shape: tuple[int, ...],
        step: int,
        log: Callable[[str], None],
        show: Show | None = None,
    ):
        """Starts at `step`: metrics of later steps, left by a killed run, are removed.

        Args:
          workdir: folder of the metrics.
          setup: the parts that all members share.
          shape: numbers of orders and of seeds.
          step: steps done.
          log: called with every line, where nothing is shown.
          show: makes the progress that is shown.
        """
        self._writer = MetricWriter(workdir, step, make_writers(setup.train.writers))
        self._setup, self._shape, self._total = setup, shape, setup.total_steps
        self._progress = None if show is None else show(self._total, step)
        self.log = log if self._progress is None else self._progress.message

    def __enter__(self) -> PopulationReporter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.rest()
        self._writer.close()

    def start(self) -> None:
        """Prints the first lines: those of a run of one member, and the number of members."""
        for line in headline(self._setup):
            self.log(line)
        self.log("{} orders x {} seeds, all in one program".format(*self._shape))

    def at(self, step: int) -> None:
        """Shows that a step has been dispatched."""
        if self._progress is not None:
            self._progress.at(step)

    def rest(self) -> None:
        """Ends the progress bar: there are no more steps."""
        if self._progress is not None:
            self._progress.close()

    def train(self, step: int, tally: Tally, learning_rate: float, seconds: float) -> None:
        """Reports means over the members, without those that have diverged."""
        fine = tally.bad_step < 0
        tally = jax.tree.map(lambda leaf_OS: leaf_OS[fine].mean(dtype=np.float64), tally)
        metrics = tally.metrics
        values = {
            "train/loss": tally.loss / tally.steps,
            "train/nll_nats": metrics.nll / max(metrics.examples, 1.0),
            "learning_rate": learning_rate,
            "examples_per_second": metrics.examples * fine.size / seconds,
        }
        values |= {f"train/{name}": float(mean.value) for name, mean in metrics.means.items()}
        self._writer.write(step, values)
        if self._progress is not None:
            mean = f"{values['train/nll_nats']:.4f} nats on average"
            self._progress.update(step, mean, values["examples_per_second"])

    def validation(self, step: int, scores: Mapping[str, Any], history: History) -> None:
        """Reports the range of the best scores so far."""
        best, lost = history.best_value, int((~history.alive).sum())
        values = scores["nll_nats"][history.alive]
        self._writer.write(step, {"validation/nll_nats": values.mean(), "validation/best_nll_nats": best.min()})
        diverged = f", {lost} members have diverged" if lost else ""
        self.log(f"step {step:,}/{self._total:,}  validation {best.min():.4f} to {best.max():.4f} nats{diverged}")
