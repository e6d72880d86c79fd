"""Rules about several options of an objective; the ranges of single options are tested with their declarations."""

import pytest

from arjax.core.errors import UserError
from arjax.objectives import make_objective

CASES = [
    ("as_is(samples={})", (2,), (1,)),
    ("as_is(estimator='pathwise', samples={})", (1,), (0,)),
    ("rollout(target='match', samples={})", (2,), (1,)),
    ("rollout(target='reverse_kl', oracle='x', samples={})", (2,), (1,)),
    ("rollout(target='data', oracle={!r})", ("",), ("x",)),
    ("weighted(weights={})", ((0.1,), (2,)), ((0,), (-1.0,), (), (1, 1), ("1",))),
    ("weighted(of=('teacher_forcing', 'input_noise'), weights={})", ((1, 1),), ((1,), (1, 0), (0, 1))),
    ("weighted(of={}, weights=())", (), ((),)),
]


@pytest.mark.parametrize(("call", "taken", "refused"), CASES, ids=[call for call, _, _ in CASES])
def test_limits(call, taken, refused):
    for value in taken:
        make_objective(call.format(value))
    for value in refused:
        with pytest.raises(UserError):
            make_objective(call.format(value))
