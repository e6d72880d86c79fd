"""Bounds of a split, and scores in k steps: rounds chosen by entropy, losses per step, where all examples are known."""

import dataclasses
import functools
import itertools
import types
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from compiled import of_model
from refusals import refusal
from scipy.special import log_softmax
from scipy.stats import chisquare

from arjax.api.showing import sample_options
from arjax.config import base_config, dataset_config, network_config
from arjax.config.build import build
from arjax.core.batch import Batch
from arjax.core.spec import EventSpec
from arjax.data.base import from_arrays
from arjax.data.text import ended_strings
from arjax.evaluation import bounds
from arjax.evaluation.bounds import k_step_scores, sampled_scores, split_bound
from arjax.evaluation.report import Measures, report
from arjax.evaluation.sampling import prepare_sampler
from arjax.evaluation.splits import Scoring
from arjax.evaluation.summaries import summarize
from arjax.factorization import from_order, make_factorization, reorder
from arjax.models import ModelChoice, make_model
from arjax.models.extras import SampledBound, report_of_examples, sampled_bound
from arjax.parallel.sharding import make_mesh
from arjax.reporting.reports import SCORES, describe_scores
from arjax.samplers import example_keys, make_sampler
from arjax.samplers.rounds import (
    RULES,
    k_step_log_prob,
    log_prob_ahead,
    log_prob_by_rule,
    log_prob_of_rest,
    measure_losses,
)
from arjax.testing.examples import all_values, random_like

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


@pytest.mark.slow
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
        models = [dataclasses.replace(model, factorization=each, orders=None) for each in blocks]
        by_order = np.array([cases.log_prob(each, x) for each in models])
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
    assert "losses cannot be measured:" in refusal(measure_losses, model, params, Batch(x, mask=np.zeros_like(mask)))


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

    monkeypatch.setattr("arjax.samplers.rounds.measure_losses", losses)
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

    monkeypatch.setattr("arjax.samplers.rounds.measure_losses", losses)
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
        by_entropy = log_prob_by_rule(model, params, x, key, (1, 2), "entropy")
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
    assert "steps needs a model of all orders" in refusal(build, other)


def test_samples_of_an_approximation_say_so():
    options = config().sample
    exact, other = (types.SimpleNamespace(seed=0, sampler=make_sampler(x)) for x in ("cached", "parallel(steps=4)"))
    assert "distribution" not in sample_options(exact, options, 7)
    assert sample_options(other, options, 7)["distribution"] == "not that of the model"


LEVELS = EventSpec((2, 2), (), "levels", 3)
X = cases.all_values(LEVELS)
ROUNDS = ((1, 2, 1), (2, 2))
#: Of all sites at once, with attention, and with a cache.
NETWORKS = ["deep_nade", *(pytest.param(name, marks=pytest.mark.slow) for name in ("masked_transformer", "two_stream"))]
in_rounds = jax.jit(log_prob_by_rule, static_argnames=("sizes", "choose"))


def model_of(network: str = "deep_nade", event: EventSpec = LEVELS, **choice):
    model = cases.small_model(network, event, **{"ordering": "random(seed=1)", "orders": "uniform"} | choice)
    return model, cases.params_of(model)


def scored(model, params, x, sizes, choose="entropy", **parts) -> np.ndarray:
    batch = Batch(jnp.asarray(x), **parts)
    return np.asarray(in_rounds(model, params, batch, None, sizes=sizes, choose=choose), np.float64)


def doubt(table: np.ndarray, choose: str) -> np.ndarray:
    """How unsure a rule is of each site, from log p of its values; the least come first."""
    first, second = np.moveaxis(np.sort(np.exp(table), -1)[..., :-3:-1], -1, 0)
    return {"entropy": -(np.exp(table) * table).sum(-1), "margin": second - first, "top1": -first}[choose]


def by_hand(model, params, x, sizes, context=None, choose="entropy") -> tuple[np.ndarray, np.ndarray]:
    """log p of each site as the rounds of a plain loop reveal it, and the round of each site, [B, D]."""
    num, own_step = len(x), np.asarray(model.factorization.step)
    flat = x.reshape(num, -1)
    known, found, round_of = np.zeros(flat.shape, bool), np.zeros(flat.shape), np.zeros(flat.shape, int)
    for r, size in enumerate(sizes):
        given = np.where(known, flat, 0).reshape(x.shape), known.reshape(x.shape)
        features = np.asarray(of_model(model, "features_given", params, *given, context=context), np.float64)
        table = log_softmax(features.reshape(*flat.shape, -1), -1)
        scores = doubt(table, choose)
        for b in range(num):
            left = sorted(np.flatnonzero(~known[b]), key=lambda i, b=b: (scores[b, i], own_step[i]))
            for i in left[:size]:
                found[b, i], round_of[b, i], known[b, i] = table[b, i, flat[b, i]], r, True
    return found, round_of


