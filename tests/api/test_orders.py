"""Likelihoods under orders that a user chooses, by enumeration; and of one example without a batch axis."""

import itertools

import numpy as np
import pytest

import arjax
from arjax.api.trained_model import Settings
from arjax.core.errors import UserError, say_once
from arjax.data import Dataset
from arjax.evaluation.report import Measures
from arjax.testing.examples import random_like

X = np.array(list(itertools.product([0, 1], repeat=4)), np.int32).reshape(16, 2, 2)
ANY = "deep_nade", {"hidden_sizes": (5,)}


def model_of(network, options, event=None, num_orders=1, **choices) -> arjax.Fitted:
    """An untrained model with random parameters."""
    event = arjax.EventSpec((2, 2)) if event is None else event
    model = arjax.make_model(event, network, **options, **choices)
    settings = Settings(measures=Measures(num_orders=num_orders))
    return arjax.Fitted(
        model, random_like(model.param_shapes), Dataset("mine", event, model.context_spec, {}), settings
    )


@pytest.fixture(scope="module")
def any_order():
    return model_of(*ANY, orders="uniform")


def by_enumeration(fitted, order):
    """sum_t log p(x_t | x_<t), each conditional from the joint probabilities of its query and its evidence."""
    total = np.zeros(len(X))
    for t, site in enumerate(order):
        sites = [np.isin(np.arange(4), some).reshape(2, 2) for some in ([site], order[:t])]
        total += np.asarray(fitted.model.conditional_log_prob(fitted.params, X, query=sites[0], evidence=sites[1]))
    return total


def test_a_likelihood_under_an_order_is_that_of_its_conditionals(any_order):
    scores = {}
    for ordering, order in {
        "raster": (0, 1, 2, 3),
        "spiral": (0, 1, 3, 2),
        "list(order=(3, 0, 2, 1))": (3, 0, 2, 1),
    }.items():
        scores[ordering] = any_order.log_prob(X, ordering=ordering)
        np.testing.assert_allclose(scores[ordering], by_enumeration(any_order, order), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(np.exp(scores[ordering]).sum(), 1, rtol=1e-5)
    assert np.ptp(np.stack(list(scores.values())), axis=0).max() > 0.01


def test_a_likelihood_under_several_orders_is_that_of_their_mixture(any_order):
    corners = any_order.log_prob(X, orders="any_of(orderings=('raster', 'spiral'))")
    each = [any_order.log_prob(X, ordering=name) for name in ("raster", "spiral")]
    np.testing.assert_allclose(corners, np.logaddexp(*each) - np.log(2), rtol=1e-5)
    several = model_of(*ANY, num_orders=3, orders="uniform")
    for num in (3, np.int64(3)):
        np.testing.assert_allclose(any_order.log_prob(X, orders=num), several.log_prob(X), rtol=1e-5)
    np.testing.assert_allclose(several.log_prob(X, orders="uniform"), several.log_prob(X), rtol=1e-5)


def test_densities_under_an_order_are_those_of_the_units_of_the_data(run):
    x = run.dataset.splits["test"].arrays.x
    np.testing.assert_allclose(run.log_prob(x, ordering="raster"), run.log_prob(x), rtol=1e-6)


def test_one_example_needs_no_batch_axis(any_order):
    for how in ({}, {"ordering": "spiral"}, {"mask": np.eye(2)}):
        one, mask = any_order.log_prob(X[5], **how), how.get("mask")
        batch = any_order.log_prob(X[5:6], **how | ({} if mask is None else {"mask": mask[None]}))
        assert np.shape(one) == () and one == batch[0]
    query = np.array([[True, False], [False, False]])
    assert any_order.conditional_log_prob(X[5], query=query) == any_order.conditional_log_prob(X, query=query)[5]


def test_the_kind_of_a_score_is_stated(any_order, capsys):
    assert (
        any_order.score_kind() == any_order.score_kind(ordering="spiral") == any_order.score_kind(orders=3) == "exact"
    )
    bounds = model_of(*ANY, arjax.EventSpec((2,), (2,), "real"), orders="uniform", conditional="diffusion(steps=2)")
    assert [bounds.score_kind(), bounds.score_kind(ordering="raster"), bounds.score_kind(orders=2)] == [
        *("bound", "bound", "estimate")
    ]
    say_once.cache_clear()
    bounds.log_prob(np.zeros((3, 2, 2)), ordering="raster")
    assert "no exact log-likelihood but of kind 'bound'" in capsys.readouterr().err


def test_an_order_that_was_not_trained_is_said(capsys):
    say_once.cache_clear()
    one = model_of("made", {"hidden_sizes": (5,)})
    np.testing.assert_allclose(one.log_prob(X, ordering="raster"), one.log_prob(X), rtol=1e-5)
    assert not capsys.readouterr().err
    np.testing.assert_allclose(np.exp(one.log_prob(X, ordering="spiral")).sum(), 1, rtol=1e-5)
    assert "was not trained under" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"ordering": "spirla"}, "unknown ordering 'spirla', did you mean 'spiral'"),
        ({"orders": "rastres"}, "'rastres', did you mean 'rasters'"),
        ({"ordering": "raster", "orders": "rasters"}, "give one of the two"),
        ({"orders": 2}, "this model has one order"),
        ({"orders": 0}, "at least 1, not 0"),
        ({"ordering": "variance"}, "training examples|data"),
        ({"ordering": "spiral"}, "raster"),
    ],
)
def test_orders_that_cannot_be_are_one_sentence(choice, sentence):
    fitted = model_of("pixelcnn", {"hidden_size": 4, "num_layers": 1})
    for call in (lambda: fitted.log_prob(X, **choice), lambda: fitted.score_kind(**choice)):
        with pytest.raises(UserError, match=sentence):
            call()


def test_a_kind_without_orders_says_so():
    model = arjax.make_model(arjax.EventSpec((2,), kind="real"), kind="gaussian_mixture", components=1, start="random")
    dataset = Dataset("mine", model.event, model.context_spec, {})
    fitted = arjax.Fitted(model, random_like(model.param_shapes), dataset)
    with pytest.raises(UserError, match="`log_prob` under an order needs the conditionals of an autoregressive model"):
        fitted.log_prob(np.zeros((3, 2)), ordering="raster")
