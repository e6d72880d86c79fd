"""What the loop remembers beside the train state."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class History:
    """What the loop remembers beside the train state; stored with every checkpoint, so a resumed run is the same.

    Attributes:
      best_value: lowest validation nats so far, None before the first finite one.
      bad_evals: evaluations since then.
      train_seconds: spent in the loop, over all attempts.
      compile_seconds: the part of it that compiled the train step.
      step_seconds: the part of it that ran train steps.
      interval_seconds: train time since the last log line.
      sums: the tally of the steps since the last log line, by name.
      companion_steps: the steps that the parameters of the companions are of, by name.
    """

    best_value: float | None = None
    bad_evals: int = 0
    train_seconds: float = 0.0
    compile_seconds: float = 0.0
    step_seconds: float = 0.0
    interval_seconds: float = 0.0
    sums: dict[str, float] = dataclasses.field(default_factory=dict)
    companion_steps: dict[str, int] = dataclasses.field(default_factory=dict)
