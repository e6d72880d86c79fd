"""Entropy along the order, on models whose conditionals are known, and scores in the units of standardised data."""

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

EVENT = EventSpec((2, 3), kind="levels", num_levels=4)


@pytest.fixture(scope="module")
def parts():
    model = make_model(EVENT, "made", hidden_sizes=(8,), ordering="reversed", partition="blocks(size=2)")
    x = np.random.default_rng(0).integers(0, 4, (7, 2, 3))
    mask = np.ones((7, 2, 3), np.float32)
    mask[:3, 0, 0] = 0
    return model, jax.jit(model.init)(jax.random.key(0)), x, mask


def by_hand(model, params, x, mask):
    """[N, S] entropies and -log p by step, and which rows count, one example at a time."""
    log_prob, entropy = (np.asarray(v, np.float64).reshape(len(x), -1) for v in jax.jit(model.conditionals)(params, x))
    mask = mask.reshape(len(x), -1)
    blocks = np.asarray(model.factorization.blocks)
    return [np.stack([(v * mask)[:, sites].sum(1) for sites in blocks], 1) for v in (entropy, -log_prob)]


@pytest.mark.parametrize("batch_size", [2, 7, 16])
def test_means_and_errors_by_hand(parts, batch_size):
    model, params, x, mask = parts
    found = step_entropy(
        model, params, from_arrays(EVENT, train=x, test={"x": x, "mask": mask}), "test", Scoring(batch_size)
    )
    entropy, nll = by_hand(model, params, x, mask)
    np.testing.assert_allclose(found.entropy, entropy.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.nll, nll.mean(0), rtol=1e-5)
    # the first entropy is the same for all examples: in float32 its error is not quite 0
    np.testing.assert_allclose(found.entropy_stderr, entropy.std(0, ddof=1) / np.sqrt(7), rtol=1e-3, atol=5e-4)
    np.testing.assert_allclose(found.nll_stderr, nll.std(0, ddof=1) / np.sqrt(7), rtol=1e-3, atol=1e-4)
    assert found.num_examples == 7 and found.entropy_over_grid.shape == (2, 3)


def test_sum_over_steps_is_the_likelihood(parts):
    model, params, x, _ = parts
    found = step_entropy(model, params, from_arrays(EVENT, train=x), "train", Scoring(4))
    assert found.nll.sum() == pytest.approx(-float(jax.jit(model.log_prob)(params, x).mean()), rel=1e-5)


def test_the_first_examples_only(parts):
    model, params, x, _ = parts
    some = step_entropy(model, params, from_arrays(EVENT, train=x), "train", Scoring(2), max_examples=5)
    first = step_entropy(model, params, from_arrays(EVENT, train=x[:5]), "train", Scoring(5))
    assert some.num_examples == 5
    np.testing.assert_allclose(some.nll, first.nll, rtol=1e-5)


def test_a_step_that_nobody_has_is_nan(parts):
    model, params, x, _ = parts
    mask = np.ones((7, 2, 3), np.float32)
    mask[:, 1, 1:] = 0  # the first step of the reversed order
    found = step_entropy(model, params, from_arrays(EVENT, train={"x": x, "mask": mask}), "train", Scoring(4))
    assert np.isnan(found.entropy[0]) and np.isfinite(found.entropy[1:]).all()


@pytest.mark.slow
def test_estimates_have_other_noise_in_each_batch():
    """Equal examples, one in a batch: entropies and -log p of a head that draws differ by its noise alone."""
    head = "diffusion(steps=2, schedule='cosine', prediction='velocity', features=2, width=4, layers=1)"
    model = make_model(EventSpec((2,), (2,), "real"), "made", hidden_sizes=(4,), conditional=head)
    data = from_arrays(model.event, train=np.ones((3, 2, 2), np.float32))
    found = step_entropy(model, jax.jit(model.init)(jax.random.key(0)), data, "train", Scoring(1))
    assert (found.entropy_stderr > 0.01).all() and (found.nll_stderr > 0.01).all()


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
