"""The last values that options of training take, and the first that they refuse."""

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.training.history import History
from arjax.training.schedules import make_schedule
from arjax.training.setup import best_store, latest_store


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