def some(num=9):
    return from_arrays(LEVELS, name="some", train={"x": X}, test={"x": X[:num]})


@pytest.mark.parametrize("network", NETWORKS[:2])
def test_the_sum_over_rounds_is_that_of_a_plain_loop(network):
    model, params = model_of(network)
    flat, rounds = jax.tree.map(lambda leaf: 0.3 * leaf, params), []  # in flat tables the rules see other sites first
    params = flat if network == "deep_nade" else params
    for choose, sizes in [("entropy", ROUNDS[1]), *((choose, ROUNDS[0]) for choose in RULES)]:
        found, round_of = by_hand(model, params, X, sizes, choose=choose)
        assert (len(np.unique(round_of, axis=0)) > 1) == (len(sizes) > 2)  # by the values, from the second round on
        np.testing.assert_allclose(scored(model, params, X, sizes, choose), found.sum(1), atol=1e-4)
        rounds.append(round_of.tolist())
    assert network != "deep_nade" or (rounds[1] != rounds[2] and rounds[2] != rounds[3])


def test_the_second_most_probable_vector_differs_in_one_scalar():
    family = make_model(EventSpec((3,), (2,), "levels", 3), "made", hidden_sizes=(4,)).conditional
    features = jax.random.normal(jax.random.key(0), (50, family.num_params))
    table = np.asarray(family.log_table(features), np.float64)  # [50, 2, 3]
    of_vectors = (table[:, 0, :, None] + table[:, 1, None]).reshape(50, 9)
    for choose in ("margin", "top1"):
        found, expected = np.asarray(RULES[choose](family, features)), -doubt(of_vectors, choose)
        np.testing.assert_allclose(found, expected if choose == "margin" else np.log(expected), rtol=1e-4, atol=1e-6)


FOLLOWED = [pytest.param("deep_nade", c, marks=[pytest.mark.slow] * (c != "margin")) for c in RULES]
FOLLOWED += [pytest.param(name, "entropy", marks=pytest.mark.slow) for name in ("masked_transformer", "two_stream")]


@pytest.mark.parametrize(("network", "rule"), FOLLOWED)
def test_probabilities_add_up_to_one_and_samples_follow_them(network, rule):
    """The samples are drawn by the sampler of these rounds; those of random orders have another distribution."""
    model, params = model_of(network)
    place, keys = 3 ** np.arange(4)[::-1], example_keys(jax.random.key(0), 4000)
    for sizes in ROUNDS[:1]:
        p = np.exp(scored(model, params, X, sizes, rule))
        assert p.sum() == pytest.approx(1, abs=1e-5)
        fits = {}
        for choose in (rule, "random") if (network, rule) == ("deep_nade", "entropy") else (rule,):
            x = np.asarray(model.draw(params, keys, sampler=f"parallel(sizes={sizes},choose='{choose}')").x)
            counts = np.bincount(x.reshape(len(x), 4) @ place, minlength=81)
            common = p * len(x) >= 5
            seen = [np.append(each[common], each[~common].sum()) for each in (counts, p * len(x))]
            fits[choose] = chisquare(seen[0], seen[1] * seen[0].sum() / seen[1].sum()).pvalue
        assert fits.pop(rule) > 0.01 and all(fit < 1e-3 for fit in fits.values()), sizes


def test_a_single_round_and_a_fixed_order_are_what_is_known():
    """One round takes all sites given nothing; in the order of the model a round is a step of several sites."""
    model, params = model_of()
    order, data = np.asarray(model.factorization.order), some()
    rest = {"steps": 1, "scoring": Scoring(4)}
    whole = dataclasses.replace(model, factorization=from_order(order, [4], (2, 2)), orders=None)
    expected = cases.log_prob(whole, X)
    np.testing.assert_allclose(scored(model, params, X, (4,)), expected, atol=1e-5)
    scores = k_step_scores(model, params, data, "test", choose="confidence", **rest)
    assert scores["k_step_nll_nats"] == pytest.approx(-expected[:9].mean(), rel=1e-5)
    blocks = dataclasses.replace(model, factorization=from_order(order, [2, 2], (2, 2)), orders=None)
    scores = k_step_scores(model, params, data, "test", choose="order", **rest | {"steps": 2})
    assert scores["k_step_nll_nats"] == pytest.approx(-cases.log_prob(blocks, X)[:9].mean(), rel=1e-5)


