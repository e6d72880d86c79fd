"""Combinations of models and objectives on other prefixes that cannot be: one sentence."""

import functools

import jax
import numpy as np
import pytest
from prefix_cases import NETWORKS, TOKENS, loss_and_gradient, model_and_params

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.objectives import make_objective
from arjax.testing.examples import random_like, random_x


@pytest.mark.parametrize(
    ("call", "network", "event", "sentence"),
    [
        ("rollout(length=7)", "lstm", TOKENS, "does not fit into the 6"),
        (
            "rollout(length=2, target='match')",
            "lstm",
            EventSpec((6,), (), "real"),
            "equal values of discrete data, not real",
        ),
        ("as_is(estimator='pathwise')", "lstm", TOKENS, "functions of noise"),
        ("as_is(estimator='straight_through')", "lstm", EventSpec((6,), (), "real"), "discrete scalars"),
        ("as_is(estimator='gumbel_softmax')", "pixelcnn", EventSpec((3, 3), (), "levels", 4), "cannot read relaxed"),
    ],
)
def test_combinations_that_cannot_be_are_refused(call, network, event, sentence):
    model = make_model(
        event, network, conditional="gaussian" if event.kind == "real" else "", **NETWORKS.get(network, {})
    )
    with pytest.raises(UserError, match=sentence):
        make_objective(call).check(model)


def test_models_under_several_orders_are_refused():
    model = make_model(TOKENS, "made", orders="uniform", **NETWORKS["made"])
    for call in ("scheduled_sampling", "input_noise", "rollout", "as_is"):
        with pytest.raises(UserError, match="trains one order"):
            make_objective(call).check(model)
    objective, batch = make_objective("rollout(length=2, target='oracle')"), Batch(random_x(TOKENS, 2))
    with pytest.raises(UserError, match="reads the true conditionals"):
        loss_and_gradient(objective, *model_and_params("made"), batch, jax.random.key(0))


def test_score_functions_of_a_bound_are_refused():
    """Its gradient is not that of log p; objectives without a score function train by the bound."""
    vectors, head = EventSpec((3,), (2,), "real"), "diffusion(steps=3, features=3, width=4, layers=1)"
    model = make_model(vectors, "made", conditional=head, hidden_sizes=(4,))
    for call in ("as_is", "rollout(target='reverse_kl', length=2)"):
        with pytest.raises(UserError, match="needs log p itself, and that of this conditional is of the kind 'bound'"):
            make_objective(call).check(model)
    make_objective("rollout(length=2)").check(model)


def test_score_functions_of_cut_blocks_are_refused():
    more = {"partition": "blocks(size=2)", "conditional": "mixture_of_products(components=2)"}
    model = make_model(TOKENS, "made", **more, **NETWORKS["made"])
    params, x = random_like(model.param_shapes), random_x(TOKENS, 2)
    for call in ("as_is", "rollout(length=1, target='match')"):
        trace = functools.partial(jax.eval_shape, functools.partial(loss_and_gradient, make_objective(call), model))
        with pytest.raises(UserError, match="needs whole blocks, and the examples have masks"):
            trace(params, Batch(x, mask=np.ones(x.shape)), jax.random.key(0))
        trace(params, Batch(x), jax.random.key(0))


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
