"""The end of a run, by its length, a signal, or a loss that is not finite; and its pauses."""

from __future__ import annotations

import math
import signal
import threading
from types import FrameType
from typing import Any

import jax

from arjax.core.errors import UserError
from arjax.core.options import LARGEST_INT32
from arjax.parallel.distributed import on_any_process

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class TrainingDiverged(UserError):
    """The loss is not finite. The command line ends with `exit_code`."""

    exit_code = 3


class StopSignal:
    """Turns the first SIGTERM or SIGINT into a request to stop; a second SIGINT acts as usual, a SIGTERM does not."""

    def __init__(self) -> None:
        self._received = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        # Python allows handlers in the main thread only; elsewhere (some notebooks) signals act as usual.
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = True
        signal.signal(signal.SIGINT, self._previous[signal.SIGINT])

    def requested(self, at_pause: bool) -> bool:
        """Whether to stop now. Several processes can only agree on it at a pause, where all of them are."""
        if jax.process_count() == 1:
            return self._received
        return at_pause and on_any_process(self._received)


def check_duration(steps: int, examples: int, epochs: float) -> None:
    """Raises `UserError` unless exactly one of three durations is above 0, and the others are 0."""
    if sum(map(bool, (steps, examples, epochs))) != 1 or min(steps, examples, epochs) < 0:
        raise UserError(
            f"exactly one of train.steps, train.examples and train.epochs must be above 0, not steps={steps}, "
            f"examples={examples}, epochs={epochs}"
        )


def total_steps(steps: int, examples: int, epochs: float, batch_size: int, num_examples: int) -> int:
    """The number of train steps of a run, from exactly one of three durations; rounded up."""
    check_duration(steps, examples, epochs)
    length = steps or -(-examples // batch_size) or epochs * num_examples / batch_size
    if length > LARGEST_INT32:
        given = "steps" if steps else "examples" if examples else "epochs"
        total = length if length == math.inf else math.ceil(length)
        raise UserError(f"a run has at most {LARGEST_INT32} steps, not {total}: shorten train.{given}")
    return math.ceil(length)


def next_pause(step: int, total: int, *intervals: int) -> int:
    """The first step after `step` that is a multiple of an interval, or the last one of the run."""
    return min(total, *((step // interval + 1) * interval for interval in intervals))


def is_due(step: int, total: int, interval: int) -> bool:
    """Whether an event of every `interval` steps, and of the last one, is due after `step`."""
    return step % interval == 0 or step == total
