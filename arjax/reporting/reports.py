"""`results.json`, the report of a run: its fields, and reading it. Imports nothing heavy: sweeps read it, too."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arjax.core.errors import UserError
from arjax.core.files import read_json_object

FILE_NAME = "results.json"
#: The kind of a score that is the log-likelihood itself; others are "bound" and "estimate".
EXACT = "exact"
_TEXTS = ("dataset", "split", "device")
_SCORES = ("nll_nats", "nll_stderr", "bits_per_dim", "num_examples", "num_params")
_NUMBERS = (*_SCORES, "step", "best_step", "seed", "train_seconds")


def read_report(workdir: str | os.PathLike) -> dict[str, Any] | None:
    """The report of a run, or None when there is none, or an incomplete one: then it is computed again.

    A report without one of the fields of all reports was edited by hand or damaged. One without a `kind` is older than
    the models with scores that are not exact.

    Raises:
      UserError: there is one that cannot be read.
    """
    report = read_json_object(Path(workdir) / FILE_NAME)
    return {"kind": EXACT} | report if report is not None and is_report(report) else None


def finished_report(workdir: str | os.PathLike) -> dict[str, Any] | None:
    """The report of a run, or None when there is none.

    Raises:
      UserError: there is one that cannot be read, or that is damaged.
    """
    report, path = read_report(workdir), Path(workdir) / FILE_NAME
    if report is None and path.exists():
        raise UserError(f"{path} is damaged: the command that trained the run computes it again")
    return report


def is_report(report: Mapping[str, Any]) -> bool:
    """Whether an object of JSON has all fields of a report."""
    texts = all(isinstance(report.get(name), str) for name in _TEXTS)
    optional = isinstance(report.get("kind", ""), str) and is_number(report.get("validation_nll_nats") or 0.0)
    return texts and optional and all(is_number(report.get(name)) for name in _NUMBERS)


def is_number(value: Any) -> bool:
    """Whether a value of a report is a number: JSON's true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
