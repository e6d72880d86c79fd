"""Conditional queries against sums over all values of the joint."""

from __future__ import annotations

import functools
import itertools

import jax
import law_cases as cases
import numpy as np
import pytest
from built import built
from compiled import of_model

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.models.queries import evidence_first

EVENT = EventSpec((2, 2))
ALL = cases.all_values(EVENT)
build = functools.partial(built, EVENT)


def sites(*numbers: int) -> np.ndarray:
    return np.isin(np.arange(4), numbers).reshape(2, 2)


def answers(model, params, questions, x=ALL) -> list[np.ndarray]:
    """log p(query | evidence) of each (evidence, query), in one compiled program."""

    def ask(params):
        return [
            model.conditional_log_prob(params, x, query=sites(*query), evidence=sites(*evidence))
            for evidence, query in questions
        ]

    return [np.asarray(answer) for answer in jax.jit(ask)(params)]


def joint_of(model, params, factorization=None) -> np.ndarray:
    """p(x) of all examples, float64[16], in the order of the model or another."""
    log_prob = of_model(model, "log_prob", params, ALL, factorization=factorization or model.factorization)
    return np.exp(np.asarray(log_prob, np.float64))


def summed(joint: np.ndarray, query: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """log p(query | evidence) of every example, by sums over the table of the joint."""
    flat, keep = ALL.reshape(16, 4), [np.flatnonzero(evidence), np.flatnonzero(query | evidence)]
    marginal = [[joint[(flat[:, k] == row[k]).all(1)].sum() for row in flat] for k in keep]
    return np.log(marginal[1]) - np.log(marginal[0])


def test_an_order_answers_for_its_prefixes():
    model, params = build()
    questions = [((), (0,)), ((0,), (1, 2)), ((0, 1), (2,)), ((0, 1), (3, 2)), ((0,), ())]
    joint = joint_of(model, params)
    for (evidence, query), answer in zip(questions, answers(model, params, questions), strict=True):
        np.testing.assert_allclose(answer, summed(joint, sites(*query), sites(*evidence)), atol=1e-5)


@pytest.mark.parametrize("network", ["made", pytest.param("transformer", marks=pytest.mark.slow), "deep_nade"])
def test_all_orders_answer_for_any_sites(network):
    model, params = build(network, orders="uniform")
    questions = [((3,), (0, 2)), ((1, 3), (0,)), ((), (2,))]
    for (evidence, query), answer in zip(questions, answers(model, params, questions), strict=True):
        joint = joint_of(model, params, evidence_first(model, sites(*evidence), sites(*query)))
        np.testing.assert_allclose(answer, summed(joint, sites(*query), sites(*evidence)), atol=1e-5)


def test_what_is_not_in_the_two_sets_does_not_matter():
    model, params = build(orders="uniform")
    for evidence, query in [((3,), (0, 2)), ((), (2,))]:
        other = np.where(sites(*evidence) | sites(*query), ALL, -1)
        found = [answers(model, params, [(evidence, query)], x)[0] for x in (ALL, other)]
        np.testing.assert_allclose(*found, atol=1e-6)


def test_only_trained_orders_are_used():
    model, _ = build(orders="any_of(orderings=('reversed', 'list(order=(3, 1, 0, 2))'))")
    assert np.asarray(model.factorization.order).tolist() == [3, 2, 1, 0]  # raster is none of them
    assert np.asarray(evidence_first(model, sites(3)).order).tolist() == [3, 2, 1, 0]
    model, _ = build(orders="any_of(orderings=('reversed', 'raster'))")
    assert np.asarray(model.factorization.order).tolist() == [0, 1, 2, 3]


def test_a_pool_answers_with_the_first_order_that_fits():
    model, _ = build(orders="any_of(orderings=('raster', 'reversed', 'list(order=(3, 1, 0, 2))'))")
    assert evidence_first(model, sites(3)).order.tolist() == [3, 2, 1, 0]
    assert evidence_first(model, sites(3, 1)).order.tolist() == [3, 1, 0, 2]
    with pytest.raises(UserError, match="none of the 3 orders of this model visits the observed sites first"):
        evidence_first(model, sites(2, 0))


def test_weighted_orders_answer_with_a_listed_order_or_any():
    """The listed orders are tried first, as they are trained most; a random one answers for all other sites."""
    model, _ = build(orders="weighted(of=('uniform', 'raster', 'reversed'), weights=(1, 1, 1))")
    assert np.asarray(model.factorization.order).tolist() == [0, 1, 2, 3]
    assert evidence_first(model, sites(3)).order.tolist() == [3, 2, 1, 0]
    assert evidence_first(model, sites(2, 0)).order.tolist() == [0, 2, 1, 3]
    model, _ = build(orders="weighted(of=('raster', 'reversed'), weights=(1, 3))")
    with pytest.raises(UserError, match="none of the 2 orders of this model visits the observed sites first"):
        evidence_first(model, sites(2, 0))


@pytest.mark.slow
def test_samples_given_any_sites_follow_the_conditional():
    model, params = build(orders="uniform")
    observed, given = sites(1, 2), np.array([[0, 1], [0, 0]])
    x = np.asarray(model.sample(params, jax.random.key(0), 20_000, given=given, observed=observed))
    assert (x[:, 0, 1] == 1).all() and (x[:, 1, 0] == 0).all()
    probability = answers(model, params, [((1, 2), (0, 3))])[0].reshape(2, 2, 2, 2)
    for a, b in itertools.product((0, 1), repeat=2):
        example = np.array([[[a, 1], [0, b]]])
        p = float(np.exp(probability[tuple(example.ravel())]))
        found = ((x[:, 0, 0] == a) & (x[:, 1, 1] == b)).mean()
        assert abs(found - p) < 5 * (p * (1 - p) / 20_000) ** 0.5


@pytest.mark.slow
def test_sampling_and_queries_may_be_jitted():
    model, params = build(orders="uniform")
    key, given, evidence = jax.random.key(0), ALL[3], sites(1, 2)
    drawn = jax.jit(lambda p, k: model.sample(p, k, 4))(params, key)
    np.testing.assert_array_equal(drawn, model.sample(params, key, 4))
    drawn = jax.jit(lambda p, k, g: model.sample(p, k, 4, given=g, observed=evidence))(params, key, given)
    np.testing.assert_array_equal(drawn, model.sample(params, key, 4, given=given, observed=evidence))
    answer = jax.jit(lambda p, x: model.conditional_log_prob(p, x, query=sites(0), evidence=evidence))(params, ALL)
    joint = joint_of(model, params, evidence_first(model, evidence, sites(0)))
    np.testing.assert_allclose(answer, summed(joint, sites(0), evidence), atol=1e-5)


def test_blocks_are_cut_where_they_can_be():
    model, _ = build(orders="uniform", partition="blocks(size=2)")
    assert set(np.asarray(evidence_first(model, sites(1, 3)).blocks)[0]) == {1, 3}
    assert evidence_first(model, sites(0)) is not None  # a site is independent of its block, given what is before
    assert np.asarray(evidence_first(model, sites(3), sites(1), sites(0)).blocks).tolist() == [[3, 1], [0, 2]]


@pytest.mark.parametrize(
    ("query", "evidence", "sentence"),
    [
        (sites(0), sites(0, 1), "the query and the evidence overlap"),
        (np.ones(4), sites(0), "the query has shape"),
        (sites(0), sites(1), "this order cannot condition on the observed sites: a site drawn in step 0"),
        (sites(1), sites(), "this order cannot leave out the sites that are not in the query: one, of step 0"),
    ],
)
def test_mistakes_are_told(query, evidence, sentence):
    model, params = build()
    with pytest.raises(UserError, match=sentence):
        model.conditional_log_prob(params, ALL, query=query, evidence=evidence)
