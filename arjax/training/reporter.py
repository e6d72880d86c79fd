"""Reports of a run in training: progress, `metrics.jsonl` and other writers, by the first process only."""

from __future__ import annotations

import collections
import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

import jax
import numpy as np

from arjax.core.scores import NLL
from arjax.data.remarks import remarks_about
from arjax.evaluation.report import kind_of_nats
from arjax.models import Model
from arjax.parallel.sharding import path_string
from arjax.reporting.progress import Progress
from arjax.reporting.reports import OF_EXPOSURE, SCORES, describe_scores, is_json_number
from arjax.reporting.writers import MetricWriter, Writer, make_writers
from arjax.training.history import History
from arjax.training.results import device_name
from arjax.training.setup import Setup
from arjax.training.state import parts_of_optimizer
from arjax.training.step import MetricSums


class Silent:
    """Takes every call and does nothing, but for the calls that are given."""

    def __init__(self, **calls: Callable):
        self.__dict__.update(calls)

    def __getattr__(self, name: str) -> Callable:
        return lambda *args: None


class Reporter:
    """The progress and the metrics of a run; silent on all processes but the first. A context manager."""

    _writer: Any
    progress: Any

    def __init__(self, workdir: str | os.PathLike, setup: Setup, step: int, progress: Any = None, *lines: str):
        """Starts at `step`: metrics of later steps, of a killed run, are removed. `lines` follow the first ones."""
        self._lines = lines
        of_draws = setup.dataset.score_of_draws is not None
        self._setup, self._bits = setup, setup.model.event.has_bits and not of_draws
        self._kind = kind_of_nats(setup.model, end=setup.dataset.end, of_draws=of_draws)
        self._writer, self.progress = Silent(), Silent()
        if jax.process_index() == 0:
            self._writer = MetricWriter(workdir, step, make_writers(setup.train.writers))
            self.progress = progress or Progress(setup.total_steps, start_step=step)

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.close()

    def start(self) -> None:
        for line in (*headline(self._setup), *self._lines):
            self.progress.message(line)

    def train(self, step: int, sums: MetricSums, learning_rate: float, seconds: float) -> None:
        """Reports the steps since the last call from their sums, on the host; they took `seconds`."""
        metrics, scores = sums.metrics, {}
        if metrics.nll is not None:
            scores["nll_nats"] = float(metrics.nll / np.maximum(metrics.examples, 1.0))
            per_dim = float(metrics.nll / np.maximum(metrics.dims, 1.0))
            scores["bits_per_dim"] = per_dim / math.log(2)
            if unit := self._setup.dataset.text_unit:
                scores |= {f"nll_nats_per_{unit}": per_dim, f"bits_per_{unit}": scores["bits_per_dim"]}
        means = {name: float(mean.value) for name, mean in metrics.means.items()}
        speed = float(metrics.examples / seconds)
        values = _named("train", {"loss": float(sums.loss / sums.steps)} | scores)
        values |= {"learning_rate": learning_rate, "examples_per_second": speed} | _named("train", means)
        self._writer.write(step, values)
        self.progress.update(step, self._in_words(scores or means), speed)

    def _in_words(self, scores: Mapping[str, Any]) -> str:
        for unit in ("char", "byte"):  # of a text: the windows of splits score other numbers of tokens
            if (name := f"nll_nats_per_{unit}") in scores:
                mean = {NLL: scores[name], "nll_stderr": scores.get(f"{name}_stderr"), "unit": f"nats/{unit}"}
                scores = {**scores, **mean}
        return describe_scores(scores, self._bits)

    def validation(self, step: int, scores: Mapping[str, Any], history: History) -> None:
        self._writer.write(step, _named("validation", scores))
        best = ", the best so far" if history.best_step == step else ""
        self.progress.validation(step, f"{self._in_words(scores)} ({self._kind}){best}")

    def result(self, step: int, results: Mapping[str, Any]) -> None:
        """Hands the scores among the results of the finished run to the writers."""
        scores = {name: value for name, value in results.items() if name in SCORES + OF_EXPOSURE}
        self._writer.result(step, _named(results["split"], scores))


def _named(split: str, scores: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among scores, as writers name them."""
    return {f"{split}/{name}": value for name, value in scores.items() if is_json_number(value)}


def headline(setup: Setup) -> list[str]:
    """Lines about the data, and about the model, the length of the run and the devices; remarks about the data."""
    dataset, train = setup.dataset, setup.train
    sizes = ", ".join(f"{split} {len(source):,}" for split, source in dataset.splits.items())
    given = f", given {' and '.join(name for name, _ in dataset.context.parts)}" if dataset.context else ""
    parts, counts = parts_of_optimizer(setup.abstract_state), collections.Counter[str]()
    for path, leaf in jax.tree.leaves_with_path(setup.abstract_state.params):
        counts[parts.get(path_string(path), "")] += leaf.size
    num_params = counts.total()
    moved = "".join(f", {counts[part]:,} of them by {part}" for part in sorted(counts, reverse=True) if part)
    length = f"{setup.total_steps:,} step{'s' * (setup.total_steps != 1)} of {train.batch_size:,} examples"
    axes = " x ".join(f"{name} {size}" for name, size in setup.mesh.shape.items() if size > 1)
    mesh = f" (mesh: {axes})" if axes else ""
    return [
        f"{dataset.name}: {sizes} examples of {dataset.event.in_words}{given}",
        f"{setup.about}, {num_params:,} parameters{moved}; {length} on {device_name()}{mesh}",
        *remarks_about(dataset, independent_entries(setup.model)),
    ]


def independent_entries(model: Model) -> str:
    """Returns the conditional of a model that draws the entries of a value independently of one another; else ""."""
    conditional = getattr(model, "conditional", None)
    return conditional.name() if conditional is not None and conditional.has_table and not conditional.joint else ""


def record_picture(setup: Setup, workdir: str | os.PathLike, step: int, path: Path) -> None:
    """Hands a plot of a finished run to those of its writers that take plots, under the name of its file."""
    if jax.process_index() == 0:
        for writer in make_writers(setup.train.writers):
            if type(writer).picture is not Writer.picture:
                with MetricWriter(workdir, others=[writer]):
                    writer.picture(step, path.stem, path)


def announce(text: str, stream: TextIO | None = None) -> None:
    """Prints a line (to stdout by default) about long work without other output, by the first process."""
    if jax.process_index() == 0:
        print(text, file=sys.stdout if stream is None else stream, flush=True)
