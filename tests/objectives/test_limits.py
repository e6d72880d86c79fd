"""The last values that options of objectives take, and the first that they refuse."""

import pytest

from arjax.core.errors import UserError
from arjax.objectives import make_objective

CASES = [
    ("as_is(estimator='gumbel_softmax', temperature={})", (0.1,), (0, -1)),
    ("as_is(samples={})", (2,), (1,)),
    ("as_is(estimator='pathwise', samples={})", (1,), (0,)),
    ("as_is(estimator={!r})", ("score", "pathwise", "gumbel_softmax"), ("scores",)),
    ("denoising(weighting={!r})", ("bound", "simple"), ("bounds",)),
    ("elbo(beta={})", (0, 4), (-0.1,)),
    ("elbo(warmup={})", (0, 1), (-0.1, 1.1)),
    ("elbo(samples={})", (1,), (0,)),
    ("iwae(samples={})", (2,), (0,)),
    ("input_noise(rate={})", (0, 1), (-0.1, 1.1)),
    ("input_noise(values={!r})", ("uniform", "shuffled"), ("shuffle",)),
    ("learned_order(orders_per_step={})", (2,), (1,)),
    ("learned_order(learning_rate={})", (1e-9,), (0, -1)),
    ("order_agnostic(orders_per_batch={})", (0, 1), (-1,)),
    ("rollout(prefix={})", (-1, 0), (-2,)),
    ("rollout(length={})", (0,), (-1,)),
    ("rollout(grow={})", (0, 1), (-0.1, 1.1)),
    ("rollout(target='match', samples={})", (2,), (1,)),
    ("rollout(target='reverse_kl', oracle='x', samples={})", (2,), (1,)),
    ("rollout(target='data', oracle={!r})", ("",), ("x",)),
    ("scheduled_sampling(final={})", (0, 1), (-0.1, 1.1)),
    ("scheduled_sampling(passes={})", (0,), (-1,)),
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
