"""The last values that options of training take, and the first that they refuse."""

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.training.history import History
from arjax.training.schedules import make_schedule
from arjax.training.setup import best_store, latest_store
from arjax.training.stopping import is_due, next_pause, total_steps


def test_limits_of_a_warm_up():
    for steps in (0, 9):
        make_schedule(0.1, 10, "cosine", steps)
    for steps in (-1, 10):
        with pytest.raises(UserError, match=r"optimizer\.warmup_steps"):
            make_schedule(0.1, 10, "cosine", steps)


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


@pytest.mark.parametrize("given, steps", [((7, 0, 0.0), 7), ((0, 33, 0.0), 4), ((0, 0, 0.5), 7), ((0, 0, 2), 25)])
def test_total_steps(given, steps):
    assert total_steps(*given, batch_size=10 if given[1] == 33 else 8, num_examples=100) == steps


@pytest.mark.parametrize("given", [(0, 0, 0.0), (1, 1, 0.0), (1, 0, 0.5), (1, 1, 1.0), (-1, 0, 0.0)])
def test_exactly_one_duration(given):
    with pytest.raises(UserError, match="exactly one of"):
        total_steps(*given, batch_size=8, num_examples=100)


@pytest.mark.parametrize("given", [(2**31, 0, 0.0), (0, 10**400, 0.0), (0, 0, 1e30), (0, 0, 1e307)])
def test_more_steps_than_can_be_counted(given):
    with pytest.raises(UserError, match="a run has at most 2147483647 steps"):
        total_steps(*given, batch_size=8, num_examples=100)


def test_pauses():
    assert [next_pause(step, 20, 3, 8) for step in (0, 3, 7, 8, 18, 19)] == [3, 6, 8, 9, 20, 20]
    assert [step for step in range(1, 11) if is_due(step, 10, 4)] == [4, 8, 10]
