"""Nested models: exact over the entries of a value, to any depth, with samples and entropies that belong to them."""

from __future__ import annotations

import jax
import law_cases as cases
import numpy as np
import pytest
from built import built, follow
from compiled import of_model

from arjax.conditionals import make_conditional
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec

EVENT = EventSpec((2,), (3,))
INNER = "nested(network='made', hidden_sizes=(12,), features=6)"


def build(conditional: str, event: EventSpec = EVENT, **choice):
    return built(event, "lstm", hidden_size=8, conditional=conditional, **choice)


@pytest.mark.parametrize(
    ("conditional", "event"),
    [
        (INNER, EVENT),
        ("nested(network='nade', hidden_size=7, features=6, ordering='reversed')", EVENT),
        ("nested(hidden_sizes=(9,), features=4, partition='blocks(size=2)')", EventSpec((2,), (4,))),
        ("nested(hidden_sizes=(9,), features=4)", EventSpec((2,), (2,), "levels", 3)),
    ],
)
def test_the_joint_sums_to_one_and_is_the_product_of_both_models(conditional, event):
    model, params = build(conditional, event)
    x = cases.all_values(event)
    log_prob = np.asarray(of_model(model, "log_prob", params, x), np.float64)
    assert log_prob.std() > 0.05 and abs(np.exp(log_prob).sum() - 1) < 1e-5
    inner, features = model.conditional.model, np.asarray(of_model(model, "features", params, x))
    rows, values = features.reshape(-1, features.shape[-1]), x.reshape(-1, *event.value_shape)
    expected = of_model(inner, "log_prob", params["conditional"], values, context=rows)
    np.testing.assert_allclose(log_prob, np.asarray(expected).reshape(len(x), -1).sum(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sampler", ["cached", pytest.param("naive", marks=pytest.mark.slow)])
def test_samples_follow_the_joint(sampler):
    model, params = build(INNER)
    x = model.sample(params, jax.random.key(0), 20_000, sampler=sampler)
    assert follow(x, np.exp(np.asarray(of_model(model, "log_prob", params, cases.all_values(EVENT)), np.float64)))


@pytest.mark.slow
def test_entropy_is_right_on_average_and_the_mode_is_greedy():
    model, params = build(INNER)
    features = np.random.default_rng(0).normal(size=(1, 6)).astype(np.float32)
    values = cases.all_values(EventSpec((3,)))

    @jax.jit
    def facts(params):
        head, many = model.head(params), np.repeat(features, 4000, 0)
        return head.log_prob(np.repeat(features, 8, 0), values), head.entropy(many), head.mode(features)[0]

    log_p, estimates, mode = (np.asarray(fact) for fact in facts(params))
    log_p = log_p.astype(np.float64)
    exact = -(np.exp(log_p) * log_p).sum()
    assert abs(estimates.mean() - exact) < 5 * estimates.std() / 4000**0.5
    p = np.exp(log_p).reshape(2, 2, 2)
    first = p.sum((1, 2)).argmax()
    second = p[first].sum(1).argmax()
    assert mode.tolist() == [first, second, p[first, second].argmax()]


@pytest.mark.slow
def test_dropout_of_the_inner_network_is_on_in_training_only():
    model, params = build("nested(hidden_sizes=(40,), dropout=0.5, features=6)")
    x = cases.random_x(EVENT, 20)
    score = jax.jit(lambda key, train: model.score(params, Batch(x), train=train, key=key).log_prob, static_argnums=1)
    first, again, other = (np.asarray(score(jax.random.key(k), True)) for k in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-2
    np.testing.assert_array_equal(score(jax.random.key(1), False), score(jax.random.key(2), False))


def test_mistakes_are_told():
    for options in ("ordering=3", "partition=1", "conditional=5", "network=[]"):
        with pytest.raises(UserError, match=r"cannot read|unknown network|must be a text, not"):
            make_conditional(f"nested({options})", EVENT)
    for options in ("event=1", "orders='uniform'", "context=3", "dtype='bfloat16'", "data=5"):
        with pytest.raises(UserError, match="has no option"):
            make_conditional(f"nested({options})", EVENT)
    with pytest.raises(UserError, match="is for values that are vectors"):
        make_conditional("nested", EventSpec((3,)))
    with pytest.raises(UserError, match="network 'made' has no option 'hidden', did you mean"):
        make_conditional("nested(hidden=3)", EVENT)
