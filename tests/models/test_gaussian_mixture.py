"""Mixtures of Gaussians: densities, marginals and conditionals by the formulas of the books, in float64, and EM."""

from __future__ import annotations

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import of_model
from refusals import each_refused, refusal
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import arjax
from arjax.api.arrays import fit_arrays
from arjax.core.batch import Batch
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make, make_model, recipe_of
from arjax.models.gaussian_mixture import fit_by_em, gaussian_params, gaussians, without_holes
from arjax.testing.statistics import chi_square

EVENT = EventSpec((2,), (2,), "real")
COLUMNS = EventSpec((4,), kind="real")
FLOOR = -4.6
D, K = 4, 3


@functools.cache
def build(floor=FLOOR, event=COLUMNS):
    """A mixture with narrow and wide directions, down to the floor."""
    rng = np.random.default_rng(0)
    model = make_model(event, kind="gaussian_mixture", components=K, start="random", min_log_scale=floor)
    rotations = np.linalg.qr(rng.normal(size=(K, D, D)))[0]
    scales = np.exp(np.linspace(floor, 0.7, D)) + np.exp(floor)
    covariances = (rotations * scales**2) @ np.swapaxes(rotations, 1, 2)
    params = gaussian_params(np.array([0.5, 0.3, 0.2]), rng.normal(size=(K, D)), covariances, floor)
    return model, jax.tree.map(np.float32, params)


def log_density(params, x_D, observed_D, floor=FLOOR):
    """log p of the observed values by scipy, and the log-weights of the components given these, [K]."""
    log_w, means, covariances = gaussians(params, floor)
    if not observed_D.any():
        return 0.0, log_w
    part = np.ix_(observed_D, observed_D)
    x_D = x_D.astype(np.float64)[observed_D]
    normals = [multivariate_normal(means[k][observed_D], covariances[k][part]) for k in range(K)]
    log_joint_K = log_w + [normal.logpdf(x_D) for normal in normals]
    return logsumexp(log_joint_K), log_joint_K - logsumexp(log_joint_K)


def conditional(params, x_D, observed_D):
    """Means and covariances of the other values given the observed ones, of each component: Bishop, 2.81 and 2.82."""
    _, means, covariances = gaussians(params, FLOOR)
    o, u = observed_D, ~observed_D
    found = []
    for mean, covariance in zip(means, covariances, strict=True):
        gain = covariance[np.ix_(u, o)] @ np.linalg.inv(covariance[np.ix_(o, o)])
        found.append((mean[u] + gain @ (x_D[o] - mean[o]), covariance[np.ix_(u, u)] - gain @ covariance[np.ix_(o, u)]))
    return found


@functools.cache
def rows(num=40, floor=FLOOR):
    model, params = build(floor)
    return np.asarray(model.sample(params, jax.random.key(1), num))


@functools.cache
def holes(num=40):
    """Rows with missing values: all patterns occur, none and all missing among them."""
    patterns = (np.arange(num)[:, None] >> np.arange(D)) & 1
    return np.where(patterns, np.nan, rows(num)).astype(np.float32)


@pytest.mark.parametrize("floor", [-7.0, *(pytest.param(floor, marks=pytest.mark.slow) for floor in (FLOOR, -1.0))])
def test_the_density_is_that_of_scipy(floor):
    """Also where the condition number of a covariance is 10^6."""
    model, params = build(floor)
    x = rows(floor=floor)
    expected = [log_density(params, x_D, np.ones(D, bool), floor)[0] for x_D in x]
    np.testing.assert_allclose(of_model(model, "log_prob", params, x), expected, rtol=1e-4, atol=1e-3)
    assert model.score_kind == "exact" and model.num_params == K * (1 + D + D * (D + 1) // 2)


def test_values_that_are_nan_are_integrated_over():
    model, params = build()
    found = model.log_prob(params, holes())
    expected = [log_density(params, x_D, ~np.isnan(x_D))[0] for x_D in holes()]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-4)
    assert found[15] == 0  # all values are missing
    np.testing.assert_allclose(model.score(params, Batch(jnp.asarray(holes()))).log_prob, found, rtol=1e-5)


