"""The duration of a training, from a trial of its first steps."""

from __future__ import annotations

import contextlib
import math
import tempfile
import time

import jax

from arjax.training.learner import RunLearner
from arjax.training.setup import Setup
from arjax.training.state import TrainState

#: Seconds of train steps that are timed, and the longest validation that is timed a second time.
STEPS_FOR, LONG_VALIDATION = 3.0, 10.0


def expected_seconds(setup: Setup) -> float:
    """Seconds of the whole training of a run with its test score, by some of its steps and a validation; nothing is
    kept. Without the samples and pictures at the end. At most so many where it stops early, by `train.patience`.

    Raises:
      UserError: as the training itself, before its first step.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as threads:
        learner, total = RunLearner(setup, folder), setup.total_steps

        def steps_from(step: int) -> int:
            return min(setup.train.steps_per_dispatch, total - step)

        started = time.monotonic()
        companions = {name: trained.companion for name, trained in setup.trained_companions().items()}
        state = learner.begin(companions, None)
        learner.compile(state, 0, steps_from, threads)
        sums = learner.sums({})
        step, marks = 0, [(0, time.monotonic())]
        while step < total and (len(marks) < 3 or marks[-1][1] - marks[1][1] < STEPS_FOR):
            n = steps_from(step)
            state, sums = learner.advance(state, sums, step, n)
            jax.block_until_ready(sums)
            step += n
            marks.append((step, time.monotonic()))
        (first, begun), (last, ended) = marks[1 if len(marks) > 2 else 0], marks[-1]  # the first one warms up
        return marks[0][1] - started + (ended - begun) / (last - first) * total + _scoring(learner, state)


def _scoring(learner: RunLearner, state: TrainState) -> float:
    """Seconds of all validations and of the test."""
    setup, splits = learner.setup, learner.setup.scored.splits
    if "validation" not in splits:
        return 0.0
    started = time.monotonic()
    learner.validate(state)  # with the compilation of its program
    once = first = time.monotonic() - started
    if first < LONG_VALIDATION:
        started = time.monotonic()
        learner.validate(state)
        once = time.monotonic() - started
    test = len(splits.get(setup.evaluate.split, ())) / len(splits["validation"])
    return first + once * (math.ceil(setup.total_steps / setup.train.eval_every) - 1 + test)
