"""Mixtures of models: distributions that add up, draws that follow them, and weights that are trained."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from compiled import of_model
from refusals import refusal

from arjax.core.batch import Batch
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model
from arjax.models.mixture import MixtureModel, mixture_params
from arjax.testing.statistics import chi_square

EVENT = EventSpec((2, 2))
ALL = cases.all_values(EVENT)
LOGITS = np.float32([0.3, -0.8])


@functools.cache
def build():
    gru = make_model(EVENT, "gru", hidden_size=6, ordering="reversed")
    model = MixtureModel((make_model(EVENT, "made", hidden_sizes=(8,)), gru))
    return model, cases.random_like(model.param_shapes) | {"weights": LOGITS}


@functools.cache
def joint() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [16] of all examples under the mixture, and [2, 16] under its members."""
    model, params = build()
    members = [of_model(member, "log_prob", params[str(k)], ALL) for k, member in enumerate(model.members)]
    return np.exp(np.asarray(of_model(model, "log_prob", params, ALL), float)), np.exp(np.asarray(members, float))


def test_probabilities_are_the_weighted_sum_of_those_of_the_members():
    p, p_of = joint()
    weights = np.exp(LOGITS) / np.exp(LOGITS).sum()
    np.testing.assert_allclose(p, weights @ p_of, rtol=1e-4)
    assert abs(p.sum() - 1) < 1e-5 and build()[0].score_kind == "exact"
    assert jax.jit(build()[0].init)(jax.random.key(0))["weights"].tolist() == [0, 0]


def test_draws_follow_the_mixture():
    model, params = build()
    draw = model.draw(params, jax.random.split(jax.random.key(1), 20_000))
    codes = np.asarray(draw.x).reshape(-1, 4) @ (8, 4, 2, 1)
    counts = np.bincount(codes, minlength=16)
    p, p_of = joint()
    assert chi_square(counts, p / p.sum()) > 1e-4
    assert chi_square(counts, p_of.mean(0)) < 1e-4  # it can fail
    members = np.bincount(draw.stats["member"], minlength=2)
    assert chi_square(members, np.exp(LOGITS) / np.exp(LOGITS).sum()) > 1e-4
    of_second = np.bincount(codes[np.asarray(draw.stats["member"]) == 1], minlength=16)
    assert chi_square(of_second, p_of[1] / p_of[1].sum()) > 1e-4
    np.testing.assert_array_equal(draw.stats["network_calls"], 8)  # of both members
    np.testing.assert_array_equal(draw.stats["steps"], 4)


@pytest.mark.slow
def test_the_gradient_of_a_weight_is_its_share_less_its_weight():
    """d log p / d logit_k = P(k | x) - w_k."""
    model, params = build()
    x = ALL[3:9]
    gradient = jax.jit(jax.grad(lambda params: model.score(params, Batch(x)).log_prob.sum()))(params)
    weights, p_of = np.exp(LOGITS) / np.exp(LOGITS).sum(), joint()[1][:, 3:9]
    share_KB = weights[:, None] * p_of / (weights @ p_of)
    np.testing.assert_allclose(gradient["weights"], (share_KB - weights[:, None]).sum(1), rtol=1e-3, atol=1e-4)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


def test_cold_mixtures_draw_from_the_heaviest_member():
    model, params = build()
    draw = model.draw(params, jax.random.split(jax.random.key(1), 50), temperature=1e-3)
    assert (np.asarray(draw.stats["member"]) == 0).all()
    assert (np.asarray(draw.x) == np.asarray(draw.x)[:1]).all()


@pytest.mark.slow
def test_masks_are_those_of_the_members():
    model, params = build()
    mask = np.zeros((16, 2, 2))
    mask[:, 0] = 1
    log_p = of_model(model.members[0], "log_prob", params["0"], ALL, mask=mask)
    alone = MixtureModel(model.members[:1])
    found = of_model(alone, "log_prob", {"0": params["0"], "weights": LOGITS[:1]}, ALL, mask=mask)
    np.testing.assert_allclose(found, log_p, rtol=1e-5)


def test_one_bound_makes_a_bound():
    event = EventSpec((2,), (), "levels", 4)
    model = MixtureModel((make_model(event, "made"), make_model(event, "made", kind="flow", num_blocks=1)))
    assert model.score_kind == "bound"
    params, x = jax.jit(model.init)(jax.random.key(0)), cases.all_values(event)
    score = jax.jit(lambda model, params, key: model.score(params, Batch(x), key=key))
    first, other = (score(model, params, jax.random.key(k)) for k in (0, 1))
    assert first.kind == "bound" and np.abs(np.asarray(first.log_prob) - other.log_prob).max() > 1e-3
    totals = [np.exp(np.asarray(score(model, params, jax.random.key(k)).log_prob)).sum() for k in range(30)]
    assert np.mean(totals) < 1 + 3 * np.std(totals) / 30**0.5
    assert "give a random `key`" in refusal(model.log_prob, params, x)


@pytest.mark.slow
def test_weights_of_trained_members_are_kept():
    model, params = build()
    both = mixture_params([params["0"], params["1"]], np.array([0.25, 0.75]))
    np.testing.assert_allclose(jnp.exp(model.log_weights(both)), [0.25, 0.75], rtol=1e-6)


def test_mistakes_are_told():
    model, params = build()
    keys = jax.random.split(jax.random.key(0), 2)
    assert "cannot draw with given" in refusal(model.draw, params, keys, given=np.zeros((2, 2)), observed=np.eye(2))
    without = {"0": params["0"], "1": params["1"]}
    assert "not the parameters of this model: they lack 'weights'" in refusal(model.log_prob, without, ALL)
    for other, sentence in (
        (make_model(EventSpec((2,)), "made"), "the b of the kind 'mixture': it must be of 2 x 2 sites"),
        (make_model(EVENT, "made", context=ContextSpec("label", 3)), "its context must be"),
        (make_model(EVENT, "masked_transformer", orders="uniform"), "scored under one order"),
    ):
        assert sentence in refusal(make_model, EVENT, kind="mixture", parts={"a": model.members[0], "b": other})
    assert "at least one member" in refusal(make_model, EVENT, kind="mixture", parts={})


@pytest.mark.slow
def test_texts_end_in_all_members():
    """Behind the end token stands nothing else, whichever member is chosen."""
    model = MixtureModel((make_model(EventSpec((5,), (), "tokens", 2), "made"),) * 2)
    x = np.asarray(model.sample(jax.jit(model.init)(jax.random.key(0)), jax.random.key(1), 50, end=1))
    assert (np.diff(x, axis=1) >= 0).all() and x.min() == 0 and x.max() == 1
