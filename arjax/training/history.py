"""The state of the loop beside the train state; stored with every checkpoint, so a resumed run is the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from arjax.core.errors import UserError

_OF_MEMBERS = {"best_value": np.float64, "best_step": np.int64, "bad_evals": np.int64, "alive": np.bool_}


@dataclasses.dataclass
class History:
    """Arrays have the shape of the members: () for a run, [O, S] for a population."""

    best_value: np.ndarray  # lowest validation nats so far, infinity before the first finite one
    best_step: np.ndarray
    bad_evals: np.ndarray  # evaluations since then
    alive: np.ndarray  # whether all losses were finite
    train_seconds: float = 0.0  # spent in the loop, over all attempts
    compile_seconds: float = 0.0
    step_seconds: float = 0.0
    interval_seconds: float = 0.0  # train time since the last log line
    sums: dict[str, Any] = dataclasses.field(default_factory=dict)  # since then, the leaves of `MetricSums` by name
    companion_steps: dict[str, int] = dataclasses.field(default_factory=dict)

    @classmethod
    def fresh(cls, shape: tuple[int, ...]) -> History:
        zeros = np.zeros(shape, np.int64)
        return cls(np.full(shape, np.inf), zeros, zeros, np.ones(shape, np.bool_))

    @classmethod
    def from_json(cls, extra: Mapping[str, Any]) -> History:
        """The inverse of `to_json`; other entries of a checkpoint are left out."""
        values = {field.name: extra[field.name] for field in dataclasses.fields(cls)}
        for name, dtype in _OF_MEMBERS.items():
            array = np.array(values[name], np.float64)  # None is nan there
            values[name] = np.where(np.isnan(array), np.inf, array).astype(dtype)
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """The fields for JSON: an infinite value is None."""
        values = dataclasses.asdict(self)
        values |= {name: values[name].tolist() for name in _OF_MEMBERS}
        best = np.array(self.best_value, object)
        best[~np.isfinite(self.best_value)] = None
        values["best_value"] = best.tolist()
        return values

    def stopped(self, patience: int) -> np.ndarray:
        """Which members have not improved for `patience` evaluations; 0: none of them ever."""
        return self.bad_evals >= patience if patience else np.zeros_like(self.alive)

    def select(self, values: np.ndarray, step: int, patience: int) -> np.ndarray:
        """Takes the validation nats; returns which members are better than before, of those that have not ended."""
        better = self.alive & np.isfinite(values) & (values < self.best_value) & ~self.stopped(patience)
        self.best_value = np.where(better, values, self.best_value)
        self.best_step = np.where(better, step, self.best_step)
        self.bad_evals = np.where(better, 0, self.bad_evals + 1)
        return better

    def check_companion(self, name: str, step: int) -> None:
        before = self.companion_steps.setdefault(name, step)
        if before != step:
            raise UserError(
                f"the {name} of this run had its best parameters at step {before} when the run began and has them at "
                f"step {step} now: a run goes on with the {name} that it began with"
            )
