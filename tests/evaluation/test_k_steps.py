"""The k-step bound and the losses per step, by definition on an event whose examples and orders are enumerated."""

import dataclasses
import itertools
import types

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from compiled import of_model

from arjax.api.showing import sample_options
from arjax.config import base_config, dataset_config, network_config
from arjax.config.build import build
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.data.base import from_arrays
from arjax.evaluation import bounds
from arjax.evaluation.bounds import k_step_scores
from arjax.evaluation.report import Measures, report
from arjax.evaluation.sampling import prepare_sampler
from arjax.evaluation.splits import Scoring
from arjax.factorization import from_order, make_factorization, reorder
from arjax.models import make_model
from arjax.reporting.reports import SCORES, describe_scores
from arjax.samplers import example_keys, make_sampler
from arjax.samplers.rounds import (
    k_step_log_prob,
    log_prob_ahead,
    log_prob_of_rest,
    lowest_entropy_log_prob,
    measure_losses,
)

EVENT = EventSpec((2, 2))
SIZES = ((1, 1, 1, 1), (1, 2, 1), (4,))


@pytest.fixture(scope="module")
def built():
    model = cases.small_model("deep_nade", EVENT, "random(seed=1)", "sites", orders="uniform")
    return model, cases.params_of(model)


def alone(model, params, x) -> np.ndarray:
    """log p of each site given nothing, [B, D]: by orders that visit it first."""
    scores = []
    for site in range(4):
        order = [site, *(other for other in range(4) if other != site)]
        model = dataclasses.replace(model, factorization=from_order(order, [1] * 4, (2, 2)), orders=None)
        scores.append(np.asarray(of_model(model, "log_prob_per_site", params, x)).reshape(len(x), 4)[:, site])
    return np.stack(scores, 1)


def data(num=40):
    x = cases.random_x(EVENT, num)
    return from_arrays(EVENT, name="some", train={"x": x}, validation={"x": x}, test={"x": x[:7]})


def test_no_bound_exceeds_the_likelihood_of_the_mixture(built):
    """Law 2: in the same rounds, enumerated; every order is normalised, and is the parallel pass under these blocks."""
    model, params = built
    x, orders = cases.all_values(EVENT), list(itertools.permutations(range(4)))
    like = make_factorization((2, 2), "raster")

    @jax.jit
    def bounds(order):
        every = jax.vmap(lambda _: reorder(like, order))(jnp.arange(len(x)))
        return [k_step_log_prob(model, params, Batch(jnp.asarray(x)), every, sizes) for sizes in SIZES]

    found = np.array([bounds(np.array(order)) for order in orders], np.float64)  # [orders, schedules, B]
    for s, sizes in enumerate(SIZES):
        blocks = [from_order(order, sizes, (2, 2)) for order in orders]
        by_order = np.array(
            [cases.log_prob(dataclasses.replace(model, factorization=f, orders=None), x) for f in blocks]
        )
        np.testing.assert_allclose(found[:, s], by_order, atol=1e-5)
        mixture = np.logaddexp.reduce(by_order, axis=0) - np.log(len(orders))
        assert np.exp(mixture).sum() == pytest.approx(1, abs=1e-5)
        assert (found[:, s].mean(0) <= mixture + 1e-6).all()
        assert (found[:, s].mean(0) < mixture - 1e-3).any() == (len(sizes) > 1)  # in one round no order matters


def test_losses_are_those_of_all_sites_that_are_left(built):
    """Each of them as if it came next; those of a model that has learned nothing rise, and are smoothed."""
    model, params = built
    x = cases.random_x(EVENT, 20)
    mask = np.ones((20, 2, 2), np.float32)
    mask[:, 0, 0] = 0
    batch = Batch(x, mask=mask)
    log_prob, sites = log_prob_of_rest(model, params, batch, (0, 2), seed=3)
    np.testing.assert_allclose(log_prob[:, 0], alone(model, params, x)[:, 1:].sum(1), atol=1e-5)
    assert (sites[:, 0] == 3).all() and set(sites[:, 1]) == {1, 2}  # of two that are left one may be masked
    losses = measure_losses(model, params, batch)
    assert losses.shape == (4,) and (np.diff(losses) <= 0).all()
    with pytest.raises(UserError, match=r"^losses cannot be measured: the masks"):
        measure_losses(model, params, Batch(x, mask=np.zeros_like(mask)))


@pytest.mark.slow
def test_the_optimal_schedule_is_measured_on_validation_data(built):
    model, params = built
    sampler = prepare_sampler("parallel(steps=2,schedule='optimal')", model, params, data(), None)
    assert sum(sampler.sizes) == 4 and len(sampler.sizes) == 2
    assert sampler == prepare_sampler(sampler, model, params, data(), None)
    assert model.draw(params, example_keys(jax.random.key(0), 3), sampler=sampler).x.shape == (3, 2, 2)


@pytest.mark.slow
def test_scores_of_a_split_in_k_steps(built):
    model, params = built
    rest = {"scoring": Scoring(4, seed=1)}
    scores = [k_step_scores(model, params, data(), "test", steps=steps, **rest) for steps in (1, 4)]
    assert [s["k_steps"] for s in scores] == [1, 4] and all(s["k_step_bound_stderr"] > 0 for s in scores)
    x = np.asarray(data().splits["test"].__getitems__(np.arange(7)).x, np.int32)
    expected = -alone(model, params, x).sum(1)
    assert scores[0]["k_step_bound_nats"] == pytest.approx(expected.mean(), rel=1e-5)
    assert scores[0]["k_step_bound_stderr"] == pytest.approx(expected.std(ddof=1) / np.sqrt(7), rel=1e-4)
    few = k_step_scores(model, params, data(), "test", steps=1, examples=3, **rest)
    assert few["k_step_bound_nats"] == pytest.approx(expected[[0, 2, 4]].mean(), rel=1e-5)