def test_a_site_of_which_one_scalar_is_missing_is_missing():
    """Its other scalars are no evidence, neither for a score, with its mask or without, nor for a query."""
    model, params = build(event=EventSpec((2,), (2,), "real"))
    some = np.repeat(rows(1).reshape(1, 2, 2), 2, 0)
    some[0, 0], some[1, 0, 1] = np.nan, np.nan
    for mask in (None, np.float32([[0, 1], [0, 1]])):
        whole, part = model.score(params, Batch(some, mask=mask)).log_prob
        assert whole == part
    first, second = np.eye(2, dtype=bool)
    whole, part = model.conditional_log_prob(params, some, query=second, evidence=first)
    assert whole == part


@pytest.mark.slow
def test_gradients_are_those_of_differences_whether_values_are_missing_or_not():
    model, params = build(-2.0)
    x = rows(8, -2.0)
    gradient = jax.jit(jax.grad(lambda params, x: model.score(params, Batch(x)).log_prob.mean()))
    some = x.copy()
    some[0] = np.nan  # of a row without values the score is 0, whatever the parameters
    of_all, of_some, of_rest = (gradient(params, each) for each in (x, some, x[1:]))
    for name in params:
        assert np.isfinite(of_some[name]).all()
        np.testing.assert_allclose(of_some[name], 7 / 8 * of_rest[name], rtol=1e-3, atol=1e-5)
    direction = jax.tree.map(lambda leaf: np.random.default_rng(1).normal(size=leaf.shape), params)
    moved = [{name: params[name].astype(float) + step * direction[name] for name in params} for step in (-1e-5, 1e-5)]
    low, high = (np.mean([log_density(each, x_D, np.ones(D, bool), -2.0)[0] for x_D in x]) for each in moved)
    slope = sum((np.asarray(of_all[name], float) * direction[name]).sum() for name in params)
    assert slope == pytest.approx((high - low) / 2e-5, rel=1e-3)


