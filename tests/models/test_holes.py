"""Missing values in models: queries, features, runs from data to results, and what refuses them."""

from __future__ import annotations

import jax
import law_cases as cases
import numpy as np
import pytest
from built import built
from refusals import refusal

import arjax
from arjax.api.conditionals import site_conditionals
from arjax.core.batch import Batch
from arjax.core.spec import EventSpec
from arjax.data import from_arrays
from arjax.factorization import from_order
from arjax.models import make_model
from arjax.testing.examples import with_holes

EVENT = cases.EVENTS["columns"]
X = cases.random_x(EVENT, 8)
HOLES = with_holes(EVENT, X)
MISSING = np.isnan(HOLES)


def model_and_params(event=EVENT, **choice):
    return built(event, "deep_nade", **{"orders": "uniform", "hidden_sizes": (12,), **choice})


def sites(*numbers):
    return np.isin(np.arange(6), numbers)


@pytest.mark.slow
def test_a_missing_site_is_neither_evidence_nor_asked_for():
    model, params = model_and_params()

    def asked(x, query, evidence):
        return np.asarray(model.conditional_log_prob(params, x, query=sites(*query), evidence=sites(*evidence)))

    x = X[:1].copy()
    x[:, 2] = np.nan
    np.testing.assert_allclose(asked(x, (0, 2), (1, 3)), asked(X[:1], (0,), (1, 3)), rtol=1e-5)
    np.testing.assert_allclose(asked(x, (0, 4), (1, 2)), asked(X[:1], (0, 4), (1,)), rtol=1e-5)
    assert asked(x, (2,), (0, 1)) == 0
    x[:, 5] = np.nan  # outside of both sets
    np.testing.assert_allclose(asked(x, (0, 2), (1, 3)), asked(X[:1], (0,), (1, 3)), rtol=1e-5)


def test_features_and_scores_of_sites():
    model, params = model_and_params()
    observed = np.random.default_rng(0).random(X.shape) < 0.5
    features = jax.jit(lambda x, observed: model.features_given(params, x, observed))
    expected = np.asarray(features(X, observed & ~MISSING))
    np.testing.assert_allclose(features(HOLES, observed), expected, rtol=1e-5, atol=1e-6)
    log_prob, entropy = map(np.asarray, jax.jit(lambda x: model.conditionals(params, x))(HOLES))
    assert (log_prob[MISSING] == 0).all() and (log_prob[~MISSING] != 0).all() and np.isfinite(entropy).all()
    mask = np.arange(6) < 3  # of the mask and the values
    per_site = jax.jit(lambda x: model.log_prob_per_site(params, x, mask=np.broadcast_to(mask, x.shape)))(HOLES)
    np.testing.assert_allclose(per_site, np.where(mask, log_prob, 0), rtol=1e-5, atol=1e-6)
    scored = jax.jit(lambda x: model.score(params, Batch(x)))(HOLES)
    np.testing.assert_allclose(scored.log_prob, log_prob.sum(1), rtol=1e-4)
    assert scored.kind == "exact" and scored.log_prob[1] == 0  # nothing of it is known


def test_sites_without_a_value_have_no_log_prob_among_the_conditionals():
    model, params = model_and_params(event=EventSpec((4,), (), "real"), conditional="gaussian")
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    x[0, 1], x[1] = np.nan, np.nan
    found = site_conditionals(model, params, Batch(x), np.zeros(4), jax.random.key(0))
    np.testing.assert_array_equal(found.log_prob != 0, ~np.isnan(x))
    np.testing.assert_allclose(found.log_prob.sum(1), model.log_prob(params, x), rtol=1e-5)


@pytest.mark.slow
def test_vectors_are_missing_as_a_whole():
    event = EventSpec((3,), (2,), "real")
    model, params = model_and_params(event)
    x = cases.random_x(event, 4)
    one, both = x.copy(), x.copy()
    one[:, 1, 0] = both[:, 1] = np.nan
    log_prob = jax.jit(lambda x: model.log_prob_per_site(params, x))
    np.testing.assert_array_equal(log_prob(one), log_prob(both))
    assert (np.asarray(log_prob(one))[:, 1] == 0).all()


