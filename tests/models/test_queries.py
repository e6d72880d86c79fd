"""Conditional queries against sums over all values of the joint, and what is no set of sites."""

from __future__ import annotations

import functools
import itertools

import jax
import law_cases as cases
import numpy as np
import pytest
from built import built
from compiled import of_model
from refusals import refusal

from arjax.core.batch import Batch
from arjax.core.spec import EventSpec
from arjax.data import from_arrays
from arjax.evaluation.inpainting import completions_of, score_hidden
from arjax.evaluation.splits import Scoring
from arjax.models import make_model
from arjax.models.queries import evidence_first

EVENT = EventSpec((2, 2))
ALL = cases.all_values(EVENT)
build = functools.partial(built, EVENT)


def sites(*numbers: int) -> np.ndarray:
    return np.isin(np.arange(4), numbers).reshape(2, 2)


def answers(model, params, questions, x=ALL) -> list[np.ndarray]:
    """log p(query | evidence) of each (evidence, query), in one compiled program."""

    def ask(params):
        return [model.conditional_log_prob(params, x, query=sites(*q), evidence=sites(*e)) for e, q in questions]

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


@pytest.mark.parametrize(
    "network", ["made", *(pytest.param(n, marks=pytest.mark.slow) for n in ("transformer", "deep_nade"))]
)
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


#: Orders, the first of which is that of the model, and for observed sites the order that answers, or why none does.
ORDERS = [
    ("any_of(orderings=('reversed', 'list(order=(3, 1, 0, 2))'))", [3, 2, 1, 0], {(3,): [3, 2, 1, 0]}),
    ("any_of(orderings=('reversed', 'raster'))", [0, 1, 2, 3], {}),
    (
        "any_of(orderings=('raster', 'reversed', 'list(order=(3, 1, 0, 2))'))",
        [0, 1, 2, 3],
        {(3,): [3, 2, 1, 0], (3, 1): [3, 1, 0, 2], (2, 0): "none of the 3 orders of this model visits the observed"},
    ),
    # the listed orders are tried first, as they are trained most; a random one answers for all other sites
    (
        "weighted(of=('uniform', 'raster', 'reversed'), weights=(1, 1, 1))",
        [0, 1, 2, 3],
        {(3,): [3, 2, 1, 0], (2, 0): [0, 2, 1, 3]},
    ),
    ("weighted(of=('raster', 'reversed'), weights=(1, 3))", [0, 1, 2, 3], {(2, 0): "none of the 2 orders of this"}),
]


@pytest.mark.parametrize(("orders", "own", "expected"), ORDERS)
def test_only_trained_orders_answer(orders, own, expected):
    model, _ = build(orders=orders)
    assert np.asarray(model.factorization.order).tolist() == own
    for observed, order in expected.items():
        if isinstance(order, str):
            assert order in refusal(evidence_first, model, sites(*observed))
        else:
            assert evidence_first(model, sites(*observed)).order.tolist() == order


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
    assert sentence in refusal(build()[0].conditional_log_prob, build()[1], ALL, query=query, evidence=evidence)


LINE, KEY = EventSpec((3,), (), "levels", 4), jax.random.key(0)
MODEL = make_model(LINE, "made", hidden_sizes=(4,), orders="uniform")
X = np.array([[0, 1, 2], [3, 2, 1]])
LAST, NONE = np.array([0, 0, 1]), np.array([0, 0, 0])
DATASET = from_arrays(LINE, train=X, test=X)


@pytest.fixture(scope="module")
def params():
    return MODEL.init(KEY)


def queries(params, marked):
    """Every function that takes a set of sites, with the name of the set in its messages."""
    return {
        "the query": lambda: MODEL.conditional_log_prob(params, X, query=marked, evidence=NONE),
        "the evidence": lambda: MODEL.conditional_log_prob(params, X, query=LAST, evidence=marked),
        "`observed`": lambda: MODEL.sample(params, KEY, 2, given=X, observed=marked),
        "hidden": lambda: score_hidden(MODEL, params, DATASET, "test", marked, NONE, Scoring(2)),
        "visible": lambda: score_hidden(MODEL, params, DATASET, "test", LAST, marked, Scoring(2)),
    }


@pytest.mark.parametrize(
    ("marked", "message"),
    [
        ([0, 2, 1], "must be 0 or 1 everywhere, not 2"),
        ([np.nan, 0, 0], "must be 0 or 1 everywhere, not nan"),
        (np.ones((2, 3)), "has shape (2, 3), but the grid is (3,)"),
        ("abc", "must be real numbers"),
    ],
)
def test_what_is_no_set_of_sites_is_told(params, marked, message):
    for name, call in queries(params, marked).items():
        assert f"{name} {message}" in refusal(call)
    assert f"hidden {message}" in refusal(completions_of, MODEL, params, Batch(X), marked, 2, KEY)


def test_sets_of_sites_are_no_arguments_of_jitted_functions(params):
    for name in ("the query", "the evidence", "`observed`"):
        traced = jax.jit(lambda marked, name=name: queries(params, marked)[name]())
        assert f"{name} must be known outside `jit`" in refusal(traced, LAST)


def test_hidden_sites_may_be_integers(params):
    done, same = (completions_of(MODEL, params, Batch(X), marked, 2, KEY) for marked in (LAST, LAST > 0))
    np.testing.assert_array_equal(done.drawn, same.drawn)
    assert (done.drawn[:, :, :2] == X[:, None, :2]).all()


def test_a_batch_of_a_split_is_a_whole_number(params):
    sentence = refusal(score_hidden, MODEL, params, DATASET, "test", LAST, NONE, Scoring(2.5))
    assert "the evaluation batch size must be a whole number, at least 1" in sentence