@pytest.mark.slow
def test_few_scored_examples_leave_the_optimal_schedule_as_it_is(built, monkeypatch):
    """It is measured on the whole validation split, as that of the sampler of this name."""
    measured = []

    def losses(model, params, batch):
        measured.append(len(batch))
        return np.array([4.0, 3.0, 2.0, 1.0])

    monkeypatch.setattr(bounds, "measure_losses", losses)
    measures = Measures(batch_size=4, steps=2, schedule="optimal", examples=3)
    scores = report(*built, data(), "test", measures, mesh=None, seed=0, open_run=None).scores
    assert measured == [40] and scores["num_examples"] == 3


def test_sizes_are_measured_on_the_examples_of_the_sampler(built, monkeypatch):
    """Evenly spaced, as split may be sorted, and as the model sees them."""
    x = np.repeat([0, 1], 300)[:, None, None] * np.ones((1, 2, 2), int)
    some = from_arrays(EVENT, train={"x": x}, validation={"x": x}, test={"x": x})
    some = dataclasses.replace(some, transform=lambda key, batch, train: batch.replace(x=1 - batch.x))
    measured = []

    def losses(model, params, batch):
        measured.append(np.asarray(batch.x))
        return np.array([4.0, 3.0, 2.0, 1.0])

    monkeypatch.setattr(bounds, "measure_losses", losses)
    monkeypatch.setattr("arjax.samplers.parallel.measure_losses", losses)
    monkeypatch.setattr(bounds, "split_bound", lambda *args, **options: (np.zeros(2), None))
    k_step_scores(*built, some, "test", steps=2, schedule="optimal")
    prepare_sampler("parallel(steps=2,schedule='optimal')", *built, some, None)
    of_score, of_sampler = measured
    np.testing.assert_array_equal(of_score, of_sampler)
    assert of_score[0, 0, 0] == 1 and of_score[-1, 0, 0] == 0


@pytest.mark.slow
def test_a_head_that_draws_has_noise_of_its_own_for_each_site_example_and_key():
    """With a network of zeros and equal values, all that differs is the noise."""
    event = EventSpec((3,), (2,), "real")
    head = "diffusion(steps=2, schedule='cosine', prediction='velocity', features=2, width=4, layers=1)"
    model = make_model(event, "deep_nade", hidden_sizes=(4,), orders="uniform", conditional=head)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), model.param_shapes)
    x, order = Batch(jnp.ones((4, 3, 2))), model.factorization
    orders = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (4, *jnp.shape(leaf))), order)

    @jax.jit
    def scores(key):
        alone = log_prob_ahead(model, params, jax.tree.map(lambda leaf: leaf[0], x), order, (0, 1), 3, key)[0]
        by_entropy = lowest_entropy_log_prob(model, params, x, (1, 2), key)
        return k_step_log_prob(model, params, x, orders, (1, 2), key), by_entropy, alone[:, :2].reshape(-1)

    for each, other in zip(scores(jax.random.key(0)), scores(jax.random.key(1)), strict=True):
        assert len(np.unique(np.append(each, other))) == 8
    data = from_arrays(event, name="some", train={"x": x.x}, test={"x": x.x})
    found = [k_step_scores(model, params, data, "test", steps=1, scoring=Scoring(seed=seed)) for seed in (0, 1)]
    assert found[0]["k_step_bound_nats"] != found[1]["k_step_bound_nats"]
    assert found[0]["k_step_bound_stderr"] > 0


def config(**evaluate):
    config = base_config()
    config.dataset, config.network = dataset_config("digits"), network_config("deep_nade", hidden_sizes=(4,))
    config.train.steps, config.objective, config.model.orders = 1, "order_agnostic", "uniform"
    config.evaluate.update(evaluate)
    return config


def reported(setup, params):
    rest = {"mesh": setup.mesh, "seed": setup.seed, "open_run": setup.open_run}
    scores = report(setup.model, params, setup.dataset, "test", setup.evaluate, **rest).scores
    return {name: value for name, value in scores.items() if name not in ("dataset", "split", "kind", "unit")}


@pytest.mark.slow
def test_a_config_asks_for_the_bound():
    """What a run reports beside its scores; a model without the bound is refused when it is built."""
    setup = build(config(steps=2, schedule="cosine", batch_size=100))
    params = jax.jit(setup.model.init)(jax.random.key(0))
    scores = reported(setup, params)
    assert scores["k_steps"] == 2 and set(scores) - {"nll_nats_by_num_orders"} <= set(SCORES)
    assert "at most" in describe_scores(scores)
    assert "k_steps" not in reported(build(config()), params)
    by_entropy = reported(build(config(steps=2, choose="entropy", batch_size=100)), params)
    assert by_entropy["k_step_nll_nats"] > 0 and "k_step_bound_nats" not in by_entropy
    assert "nats in 2 steps by entropy (exact)" in describe_scores(by_entropy)
    other = config(steps=2)
    other.model.orders, other.objective = "", "teacher_forcing"
    with pytest.raises(UserError, match=r"^config.evaluate.steps needs a model of all orders"):
        build(other)


def test_samples_of_an_approximation_say_so():
    options = config().sample
    exact, other = (types.SimpleNamespace(seed=0, sampler=make_sampler(x)) for x in ("cached", "parallel(steps=4)"))
    assert "distribution" not in sample_options(exact, options, 7)
    assert sample_options(other, options, 7)["distribution"] == "not that of the model"
