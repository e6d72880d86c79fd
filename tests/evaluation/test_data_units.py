"""Standardised real data: likelihoods, entropies and samples are reported in the units of the data."""

import dataclasses

import jax
import numpy as np
import pytest

from arjax.core.spec import EventSpec
from arjax.data import from_arrays
from arjax.evaluation.entropy import step_entropy
from arjax.evaluation.likelihood import Evaluator
from arjax.evaluation.splits import Scoring
from arjax.models import make_model
from arjax.parallel.sharding import make_mesh

SCALE, SHIFT = np.float32([0.01, 3.0, 50.0]), np.float32([1.0, -2.0, 0.0])
Z = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
MASK = np.float32(np.arange(60).reshape(20, 3) % 3 != 1)


@pytest.fixture(scope="module")
def scored():
    """A model, its parameters, and how it scores z in both units, with and without a mask."""
    model = make_model(EventSpec((3,), (), "real", 0), "made", hidden_sizes=(8,), ordering="reversed")
    params = jax.jit(model.init)(jax.random.key(0))
    mesh, results = make_mesh(1, 1, 1), {}
    for units, masked in [(u, m) for u in ("z", "x") for m in (False, True)]:
        test = {"x": Z} | ({"mask": MASK} if masked else {})
        data = from_arrays(model.event, train=Z, test=test)
        if units == "x":
            data = dataclasses.replace(data, scale=SCALE, shift=SHIFT)
        results[units, masked] = (
            Evaluator(model, data, Scoring(8, mesh))(params, "test")["nll_nats"],
            step_entropy(model, params, data, "test", Scoring(8)),
        )
    return model, params, results


def test_log_likelihoods_are_those_of_the_data(scored):
    model, params, results = scored
    expected = -np.asarray(jax.jit(model.log_prob)(params, Z)).mean()
    np.testing.assert_allclose(results["z", False][0], expected, rtol=1e-5)
    np.testing.assert_allclose(results["x", False][0], expected + np.log(SCALE).sum(), rtol=1e-5)


def test_a_mixture_of_orders_is_a_density_of_the_data_too():
    """Every order gets the same Jacobian, and so do the mixture and its bound."""
    model = make_model(EventSpec((3,), (), "real", 0), "made", hidden_sizes=(8,), orders="pool(num=2)")
    params, results = jax.jit(model.init)(jax.random.key(0)), []
    for units in ({}, {"scale": SCALE, "shift": SHIFT}):
        data = dataclasses.replace(from_arrays(model.event, train=Z, test=Z), **units)
        results.append(Evaluator(model, data, Scoring(20, num_orders=2))(params, "test"))
    for name in ("nll_nats", "negative_elbo_nats"):
        np.testing.assert_allclose(results[1][name] - results[0][name], np.log(SCALE).sum(), rtol=1e-4)


def test_sites_that_do_not_count_add_nothing(scored):
    _, _, results = scored
    added = results["x", True][0] - results["z", True][0]
    np.testing.assert_allclose(added, np.log(SCALE[[0, 2]]).sum(), rtol=1e-4)


def test_entropies_along_the_order_are_those_of_the_data(scored):
    model, _, results = scored
    order = np.asarray(model.factorization.order)
    for name, places in (("entropy", order), ("nll", order), ("entropy_over_grid", np.arange(3))):
        difference = getattr(results["x", False][1], name) - getattr(results["z", False][1], name)
        np.testing.assert_allclose(difference, np.log(SCALE)[places], rtol=1e-4, atol=1e-5)


def test_a_gaussian_fits_in_any_units():
    """The definition: the density of x = shift + scale z."""
    data = dataclasses.replace(from_arrays(EventSpec((3,), (), "real", 0), train=Z), scale=SCALE, shift=SHIFT)
    x = data.in_data_units(Z)
    np.testing.assert_allclose(x, SHIFT + SCALE * Z, rtol=1e-6)
    np.testing.assert_allclose(data.log_scale_D, np.log(SCALE), rtol=1e-6)
    plain = from_arrays(EventSpec((3,), (), "real", 0), train=Z)
    assert plain.in_data_units(Z) is Z and not plain.log_scale_D.any()