@pytest.mark.slow
def test_values_of_any_size_have_gradients():
    """Columns in the thousands have entries of the roots off the diagonal whose exponential is infinite."""
    model = make_model(EventSpec((2,), (), "real", 0), kind="gaussian_mixture", components=1, start="random")
    root = np.array([[2000.0, 0], [900.0, 500.0]])
    params = {"weights": jnp.zeros(1), "means": jnp.zeros((1, 2))}
    params["roots"] = jnp.array([[np.log(2000), 900, np.log(500)]], jnp.float32)
    x = np.array([[1500.0, -300.0]], np.float32)
    found = jax.grad(lambda params: model.log_prob(params, x).sum())(params)["roots"][0]
    noise = np.linalg.solve(root, x[0])
    of_root = np.linalg.solve(root.T, np.outer(noise, noise)) - np.diag(1 / np.diag(root))
    expected = [of_root[0, 0] * 2000, of_root[1, 0], of_root[1, 1] * 500]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_any_columns_given_any_others():
    model, params = build()
    x = rows()
    query, evidence = np.array([0, 1, 0, 0], bool), np.array([1, 0, 0, 1], bool)
    found = model.conditional_log_prob(params, x, query=query, evidence=evidence)
    expected = [log_density(params, x_D, query | evidence)[0] - log_density(params, x_D, evidence)[0] for x_D in x]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    elsewhere = np.where(query | evidence, x, np.nan)
    np.testing.assert_array_equal(model.conditional_log_prob(params, elsewhere, query=query, evidence=evidence), found)
    first = model.conditional_log_prob(params, x, query=evidence, evidence=np.zeros(D, bool))
    rest = model.conditional_log_prob(params, x, query=~(query | evidence), evidence=query | evidence)
    np.testing.assert_allclose(first + found + rest, model.log_prob(params, x), rtol=1e-4, atol=1e-3)
    mask, sites = np.array([1, 1, 0, 1]) * np.ones((len(x), 1)), {"query": query | [0, 0, 1, 0], "evidence": evidence}
    expected = model.conditional_log_prob(params, x, query=query, evidence=np.array([1, 0, 1, 1], bool))
    np.testing.assert_allclose(model.conditional_log_prob(params, x, mask=mask, **sites), expected, atol=1e-4)
    expected = model.conditional_log_prob(params, x, query=mask[0] > 0, evidence=mask[0] == 0)
    np.testing.assert_allclose(model.score(params, Batch(x, mask=mask)).log_prob, expected, rtol=1e-4, atol=1e-4)
    missing = x.copy()
    missing[:, 3] = np.nan
    known = evidence & ~np.isnan(missing[0])
    fewer = model.conditional_log_prob(params, x, query=query, evidence=known)
    found = model.conditional_log_prob(params, missing, query=query, evidence=evidence)
    np.testing.assert_allclose(found, fewer, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("observed", [(0, 1, 0, 1), (0, 0, 0, 0)])
def test_draws_given_observed_values_follow_the_conditional(observed):
    model, params = build()
    observed, given = np.array(observed, bool), rows()[3]
    keys = jax.random.split(jax.random.key(5), 4000)
    draw = model.draw(params, keys, given=given, observed=observed)
    drawn = np.asarray(draw.x, np.float64)
    np.testing.assert_array_equal(draw.stats["network_calls"], 1)
    np.testing.assert_array_equal(drawn[:, observed], np.tile(given[observed], (4000, 1)))
    log_w = log_density(params, given, observed)[1]
    parts = conditional(params, given, observed)
    normals = [multivariate_normal(mean, covariance) for mean, covariance in parts]
    log_joint = np.stack([log_w[k] + normals[k].logpdf(drawn[:, ~observed]) for k in range(K)])
    # The most probable component of each draw, beside that of draws of numpy: the counts follow one distribution.
    rng = np.random.default_rng(0)
    of = rng.choice(K, 40_000, p=np.exp(log_w))
    z = np.stack([rng.multivariate_normal(*parts[k], size=40_000) for k in range(K)])[of, np.arange(40_000)]
    expected = np.bincount(np.stack([log_w[k] + normals[k].logpdf(z) for k in range(K)]).argmax(0), minlength=K)
    assert chi_square(np.bincount(log_joint.argmax(0), minlength=K), expected / 40_000) > 1e-4
    np.testing.assert_allclose(drawn[:, ~observed].mean(0), z.mean(0), atol=5 * z.std() / 60)
    np.testing.assert_allclose(np.cov(drawn[:, ~observed].T), np.cov(z.T), rtol=0.1, atol=0.05)
    each = model.draw(params, keys[:9], given=rows()[:9], observed=observed, temperature=1e-9).x
    np.testing.assert_array_equal(np.asarray(each)[:, observed], rows()[:9][:, observed])
    if not observed.any():
        np.testing.assert_allclose(each, np.tile(parts[log_w.argmax()][0], (9, 1)), atol=1e-3)


def clusters(num=300, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num, D)) * [1, 0.5, 0.1, 1] + rng.integers(2, size=(num, 1)) * 3
    x[:, 3] = x[:, 0] + 0.003 * rng.normal(size=num)
    return x.astype(np.float32)


def test_the_start_is_where_em_of_scikit_learn_ends():
    x, key = clusters(), jax.random.key(7)
    model = make_model(COLUMNS, kind="gaussian_mixture", components=3, min_log_scale=FLOOR, data=x, em_starts=2)
    params = jax.jit(model.init)(key)
    jax.tree.map(np.testing.assert_array_equal, params, model.init(key))
    fit = fit_by_em(x, 3, np.exp(2 * FLOOR), 2, 100, int(jax.random.bits(key)))
    np.testing.assert_allclose(model.log_prob(params, x), fit.score_samples(x.astype(float)), rtol=1e-4, atol=1e-3)
    other = model.init(jax.random.key(8))
    assert np.abs(np.asarray(other["means"]) - params["means"]).max() > 1e-3
    shapes = make_model(COLUMNS, kind="gaussian_mixture", components=3, start="random").param_shapes
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)


@pytest.mark.slow
def test_em_reads_rows_without_holes_or_fills_these():
    x = clusters()
    x[::4, 1] = np.nan
    np.testing.assert_array_equal(without_holes(x, 200, 0), x[~np.isnan(x[:, 1])])
    filled = without_holes(x, 226, 0)
    np.testing.assert_array_equal(filled[~np.isnan(x)], x[~np.isnan(x)])
    assert np.isin(filled[::4, 1], x[:, 1]).all() and len(np.unique(filled[::4, 1])) > 30
    x[:, 0] = np.nan
    assert (without_holes(x, 1, 0)[:, 0] == 0).all()


