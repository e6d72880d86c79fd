import pytest

from arjax.core.errors import UserError
from arjax.training.stopping import is_due, next_pause, total_steps


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
