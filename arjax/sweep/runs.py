"""The runs of a sweep, as a sweep file lists them."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from arjax.core.errors import UserError
from arjax.core.user_files import load_list
from arjax.evaluation.metrics import check_metric


@dataclasses.dataclass(frozen=True)
class Run:
    """One row of a sweep: an `arjax` job and what its row in the results table says.

    Attributes:
      name: folder of the run inside the sweep's workdir, such as `made-dna`.
      config: config file with its argument, such as `configs/uci_made.py:dna`.
      overrides: config fields to set, such as `{"seed": 1, "model.ordering": "random(seed=3)"}`.
      dataset: the row's data set; "" takes it from the results.
      model: the row's model, in words.
      ordering: the row's ordering; "" takes it from the run's config.
      metric: the number of `results.json` to report, such as `nll_nats` or `bits_per_dim`.
      published: the number to compare with; nan when there is none.
      published_mark: where that number comes from, or what is different about it.
    """

    name: str
    config: str
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    dataset: str = ""
    model: str = ""
    ordering: str = ""
    metric: str = "nll_nats"
    published: float = float("nan")
    published_mark: str = ""

    def __post_init__(self):
        if not isinstance(self.name, str) or not re.fullmatch(r"\w[\w.+=-]*(/\w[\w.+=-]*)*", self.name):
            raise UserError(f"a run cannot be named {self.name!r}: use letters, digits and _ . + = - only")
        if not isinstance(self.config, str) or not self.config:
            raise UserError(f"run {self.name!r} needs a config, such as 'configs/x.py:arg', not {self.config!r}")
        if not isinstance(self.overrides, Mapping):
            raise UserError(f"the overrides of run {self.name!r} must be a dict, not {self.overrides!r}")
        if isinstance(self.published, bool) or not isinstance(self.published, int | float):
            raise UserError(f"the published number of run {self.name!r} must be a number, not {self.published!r}")

    def arguments(self, workdir: str) -> list[str]:
        """The arguments of `arjax` for this run."""
        overrides = [f"--config.{key}={_text(value)}" for key, value in self.overrides.items()]
        return [f"--config={self.config}", f"--workdir={workdir}", *overrides]

    def command(self) -> str:
        """The line that reproduces the row on any machine, in a folder `runs/`."""
        return shlex.join(["arjax", *self.arguments(f"runs/{self.name}")])


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def load_sweep(path: str) -> list[Run]:
    """The runs that `get_sweep()` of a sweep file returns.

    Raises:
      UserError: a missing or failing file, something that is not a list of `Run`s, or names that are used twice.
    """
    return load_list(path, "get_sweep", Run, "sweep file", "runs")


def check_runs(runs: Sequence[Run], path: str) -> None:
    """Checks all that can be known of the runs of a sweep file before any of them starts.

    Raises:
      UserError: a config file that does not exist, or a metric that no run has.
    """
    for run in runs:
        check_metric(run.metric, f"run {run.name!r}")
        if not os.path.isfile(run.config.partition(".py:")[0].removesuffix(".py") + ".py"):
            raise UserError(f"run {run.name!r} of {path} names a config file that does not exist: {run.config!r}")
