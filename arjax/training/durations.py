"""The length of a run, and its pauses."""

from __future__ import annotations

import math

from arjax.core.errors import UserError

#: Steps are counted in int32.
LARGEST = 2**31 - 1


def total_steps(steps: int, examples: int, epochs: float, batch_size: int, num_examples: int) -> int:
    """The number of train steps of a run, from exactly one of three durations; rounded up.

    Raises:
      UserError: none or several of `steps`, `examples` and `epochs` are above 0, or there are too many steps to count.
    """
    given = {name: n for name, n in (("steps", steps), ("examples", examples), ("epochs", epochs)) if n}
    if len(given) != 1 or min(given.values()) < 0:
        raise UserError(
            f"exactly one of train.steps, train.examples and train.epochs must be above 0, not steps={steps}, "
            f"examples={examples}, epochs={epochs}"
        )
    total = steps or math.ceil((examples or epochs * num_examples) / batch_size)
    if total > LARGEST:
        raise UserError(f"a run has at most {LARGEST} steps, not {total}: shorten train.{next(iter(given))}")
    return total


def next_pause(step: int, total: int, *intervals: int) -> int:
    """The first step after `step` that is a multiple of an interval, or the last one of the run."""
    return min(total, *((step // interval + 1) * interval for interval in intervals))


def is_due(step: int, total: int, interval: int) -> bool:
    """Whether an event of every `interval` steps, and of the last one, is due after `step`."""
    return step % interval == 0 or step == total