def test_masked_sites_take_their_turn_and_do_not_count_and_a_context_is_read():
    model, params = model_of(event=cases.EVENTS["tokens"], context=cases.CONTEXTS["several"])
    x, rng = cases.random_x(model.event, 12), np.random.default_rng(3)
    context = cases.random_context(model.context_spec, 12)
    mask = (rng.random(x.shape) < 0.6).astype(np.float32)
    found, round_of = by_hand(model, params, x, (1, 3, 2), context)
    assert len(np.unique(round_of, axis=0)) > 1
    expected = (found * mask.reshape(found.shape)).sum(1)
    np.testing.assert_allclose(scored(model, params, x, (1, 3, 2), context=context, mask=mask), expected, atol=1e-4)


def test_missing_values_come_after_all_others():
    """Densities of what is there, in rounds by the scales of a Gaussian."""
    model = cases.small_model("deep_nade", EventSpec((4,), (), "real"), orders="uniform")
    params = cases.gentle_params_of(model)
    x, sizes = cases.random_x(model.event, 16), (1, 3)
    x[np.random.default_rng(2).random(x.shape) < 0.3] = np.nan
    x[0] = np.nan
    there, known, expected = ~np.isnan(x), np.zeros(x.shape, bool), np.zeros(16)
    for size in sizes:
        given = np.where(known, x, 0.0).astype(np.float32), known
        features = of_model(model, "features_given", params, *given)
        log_p, entropy = (np.asarray(each) for each in numbers(model.conditional, features, np.nan_to_num(x)))
        for b in range(16):
            left = sorted(np.flatnonzero(~known[b] & there[b]), key=lambda i, b=b: entropy[b, i])[:size]
            expected[b] += log_p[b, left].sum()
            known[b, left] = True
    assert (known == there).all() and len(np.unique(there, axis=0)) > 4
    np.testing.assert_allclose(scored(model, params, x, sizes), expected, rtol=1e-4, atol=1e-4)


@functools.partial(jax.jit, static_argnums=0)
def numbers(family, features, x):
    return family.log_prob(features, x), family.entropy(features)


REFUSED = [
    ({"choose": "confidence"}, {}, "config.evaluate.choose='confidence' has no score with more than one round: the"),
    ({"choose": "entropy"}, {"partition": "blocks(size=2)"}, "='entropy' chooses among single sites, and steps"),
    ({"choose": "margin"}, {"partition": "blocks(size=2)"}, "='margin' chooses among single sites, and steps"),
    ({"choose": "top1"}, {"event": EventSpec((2, 2), (), "real")}, "choose='top1' needs a list of probabilities: take"),
    ({"choose": "entropy"}, {"orders": ""}, "config.evaluate.steps needs a model of all orders"),
    ({"choose": "order", "steps": 9}, {}, "config.evaluate.steps asks for 9 rounds, but the model has 4 steps"),
]


@pytest.mark.parametrize(("asked", "choice", "sentence"), REFUSED)
def test_rules_and_models_without_the_score_are_refused(asked, choice, sentence):
    model, _ = model_of(**choice)
    assert sentence in refusal(Measures(**{"steps": 2} | asked).check, model, some())
    parts = {name: ModelChoice(network=name) for name in ("made", "independent")}
    mixture = make_model(LEVELS, ModelChoice("mixture", parts=parts))
    assert "steps needs" in refusal(Measures(steps=2, choose="entropy").check, mixture, some())


@pytest.mark.slow
def test_a_split_has_the_mean_and_its_error():
    model, params = model_of()
    rest = {"choose": "entropy", "steps": 3, "schedule": "cosine", "scoring": Scoring(8, make_mesh(1, 1, 1))}
    scores = k_step_scores(model, params, some(23), "test", **rest)
    nats = -scored(model, params, X[:23], (1, 1, 2))
    assert scores["k_step_nll_nats"] == pytest.approx(nats.mean(), rel=1e-5)
    assert scores["k_step_nll_stderr"] == pytest.approx(nats.std(ddof=1) / np.sqrt(23), rel=1e-4)
    about = {name: scores[name] for name in ("k_steps", "k_step_choose", "k_step_kind")}
    assert about == {"k_steps": 3, "k_step_choose": "entropy", "k_step_kind": "exact"}
    assert "nats in 3 steps by entropy (exact)" in describe_scores({"nll_nats": 1.0} | scores)


PAIR = EventSpec((2,), kind="tokens", num_levels=3)
PAIRS = np.repeat(all_values(PAIR), 40, 0)


