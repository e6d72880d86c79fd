"""The last values that options of training take, and the first that they refuse; small parts of the loop."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.training import loop
from arjax.training.history import History
from arjax.training.optimizer import make_optimizer
from arjax.training.schedules import make_schedule
from arjax.training.setup import best_store, latest_store
from arjax.training.stopping import LARGEST, check_duration, total_steps

OPTIMIZERS = [
    ("adam", "weight_decay", (0,), (0.1,)),
    ("sgd", "eps", (1e-8,), (1e-7,)),
]


@pytest.mark.parametrize(("rule", "option", "taken", "refused"), OPTIMIZERS)
def test_limits_of_optimizers(rule, option, taken, refused):
    for value in taken:
        make_optimizer(rule, 0.1, 10, **{option: value})
    for value in refused:
        with pytest.raises(UserError, match=option.replace("_", " ") + "|" + option):
            make_optimizer(rule, 0.1, 10, **{option: value})


def test_limits_of_a_warm_up():
    for steps in (0, 9):
        make_schedule(0.1, 10, "cosine", steps)
    for steps in (-1, 10):
        with pytest.raises(UserError, match=r"optimizer\.warmup_steps"):
            make_schedule(0.1, 10, "cosine", steps)


def test_limits_of_durations():
    assert total_steps(LARGEST, 0, 0.0, 1, 1) == LARGEST
    with pytest.raises(UserError, match="at most"):
        total_steps(LARGEST + 1, 0, 0.0, 1, 1)
    for wrong in ((1, -1, 0.0), (0, 0, -0.5), (2, 0, -0.5)):
        with pytest.raises(UserError, match="exactly one"):
            check_duration(*wrong)


def test_stores_keep_so_many_checkpoints(tmp_path):
    """Two of the latest, of which the last may be damaged; one of the best."""
    for store, kept in ((latest_store(tmp_path), [3, 4]), (best_store(tmp_path), [4])):
        for step in range(5):
            store.save(step, {"w": np.zeros(2)}, {})
        assert store.steps() == kept
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best", "latest"]


def test_a_fresh_history():
    history = History.fresh((2,))
    assert history.best_value.tolist() == [np.inf] * 2 and history.alive.tolist() == [True, True]
    assert history.best_step.tolist() == history.bad_evals.tolist() == [0, 0]
    assert History.from_json(history.to_json()).to_json() == history.to_json()


def test_a_history_selects_the_best():
    history = History.fresh((3,))
    history.alive = np.array([True, True, False])
    assert history.select(np.array([1.0, np.nan, 0.5]), 10, 2).tolist() == [True, False, False]
    assert history.select(np.array([1.0, 2.0, 0.5]), 20, 2).tolist() == [False, True, False]  # equal is not better
    assert history.bad_evals.tolist() == [1, 0, 2] and history.best_step.tolist() == [10, 20, 0]
    assert history.stopped(2).tolist() == [False, False, True] and not history.stopped(0).any()
    assert history.select(np.array([1.5, 2.5, 0.1]), 30, 2).tolist() == [False] * 3
    assert history.stopped(2).tolist() == [True, False, True]
    assert history.select(np.array([0.1, 0.1, 0.1]), 40, 2).tolist() == [False, True, False]  # one has stopped
    history.check_companion("oracle", 3)
    history.check_companion("oracle", 3)
    with pytest.raises(UserError, match="at step 3 when the run began and has them at step 4 now"):
        history.check_companion("oracle", 4)


class Learner:
    """Takes so many seconds of a clock to begin and to compile, to step, to validate for the first time and again."""

    def __init__(self, setup, folder):
        self.setup, self.now = setup, 0.0

    def spend(self, seconds):
        self.now += seconds

    def begin(self, companions, state):
        self.spend(2.0)

    def compile(self, state, step, steps_from, threads):
        self.spend(5.0)

    def sums(self, values):
        return {}

    def advance(self, state, sums, step, n):
        """Gives the steps to the device: their time passes when their sums are waited for."""
        seconds = (10.0 if step == 0 else 0.5) * n
        return state, {"nll": SimpleNamespace(block_until_ready=lambda: self.spend(seconds))}

    def validate(self, state):
        self.spend(next(self.setup.validations))


@pytest.mark.parametrize(
    ("total", "seconds"),
    [
        # Twenty steps: beginning and compiling, steps at half a second, a first validation of 4 s and others of 1 s:
        # four more, and a test of twice as many examples.
        (20, 7 + 20 * 0.5 + 4 + (5 - 1 + 2) * 1),
        # One dispatch: the only step that was timed, and one validation, which is measured twice.
        (2, 7 + 2 * 10.0 + 4 + (1 - 1 + 2) * 1),
    ],
)
def test_the_expected_seconds_are_those_of_all_steps_and_validations(monkeypatch, total, seconds):
    learners = []

    def learner(setup, folder):
        learners.append(Learner(setup, folder))
        return learners[-1]

    monkeypatch.setattr(loop, "RunLearner", learner)
    monkeypatch.setattr(loop.time, "monotonic", lambda: learners[-1].now if learners else 0.0)
    setup = SimpleNamespace(
        total_steps=total,
        train=SimpleNamespace(steps_per_dispatch=2),
        evaluate=SimpleNamespace(split="test"),
        scored=SimpleNamespace(splits={"train": [0] * 9, "validation": [0] * 3, "test": [0] * 6}),
        trained_companions=dict,
        validations=itertools.chain([4.0], itertools.repeat(1.0)),
    )
    setup.train.eval_every = 4
    assert loop.expected_seconds(setup) == pytest.approx(seconds)
    # After the first dispatch it makes steps for three seconds, and no more.
    assert learners[0].now == pytest.approx(7 + 20 + (3 if total == 20 else 0) + 4 + 1)
    setup.scored.splits = {"train": [0] * 9}
    learners.clear()
    assert loop.expected_seconds(setup) == pytest.approx(seconds - 4 - (5 - 1 + 2 if total == 20 else 2))


def test_a_long_validation_is_timed_once(monkeypatch):
    setup = SimpleNamespace(
        total_steps=8,
        train=SimpleNamespace(eval_every=4),
        evaluate=SimpleNamespace(split="train"),
        scored=SimpleNamespace(splits={"validation": [0], "train": [0]}),
        validations=iter([10.0]),
    )
    learner = Learner(setup, "")
    monkeypatch.setattr(loop.time, "monotonic", lambda: learner.now)
    assert loop._scoring(learner, None) == pytest.approx(10 + 10 * (2 - 1 + 1))
