"""The metrics of a training as curves."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Curve(NamedTuple):
    """A metric over the steps of a run: `plt.plot(*curve)`.

    Attributes:
      steps: int64[N].
      values: float64[N], nan where a value was not finite.
    """

    steps: np.ndarray
    values: np.ndarray


def as_history(lines: list[dict[str, Any]]) -> dict[str, Curve]:
    """The lines of `metrics.jsonl` as a curve for each name."""
    names = dict.fromkeys(name for line in lines for name in line if name != "step")
    found = {}
    for name in names:
        steps, values = zip(*((line["step"], line[name]) for line in lines if name in line), strict=True)
        found[name] = Curve(np.array(steps, np.int64), np.array(values, np.float64))  # None becomes nan
    return found