@pytest.mark.slow
def test_a_chain_is_scored_by_more_steps():
    """The whole sum where as many steps are asked for; else an estimate with the same mean and a larger error."""
    sizes = {"width": 8, "num_layers": 1, "num_heads": 1}
    model = make_model(PAIR, "denoising_transformer", kind="discrete_chain", num_steps=6, score_steps=1, **sizes)
    params = random_like(model.param_shapes)
    dataset = from_arrays(PAIR, train=PAIRS, test=PAIRS)
    whole, few = (sampled_scores(model, params, dataset, "test", samples, Scoring(360)) for samples in (99, 2))
    assert (whole["chain_bound_steps"], few["chain_bound_steps"]) == (6, 2)
    exact = -np.asarray(of_model(model, "bound", params, Batch(PAIRS), jax.random.key(1)).log_prob)
    assert abs(whole["chain_bound_nats"] - exact.mean()) < 5 * exact.std() / len(PAIRS) ** 0.5
    assert whole["chain_bound_stderr"] < few["chain_bound_stderr"]
    assert abs(whole["chain_bound_nats"] - few["chain_bound_nats"]) < 5 * few["chain_bound_stderr"]
    bits = whole["chain_bound_nats"] / 2 / np.log(2)
    np.testing.assert_allclose(whole["chain_bound_bits_per_dim"], bits, rtol=1e-6)


def test_the_bound_of_a_split_is_the_mean_over_scored_examples_in_the_units_of_the_data():
    """Rows of weight 0 and rows without a scored site are left out; scored sites add the log of their scale."""
    rng, scale = np.random.default_rng(0), np.float32([0.01, 3.0, 50.0])
    x, mask, weight = rng.normal(size=(20, 3)), rng.random((20, 3)) < 0.6, np.arange(20) % 7 != 3
    mask[[2, 11]] = False
    model = make_model(EventSpec((3,), kind="real"), "made", hidden_sizes=(4,))
    rows = {"x": x.astype(np.float32), "mask": np.float32(mask), "weight": np.float32(weight)}

    def log_prob(model, params, batch, key):
        counts = jnp.ones(batch.x.shape) if batch.mask is None else batch.mask
        return (counts * batch.x).sum(-1)

    for name, counted in (("mask", mask), ("", np.ones_like(mask))):
        test = {key: value for key, value in rows.items() if name or key != "mask"}
        data = dataclasses.replace(from_arrays(model.event, train=x, test=test), scale=scale, shift=np.zeros(3))
        kept = weight & counted.any(1)
        nats = np.where(counted, np.log(scale) - rows["x"], 0).sum(1)[kept]
        found, sites = split_bound(model, {}, data, "test", log_prob, scoring=Scoring(8))
        np.testing.assert_allclose(found, nats, rtol=1e-5)
        np.testing.assert_array_equal(sites, counted.sum(1)[kept])


class StandIn(SimpleNamespace):
    """A model of a kind of its own."""


def test_bits_of_a_bound_are_those_of_a_scored_scalar():
    """As those of the score itself: the sum of the nats over the number of scored scalars."""
    model = make_model(EventSpec((3,), (2,), "real"), "made", hidden_sizes=(4,))
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(9, 3, 2)).astype(np.float32), rng.integers(0, 2, (9, 3))
    mask[4] = 0
    weight = np.arange(9) != 6
    bound = SampledBound("importance_bound", model, _sum_of_scored, (), {"importance_samples": 5})
    sampled_bound.register(StandIn, lambda model, samples: bound)
    report_of_examples.register(StandIn, lambda model, params, batch, key: {"examples": len(batch)})
    stand_in = StandIn(event=model.event)
    data = from_arrays(model.event, train=x, test={"x": x, "mask": mask, "weight": weight})
    found = sampled_scores(stand_in, {}, data, "test", 5, Scoring(4))
    assert (found["examples"], found["importance_samples"]) == (8, 5)
    nats, scored = -(x.sum(-1) * mask).sum(1), (mask.sum(1) > 0) & weight
    expected = summarize(nats[weight], mask[weight].sum(1), model.event)
    for name in ("bits_per_dim", "bits_per_dim_stderr"):
        assert found[f"importance_bound_{name}"] == pytest.approx(expected[name], rel=1e-5)
    assert found["importance_bound_nats"] == pytest.approx(nats[scored].mean(), rel=1e-5)


def _sum_of_scored(model, params, batch, key):
    return (batch.mask * batch.x.sum(-1)).sum(-1)


def test_one_network_has_no_such_bound():
    model, data = make_model(PAIR, "made", hidden_sizes=(4,)), from_arrays(PAIR, train=PAIRS, test=PAIRS)
    assert "needs a model of the kind" in refusal(sampled_scores, model, {}, data, "test", 3, Scoring(9))


@pytest.mark.parametrize("choose", ["random", pytest.param("entropy", marks=pytest.mark.slow)])
def test_scores_of_strings_in_rounds_are_estimates(choose):
    """Some rounds are given the padding: neither exact nor a bound."""
    dataset = ended_strings("names", {split: ["ab", "b", "aab"] for split in ("train", "validation", "test")})
    model = make_model(dataset.event, "deep_nade", orders="uniform", hidden_sizes=(4,))
    scores = k_step_scores(model, cases.params_of(model), dataset, "test", steps=2, choose=choose)
    assert scores["k_step_kind"] == "estimate" and "k_step_bound_nats" not in scores
