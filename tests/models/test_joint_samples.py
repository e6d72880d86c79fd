"""Samples, completions and queries of joint conditionals, within a step and across steps."""

from __future__ import annotations

import itertools

import jax
import law_cases as cases
import numpy as np
import pytest
from joint_cases import (
    ALL,
    BACKWARDS,
    EVENT,
    MIXTURE,
    NESTED,
    build,
    each,
    follow,
    joint,
    marginal,
)

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.models.queries import evidence_first

#: Law 4 draws from every network; here one of them is enough.
SAMPLED = [
    pytest.param(conditional, network, marks=() if network == "made" else pytest.mark.slow)
    for conditional, network in itertools.product([MIXTURE, BACKWARDS], ["made", "lstm", "transformer", "deep_nade"])
]


@pytest.mark.slow
@pytest.mark.parametrize(("conditional", "network"), SAMPLED)
def test_samples_are_the_same_for_all_samplers_and_follow_the_joint(conditional, network):
    model, params = build(conditional, "sizes(sizes=(1, 3, 2))", network)
    key, num = jax.random.key(1), 8000
    x = np.asarray(model.sample(params, key, num, sampler="cached"))
    same = (x[:500] == np.asarray(model.sample(params, key, num, sampler="naive"))[:500]).all()
    assert same or network != "made"  # features of other networks may differ in their last digit, and a draw with them
    p = joint(model, params)
    assert follow(x, p)


@pytest.mark.slow
@pytest.mark.parametrize("observed", [(0, 2), (0, 1, 2, 4), (5, 0, 1, 2)])
@pytest.mark.parametrize("sampler", ["cached", "naive"])
def test_a_mixture_completes_a_step_given_any_of_its_sites(sampler, observed):
    model, params = build(MIXTURE, "rows")
    given, where = np.array([[1, 0, 1], [0, 1, 1]]), np.isin(np.arange(6), observed).reshape(2, 3)
    num = 20_000
    x = np.asarray(model.sample(params, jax.random.key(0), num, sampler=sampler, given=given, observed=where))
    assert (x[:, where] == given[where]).all()
    p = joint(model, params) * (ALL[:, where] == given[where]).all(1)
    assert follow(x, p)


@pytest.mark.slow
def test_a_nested_step_is_completed_where_the_given_sites_are_visited_first():
    given, num = np.array([[1, 0, 1], [0, 1, 1]]), 20_000
    for conditional, first, last in ((NESTED, 0, 2), (BACKWARDS, 2, 0)):
        model, params = build(conditional, "rows")
        where = np.zeros((2, 3), bool)
        where[0, first] = True
        x = np.asarray(model.sample(params, jax.random.key(0), num, given=given, observed=where))
        p = joint(model, params) * (ALL[:, where] == given[where]).all(1)
        assert follow(x, p)
        where = np.zeros((2, 3), bool)
        where[0, last] = True
        with pytest.raises(UserError, match="of step 0, whose sites depend on one another; use an ordering"):
            model.sample(params, jax.random.key(0), 2, given=given, observed=where)


@pytest.mark.slow
def test_truncated_samples_of_a_nested_step_are_greedy_in_the_end():
    model, params = build(NESTED, "sizes(sizes=(1, 3, 2))")
    x = np.asarray(model.sample(params, jax.random.key(0), 5, top_k=1))
    colder = np.asarray(model.sample(params, jax.random.key(1), 5, temperature=1e-5))
    np.testing.assert_array_equal(x, colder)
    with pytest.raises(UserError):
        build(MIXTURE)[0].sample(params, jax.random.key(0), 2, top_k=1)


def sites(*numbers: int) -> np.ndarray:
    return np.isin(np.arange(6), numbers).reshape(2, 3)


def answers(model, params, questions) -> list[np.ndarray]:
    """log p(query | evidence) of all examples for each (evidence, query), in one compiled program."""

    def ask(params):
        return [model.conditional_log_prob(params, ALL, query=sites(*q), evidence=sites(*e)) for e, q in questions]

    return [np.asarray(answer) for answer in jax.jit(ask)(params)]


