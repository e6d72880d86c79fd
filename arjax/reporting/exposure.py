"""Pictures of exposure bias: errors that add up along the order, and texts under a judge."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from arjax.core.files import replacing
from arjax.reporting.figures import (
    ACCENT,
    FIRST_STEP,
    INK,
    SOFT,
    has_matplotlib,
    label_axes,
    new_figure,
    row_of_axes,
    save_figure,
)

#: The files of the curves of a run, without their endings.
NAME = "exposure"
#: Standard errors on each side of a band that covers 95 %.
Z = 1.96


def exposure_figure(curves: Mapping[str, np.ndarray]) -> Any:
    """A panel for each kind of curves that is there, with bands that cover 95 %.

    Args:
      curves: of an exposure against the truth, `forward_own` and `forward_data` [S], the accumulated errors in nats up
        to each step, and `excess` [S] in per cent; of texts under a judge, `judge_own` [P] and, where there is one,
        `judge_data` [P], nats per site at `judge_places` [P]. Each has its standard error beside it, `NAME_stderr`.
    """
    drawn = [
        draw
        for name, draw in (("forward_own", _errors), ("excess", _excess), ("judge_own", _along_text))
        if name in curves
    ]
    figure = new_figure(max(4.6 * len(drawn), 6.4), 3.4)
    for axis, draw in zip(row_of_axes(figure, len(drawn)), drawn, strict=True):
        draw(axis, curves)
    return figure


def _band(axis: Any, x: np.ndarray, y: np.ndarray, stderr: np.ndarray, color: str, label: str) -> None:
    axis.fill_between(x, y - Z * stderr, y + Z * stderr, color=color, alpha=0.22, linewidth=0)
    axis.plot(x, y, color=color, linewidth=1.4, label=label)


def _errors(axis: Any, curves: Mapping[str, np.ndarray]) -> None:
    for name, color, label in (("forward_own", ACCENT, "own prefixes"), ("forward_data", INK, "prefixes of the data")):
        steps = np.arange(len(curves[name])) + FIRST_STEP
        _band(axis, steps, curves[name], curves[f"{name}_stderr"], color, label)
    label_axes(axis, "length", "accumulated KL(truth || model), nats", "Errors up to a length")
    axis.legend(frameon=False, fontsize=9)


def _excess(axis: Any, curves: Mapping[str, np.ndarray]) -> None:
    steps = np.arange(len(curves["excess"])) + FIRST_STEP
    _band(axis, steps, curves["excess"], curves["excess_stderr"], ACCENT, "")
    axis.axhline(0, color=SOFT, linewidth=0.8)
    label_axes(axis, "length", "per cent", "Excess under own prefixes")


def _along_text(axis: Any, curves: Mapping[str, np.ndarray]) -> None:
    for name, color, label in (("judge_own", ACCENT, "samples"), ("judge_data", INK, "data")):
        if name in curves and len(curves[name]):
            _band(axis, curves["judge_places"], curves[name], curves[f"{name}_stderr"], color, label)
    label_axes(axis, "place in the text", "nats per site under the judge", "Samples under the judge")
    axis.legend(frameon=False, fontsize=9)


def write_exposure(path: str | os.PathLike, curves: Mapping[str, np.ndarray]) -> None:
    """Writes curves to `PATH.npz`, and their picture to `PATH.png`, by the first process; nothing where there are none.

    Raises `UserError` when the disk refuses.
    """
    if not curves or jax.process_index() > 0:
        return
    with replacing(f"{path}.npz") as replacement, replacement.open("wb") as file:
        named: dict[str, Any] = dict(curves)
        np.savez(file, **named)
    if has_matplotlib():
        save_figure(exposure_figure(curves), f"{path}.png")
