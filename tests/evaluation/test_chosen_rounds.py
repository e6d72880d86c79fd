"""The likelihood of samples whose rounds are chosen by entropy, by enumeration of a small event and by a plain loop."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from compiled import of_model
from scipy.special import log_softmax
from scipy.stats import chisquare

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.data.base import from_arrays
from arjax.evaluation.bounds import k_step_scores
from arjax.evaluation.report import Measures
from arjax.evaluation.splits import Scoring
from arjax.factorization import from_order
from arjax.models import ModelChoice, make_model
from arjax.parallel.sharding import make_mesh
from arjax.reporting.reports import describe_scores
from arjax.samplers import example_keys
from arjax.samplers.rounds import lowest_entropy_log_prob

EVENT = EventSpec((2, 2), (), "levels", 3)
X = cases.all_values(EVENT)
SIZES = ((1, 2, 1), (2, 2))
#: Of all sites at once, with attention, and with a cache.
NETWORKS = ["deep_nade", *(pytest.param(name, marks=pytest.mark.slow) for name in ("masked_transformer", "two_stream"))]
in_rounds = jax.jit(lowest_entropy_log_prob, static_argnames="sizes")


def build(network: str = "deep_nade", event: EventSpec = EVENT, **choice):
    model = cases.small_model(network, event, **{"ordering": "random(seed=1)", "orders": "uniform"} | choice)
    return model, cases.params_of(model)


def scored(model, params, x, sizes, **parts) -> np.ndarray:
    return np.asarray(in_rounds(model, params, Batch(jnp.asarray(x), **parts), sizes=sizes), np.float64)


def by_hand(model, params, x, sizes, context=None) -> tuple[np.ndarray, np.ndarray]:
    """log p of each site as the rounds of a plain loop reveal it, and the round of each site, [B, D]."""
    num, own_step = len(x), np.asarray(model.factorization.step)
    flat = x.reshape(num, -1)
    known, found, round_of = np.zeros(flat.shape, bool), np.zeros(flat.shape), np.zeros(flat.shape, int)
    for r, size in enumerate(sizes):
        given = np.where(known, flat, 0).reshape(x.shape), known.reshape(x.shape)
        features = np.asarray(of_model(model, "features_given", params, *given, context=context), np.float64)
        table = log_softmax(features.reshape(*flat.shape, -1), -1)
        entropy = -(np.exp(table) * table).sum(-1)
        for b in range(num):
            left = sorted(np.flatnonzero(~known[b]), key=lambda i, b=b: (entropy[b, i], own_step[i]))
            for i in left[:size]:
                found[b, i], round_of[b, i], known[b, i] = table[b, i, flat[b, i]], r, True
    return found, round_of


def some(num=9):
    return from_arrays(EVENT, name="some", train={"x": X}, test={"x": X[:num]})


@pytest.mark.parametrize("network", NETWORKS[:2])
def test_the_sum_over_rounds_is_that_of_a_plain_loop(network):
    model, params = build(network)
    for sizes in SIZES:
        found, round_of = by_hand(model, params, X, sizes)
        assert (len(np.unique(round_of, axis=0)) > 1) == (len(sizes) > 2)  # by the values, from the second round on
        np.testing.assert_allclose(scored(model, params, X, sizes), found.sum(1), atol=1e-4)


@pytest.mark.parametrize("network", NETWORKS)
def test_probabilities_add_up_to_one_and_samples_follow_them(network):
    """The samples are drawn by the sampler of these rounds; those of random orders have another distribution."""
    model, params = build(network)
    place, keys = 3 ** np.arange(4)[::-1], example_keys(jax.random.key(0), 4000)
    for sizes in SIZES[:1]:
        p = np.exp(scored(model, params, X, sizes))
        assert p.sum() == pytest.approx(1, abs=1e-5)
        fits = {}
        for choose in ("entropy", "random") if network == "deep_nade" else ("entropy",):
            x = np.asarray(model.draw(params, keys, sampler=f"parallel(sizes={sizes},choose='{choose}')").x)
            counts = np.bincount(x.reshape(len(x), 4) @ place, minlength=81)
            common = p * len(x) >= 5
            seen = [np.append(each[common], each[~common].sum()) for each in (counts, p * len(x))]
            fits[choose] = chisquare(seen[0], seen[1] * seen[0].sum() / seen[1].sum()).pvalue
        assert fits.pop("entropy") > 0.01 and all(fit < 1e-3 for fit in fits.values()), sizes


def test_a_single_round_and_a_fixed_order_are_what_is_known():
    """One round takes all sites given nothing; in the order of the model a round is a step of several sites."""
    model, params = build()
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
    model, params = build(event=cases.EVENTS["tokens"], context=cases.CONTEXTS["several"])
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
    ({"choose": "confidence"}, {}, r"^config.evaluate.choose='confidence' has no score with more than one round: the"),
    ({"choose": "entropy"}, {"partition": "blocks(size=2)"}, r"='entropy' chooses among single sites, and steps"),
    ({"choose": "entropy"}, {"orders": ""}, r"^config.evaluate.steps needs a model of all orders"),
    ({"choose": "order", "steps": 9}, {}, r"^config.evaluate.steps asks for 9 rounds, but the model has 4 steps"),
]


@pytest.mark.parametrize(("asked", "choice", "sentence"), REFUSED)
def test_rules_and_models_without_the_score_are_refused(asked, choice, sentence):
    model, _ = build(**choice)
    with pytest.raises(UserError, match=sentence):
        Measures(**{"steps": 2} | asked).check(model, some())


def test_a_mixture_of_models_is_refused():
    parts = {name: ModelChoice(network=name) for name in ("made", "independent")}
    mixture = make_model(EVENT, ModelChoice("mixture", parts=parts))
    with pytest.raises(UserError, match=r"^config.evaluate.steps needs"):
        Measures(steps=2, choose="entropy").check(mixture, some())


@pytest.mark.slow
def test_a_split_has_the_mean_and_its_error():
    model, params = build()
    rest = {"choose": "entropy", "steps": 3, "schedule": "cosine", "scoring": Scoring(8, make_mesh(1, 1, 1))}
    scores = k_step_scores(model, params, some(23), "test", **rest)
    nats = -scored(model, params, X[:23], (1, 1, 2))
    assert scores["k_step_nll_nats"] == pytest.approx(nats.mean(), rel=1e-5)
    assert scores["k_step_nll_stderr"] == pytest.approx(nats.std(ddof=1) / np.sqrt(23), rel=1e-4)
    about = {name: scores[name] for name in ("k_steps", "k_step_choose", "k_step_kind")}
    assert about == {"k_steps": 3, "k_step_choose": "entropy", "k_step_kind": "exact"}
    assert "nats in 3 steps by entropy (exact)" in describe_scores({"nll_nats": 1.0} | scores)
