"""The length of a run, and its pauses."""

from __future__ import annotations

import math

from arjax.core.errors import UserError

#: Steps are counted in int32.
LARGEST = 2**31 - 1


def check_duration(steps: int, examples: int, epochs: float) -> None:
    """Raises `UserError` unless exactly one of three durations is above 0, and the others are 0."""
    if sum(map(bool, (steps, examples, epochs))) != 1 or min(steps, examples, epochs) < 0:
        raise UserError(
            f"exactly one of train.steps, train.examples and train.epochs must be above 0, not steps={steps}, "
            f"examples={examples}, epochs={epochs}"
        )


def total_steps(steps: int, examples: int, epochs: float, batch_size: int, num_examples: int) -> int:
    """The number of train steps of a run, from exactly one of three durations; rounded up.

    Raises:
      UserError: none or several of `steps`, `examples` and `epochs` are above 0, or there are too many steps to count.
    """
    check_duration(steps, examples, epochs)
    total = steps or math.ceil((examples or epochs * num_examples) / batch_size)
    if total > LARGEST:
        given = "steps" if steps else "examples" if examples else "epochs"
        raise UserError(f"a run has at most {LARGEST} steps, not {total}: shorten train.{given}")
    return total


def next_pause(step: int, total: int, *intervals: int) -> int:
    """The first step after `step` that is a multiple of an interval, or the last one of the run."""
    return min(total, *((step // interval + 1) * interval for interval in intervals))


def is_due(step: int, total: int, interval: int) -> bool:
    """Whether an event of every `interval` steps, and of the last one, is due after `step`."""
    return step % interval == 0 or step == total