@pytest.mark.slow
@each
def test_queries_within_a_step_are_answered_in_turn_or_given_any_sites_or_refused(conditional):
    model, params = build(conditional, "rows")
    p, first, last = joint(model, params), *((2, 0) if conditional == BACKWARDS else (0, 2))
    in_turn = [((first,), (1,)), ((first, 1), (last,)), ((0, 1, 2, 3 + first), (4,))]
    against = [((last,), (1,)), ((last, 1), (first,)), ((0, 1, 2, 3 + last), (3 + first, 4))]
    questions = in_turn + (against if model.conditional.any_given else [])
    for (evidence, query), answer in zip(questions, answers(model, params, questions), strict=True):
        expected = np.log(marginal(p, evidence + query)) - np.log(marginal(p, evidence))
        np.testing.assert_allclose(answer, expected, atol=2e-5)
    for question in [] if model.conditional.any_given else against:
        with pytest.raises(UserError, match="whose sites depend on one another"):
            answers(model, params, [question])


@pytest.mark.parametrize("conditional", [pytest.param(MIXTURE, marks=pytest.mark.slow), BACKWARDS])
def test_all_orders_answer_for_sites_within_a_step(conditional):
    model, params = build(conditional, "blocks(size=3)", orders="uniform")
    answer = np.exp(answers(model, params, [((5, 1), (0, 4))])[0].astype(np.float64))
    values, index = np.unique(ALL.reshape(-1, 6)[:, [5, 1, 0, 4]], axis=0, return_index=True)
    assert len(values) == 16 and abs(answer[index].sum() - 4) < 1e-5  # one distribution per value of the evidence


@pytest.mark.slow
def test_evidence_fills_the_indices_that_are_visited_first():
    """The inner model visits a block from its end: an order that puts the evidence there exists under `uniform`."""
    conditional = "nested(features=4, ordering='reversed')"
    model = make_model(
        EventSpec((8,)),
        "made",
        partition="blocks(size=4)",
        orders="uniform",
        conditional=conditional,
        hidden_sizes=(8,),
    )
    params, evidence = cases.random_like(model.param_shapes), np.arange(8) < 2
    x = cases.random_x(model.event, 3)
    score = jax.jit(lambda p: model.conditional_log_prob(p, x, query=~evidence, evidence=evidence))(params)
    assert np.isfinite(score).all()


class Asked(Exception):
    """Ends a call once the order of a query is looked for."""


@pytest.mark.parametrize("call", ["draw", "score"])
def test_one_query_has_one_order(monkeypatch, call):
    """What is drawn given some sites is scored in the order in which it was drawn: that of the same groups."""
    observed = np.isin(np.arange(6), (1, 2)).reshape(2, 3)

    def noted(model, *groups):
        np.testing.assert_array_equal(groups, [observed, ~observed])
        raise Asked

    monkeypatch.setattr("arjax.models.autoregressive.evidence_first", noted)
    model, params = build(MIXTURE)
    with pytest.raises(Asked):
        if call == "draw":
            model.sample(params, jax.random.key(0), 1, given=ALL[0], observed=observed)
        else:
            model.conditional_log_prob(params, ALL[:1], query=~observed, evidence=observed)


@pytest.mark.parametrize("orders", ["", "uniform", "pool(num=4)", "any_of(orderings=('reversed', 'snake'))"])
@pytest.mark.parametrize("conditional", ["bernoulli", MIXTURE, NESTED, BACKWARDS])
def test_some_sites_have_an_order_and_under_all_orders_all_have(orders, conditional):
    model = make_model(
        EVENT, "made", hidden_sizes=(4,), orders=orders, partition="sizes(sizes=(1, 3, 2))", conditional=conditional
    )
    answered = 0
    for number in range(1, 63):
        observed = np.array([number >> i & 1 for i in range(6)], bool).reshape(2, 3)
        try:
            evidence_first(model, observed, ~observed)
        except UserError:
            continue
        answered += 1
    assert answered == 62 if orders == "uniform" else answered > 2


@pytest.mark.parametrize(
    ("orders", "observed"),
    [
        ("uniform", (2, 4)),
        *(pytest.param(*c, marks=pytest.mark.slow) for c in (("", (2, 4)), ("", (1,)), ("uniform", (1,)))),
    ],
)
def test_draws_have_the_probabilities_that_they_are_scored_with(orders, observed):
    if not orders and observed == (2, 4):
        observed = (0, 1, 2, 5)
    model, params = build(MIXTURE, "rows" if not orders else "blocks(size=2)", orders=orders)
    where, num = np.isin(np.arange(6), observed).reshape(2, 3), 20_000
    x = np.asarray(model.sample(params, jax.random.key(0), num, given=ALL[21], observed=where))
    keep = (ALL[:, where] == ALL[21][where]).all(1)
    rest = tuple(np.flatnonzero(~where.ravel()))
    p = np.exp(answers(model, params, [(observed, rest)])[0].astype(np.float64)) * keep
    assert abs(p.sum() - 1) < 1e-5
    assert follow(x, p)
