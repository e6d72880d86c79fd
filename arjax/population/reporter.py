"""Reports of a population in training: a line for every validation, and `metrics.jsonl` with means over members."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from arjax.reporting.writers import MetricWriter, make_writers
from arjax.training.headline import headline
from arjax.training.history import History
from arjax.training.setup import Setup
from arjax.training.step import Tally


class PopulationReporter:
    """Reports members together. A context manager."""

    def __init__(self, workdir: str | os.PathLike, setup: Setup, shape: tuple[int, ...], step: int, log: Callable):
        """Starts at `step`: metrics of later steps, left by a killed run, are removed.

        `shape`: numbers of orders and of seeds; `log`: called with every line.
        """
        self._writer = MetricWriter(workdir, step, make_writers(setup.train.writers))
        self._setup, self._shape, self._total, self.log = setup, shape, setup.total_steps, log

    def __enter__(self) -> PopulationReporter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.close()

    def start(self) -> None:
        """Prints the first lines: those of a run of one member, and the number of members."""
        for line in headline(self._setup):
            self.log(line)
        self.log("{} orders x {} seeds, all in one program".format(*self._shape))

    def at(self, step: int) -> None:
        """Does nothing: there is no progress bar."""

    def rest(self) -> None:
        """Does nothing: there is no progress bar."""

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

    def validation(self, step: int, scores: Mapping[str, Any], history: History) -> None:
        """Reports the range of the best scores so far."""
        best, lost = history.best_value, int((~history.alive).sum())
        values = scores["nll_nats"][history.alive]
        self._writer.write(step, {"validation/nll_nats": values.mean(), "validation/best_nll_nats": best.min()})
        diverged = f", {lost} members have diverged" if lost else ""
        self.log(f"step {step:,}/{self._total:,}  validation {best.min():.4f} to {best.max():.4f} nats{diverged}")