@pytest.mark.slow
def test_no_direction_is_narrower_than_the_floor():
    repeated = np.repeat(clusters(20), 10, 0)  # 20 points: each can have a component of its own
    model = make_model(COLUMNS, kind="gaussian_mixture", components=20, min_log_scale=-2.0, data=repeated)
    params = model.init(jax.random.key(0))
    least = np.linalg.eigvalsh(gaussians(params, -2.0)[2]).min()
    assert least == pytest.approx(np.exp(-4.0), rel=1e-3)
    narrow = params | {"roots": params["roots"] - 50.0 * np.equal(*np.tril_indices(D))}
    assert np.linalg.eigvalsh(gaussians(narrow, -2.0)[2]).min() > 0.999 * np.exp(-4.0)
    assert np.isfinite(model.log_prob(narrow, repeated)).all()


@pytest.mark.slow
def test_training_goes_on_from_em_and_a_file_holds_the_model(tmp_path):
    x = clusters()
    model = make_model(COLUMNS, kind="gaussian_mixture", components=2, min_log_scale=FLOOR, data=x, em_iterations=1)
    before = float(np.mean(model.log_prob(jax.jit(model.init)(jax.random.key(0)), x)))
    options = {"steps": 60, "eval_every": 30, "learning_rate": 3e-3, "quiet": True}
    fitted = arjax.fit_arrays(model, train=x, validation=clusters(100, 1), **options)
    assert float(np.mean(model.log_prob(fitted.params, x))) > before
    fitted.save(tmp_path / "model.safetensors")
    again = arjax.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.model.log_prob(again.params, x), model.log_prob(fitted.params, x))
    refused = refusal(again.model.init, jax.random.key(0))
    assert "EM needs training examples, and a model from a file holds none" in refused
    recipe = recipe_of(model)
    assert not recipe.arrays and recipe.examples is None and len(json.dumps(recipe.as_json())) < 1000
    assert repr(make(recipe)) == repr(model)


@pytest.mark.slow
def test_it_is_a_member_of_mixtures():
    x = clusters()
    choice = arjax.models.ModelChoice("gaussian_mixture", {"components": 2, "min_log_scale": FLOOR})
    parts = {"a": choice, "b": arjax.models.ModelChoice(network="fvsbn")}
    mixture = make_model(COLUMNS, kind="mixture", parts=parts, data=x)
    params = jax.jit(mixture.init)(jax.random.key(0))
    member = mixture.members[0]
    alone = member.log_prob(params["0"], x)
    assert float(alone.mean()) > 0  # where EM ends, not where a random start is
    found = mixture.log_prob(params | {"weights": np.float32([20, -20])}, x)
    np.testing.assert_allclose(found, alone, rtol=1e-4)


def mixture(event=COLUMNS, **choice):
    return make_model(event, kind="gaussian_mixture", **choice)


HALF = np.array([1, 1, 0, 0], bool)
test_refusals = each_refused(
    (lambda m, p: mixture(EventSpec((4,))), "the kind of model 'gaussian_mixture' is for real values, not binary"),
    (lambda m, p: mixture(context=ContextSpec("label", 2)), "has no context: leave it out of the data$"),
    (lambda m, p: mixture(), "^EM needs training examples: give them to make_model as `data`, or take the option"),
    (lambda m, p: mixture(data=clusters(), components=301), "^EM of 301 .* training examples, and there are 300$"),
    (lambda m, p: m.conditional_log_prob(p, rows(), query=HALF, evidence=HALF), "overlap"),
    (lambda m, p: m.log_prob(p, np.where(HALF, np.inf, rows())), "x of real data must be finite"),
    (lambda m, p: m.draw(p, jax.random.split(jax.random.key(0)), observed=HALF), "go together: pass both or neither"),
    given=build,
)


@pytest.mark.slow
def test_a_data_set_with_holes_is_trained_on_and_scored():
    """The mask of such a set marks the values that are there, so the score is their marginal."""
    x = clusters()[:, :2].astype(np.float32)
    model = make_model(EventSpec((2,), kind="real"), kind="gaussian_mixture", components=2, data=x.copy())
    x[::3, 0], x[1::4, 1] = np.nan, np.nan
    fitted = fit_arrays(model, train=x[:200], validation=x[200:], steps=5, quiet=True)
    there = x[200:][~np.isnan(x[200:]).all(1)]
    nats = -np.asarray(model.log_prob(fitted.params, there))
    assert fitted.results["nll_nats"] == pytest.approx(nats.mean(), rel=1e-4)