@pytest.mark.slow
def test_a_run_on_examples_with_missing_values():
    """Bits per scalar are over the observed ones, nats over the examples with some."""
    model = make_model(EVENT, "deep_nade", orders="uniform", hidden_sizes=(12,))
    train, test = cases.random_x(EVENT, 60), cases.random_x(EVENT, 20, seed=1)
    choice = {"steps": 40, "batch_size": 10, "learning_rate": 1e-2, "quiet": True}
    fitted = arjax.fit_arrays(model, train=with_holes(EVENT, train), test=with_holes(EVENT, test, seed=5), **choice)
    observed = ~np.isnan(with_holes(EVENT, test, seed=5))
    (order,) = model.orders.members(1)
    log_prob = np.asarray(fitted.model.log_prob(fitted.params, with_holes(EVENT, test, seed=5), factorization=order))
    np.testing.assert_allclose(fitted.results["nll_nats"], -log_prob.sum() / 19, rtol=1e-4)  # one row has no value
    bits = -log_prob.sum() / np.log(2) / observed.sum()
    np.testing.assert_allclose(fitted.results["bits_per_dim"], bits, rtol=1e-4)
    assert np.isfinite(np.asarray(fitted.model.sample(fitted.params, jax.random.key(0), 5))).all()


MADE = EventSpec(
    (3,), kind="columns", columns=(EventSpec((), (), "real"), EventSpec(()), EventSpec((), (), "tokens", 3))
)


def made_rows(num: int, seed: int) -> np.ndarray:
    """Rows of a measurement, a truth value and a word; the measurement is normal given the other two."""
    rng = np.random.default_rng(seed)
    bit = (rng.random(num) < 0.4).astype(int)
    word = (rng.random((num, 1)) > np.array([[0.6, 0.9], [0.2, 0.4]])[bit]).sum(1)
    mean, scale = np.array([[0, 1, -1], [0.5, -0.5, 2]]), np.array([[1, 0.5, 0.7], [0.6, 1, 0.5]])
    return np.stack([mean[bit, word] + scale[bit, word] * rng.normal(size=num), bit, word], 1).astype(np.float32)


@pytest.mark.slow
def test_holes_at_random_leave_the_fitted_density_where_it_is():
    """Within two standard errors of the fit to as many rows without holes, where p of a row is in the family of the
    model; the fit to rows with 0 in the holes is not.
    """
    model = make_model(MADE, "deep_nade", orders="uniform", hidden_sizes=(48, 48))
    order = from_order(np.array([1, 2, 0]), [1, 1, 1], (3,))
    train, test = made_rows(20_000, 0), made_rows(4000, 1)
    holes = np.where(np.random.default_rng(2).random(train.shape) < 0.3, np.nan, train)
    choice = {"steps": 2000, "batch_size": 200, "learning_rate": 3e-3, "schedule": "cosine", "ema_decay": 0.99}

    def nats(x):
        fitted = arjax.fit_arrays(model, train=x, **choice, eval_every=2000, quiet=True)
        score = jax.jit(lambda params, x: model.log_prob(params, x, factorization=order))
        return -np.asarray(score(fitted.params, test), np.float64)

    whole = nats(train)
    difference = nats(holes) - whole
    assert abs(difference.mean()) < 2 * difference.std() / len(test) ** 0.5
    assert (nats(np.nan_to_num(holes)) - whole).mean() > 0.1


def test_what_takes_none_refuses_them_before_the_training():
    data = from_arrays(EVENT, train=HOLES, validation=X)
    real = cases.EVENTS["real"]
    holes = with_holes(real, cases.random_x(real, 8))
    needs = "has missing values, and this model takes none: a missing value (NaN) needs a model of"
    of_pairs = {"partition": "blocks(size=2)", "conditional": "mixture_of_products"}
    for model, train in (
        (make_model(EVENT, "made", hidden_sizes=(8,)), data),
        (make_model(real, "deep_nade", **of_pairs), holes),
    ):
        assert "holes" not in model.traits
        assert needs in refusal(arjax.fit_arrays, model, train=train, steps=1)
    model, params = model_and_params()
    assert "holes" in model.traits
    sentence = refusal(model.sample, params, jax.random.key(0), 1, given=HOLES[1], observed=sites(0))
    assert "given of columns data must be finite " in sentence and "nan: a missing value is not observed" in sentence
    noisy = make_model(real, "deep_nade", hidden_sizes=(8,))
    sentence = refusal(arjax.fit_arrays, noisy, train=holes, steps=1, objective="input_noise(rate=0.1)")
    assert "the objective 'input_noise' takes none: take learned_order or order_agnostic or" in sentence
    tokens = make_model(cases.EVENTS["tokens"], "deep_nade", hidden_sizes=(8,))
    assert "holes" not in tokens.traits
    sentence = refusal(tokens.log_prob, tokens.init(jax.random.key(0)), np.full((1, 3, 2), np.nan))
    assert "x of tokens data must be integers, not float" in sentence
