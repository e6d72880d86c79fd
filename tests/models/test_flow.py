"""Flows: exact densities, inverses by samplers, and bounds of levels."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from built import built
from compiled import of_model
from refusals import each_refused, refusal

from arjax.core.batch import Batch
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model
from arjax.models.draws import check_draws
from arjax.models.flow import FlowModel, dequantised, levels_of
from arjax.networks import NETWORKS
from arjax.samplers import Request, make_sampler

PLANE = EventSpec((2,), kind="real")
IMAGE = EventSpec((2, 3), (2,), "real")
SPLINE = "spline(bins=4, bound=3)"
KEYS = jax.random.split(jax.random.key(3), 5)


@functools.partial(jax.jit, static_argnums=0)
def normal(shape):
    """The noise of each example, [5, *shape]."""
    return jax.vmap(lambda key: jax.random.normal(key, shape))(KEYS)


@functools.cache
def build(event=PLANE, network="made", base=None, **choice):
    """A flow of two small blocks, and parameters at which every path matters and scales stay moderate."""
    parts = {} if base is None else {"base": base}
    return built(event, network, 0.4, kind="flow", parts=parts, **{"num_blocks": 2, **choice})


@pytest.mark.slow
@pytest.mark.parametrize("conditional", ["gaussian", "gaussian(scale_bound=1.5)", SPLINE])
def test_one_block_is_the_autoregressive_model(conditional):
    flow, params = build(IMAGE, "gru", num_blocks=1, conditional=conditional)
    model = make_model(IMAGE, "gru", conditional=conditional, **NETWORKS.get("gru").SMALL)
    x = cases.random_x(IMAGE, 7)
    expected = of_model(model, "log_prob", params["0"], x)
    np.testing.assert_allclose(of_model(flow, "log_prob", params, x), expected, rtol=1e-6, atol=1e-5)
    assert flow.score_kind == "exact"


@pytest.mark.parametrize(
    "choice", [{}, pytest.param({"conditional": SPLINE, "partition": "rows"}, marks=pytest.mark.slow)]
)
def test_log_det_is_that_of_the_jacobian(choice):
    model, params = build(IMAGE, "gru", num_blocks=2, **choice)
    x = cases.random_x(IMAGE, 4)

    @jax.jit
    def facts(model, params, x):
        one = lambda x: model.to_noise(params, x[None])[0].ravel()  # noqa: E731
        jacobian = jax.vmap(jax.jacfwd(one))(x).reshape(len(x), 12, 12)
        z, log_det = model.to_noise(params, x)
        return z, log_det, jnp.linalg.slogdet(jacobian), model.score(params, Batch(x))

    z, log_det, (sign, expected), score = facts(model, params, x)
    assert (sign == 1).all() and np.std(expected) > 0.05
    np.testing.assert_allclose(log_det, expected, rtol=1e-4, atol=1e-4)
    base = (-0.5 * np.square(z) - 0.5 * np.log(2 * np.pi)).reshape(4, -1).sum(1)
    np.testing.assert_allclose(score.log_prob, base + expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(-sum(score.terms.values()), score.log_prob, rtol=1e-5)


@pytest.mark.parametrize(
    ("network", "event", "choice"),
    [
        ("made", IMAGE, {"orderings": ("raster", "random(seed={block})")}),
        pytest.param("gru", IMAGE, {"partition": "blocks(size=3)", "conditional": SPLINE}, marks=pytest.mark.slow),
        pytest.param("transformer", EventSpec((7,), kind="real"), {"conditional": SPLINE}, marks=pytest.mark.slow),
    ],
)
def test_samplers_invert_the_blocks(network, event, choice):
    model, params = build(event, network, **choice)
    draw = model.draw(params, KEYS)
    z, _ = of_model(model, "to_noise", params, draw.x)
    noise = normal(event.shape)
    np.testing.assert_allclose(z, noise, atol=1e-4)
    num_steps = model.blocks[0].factorization.num_steps
    assert np.abs(draw.x - noise).max() > 0.1
    np.testing.assert_array_equal(draw.stats["network_calls"], 2 * num_steps)
    np.testing.assert_array_equal(draw.stats["steps"], 2 * num_steps)
    for sampler in ("naive", "fixed_point", "fixed_point(window=3)"):
        other = model.draw(params, KEYS, sampler=sampler)
        np.testing.assert_allclose(other.x, draw.x, atol=1e-4)
        assert (other.stats["network_calls"] <= 2 * num_steps).all()


@pytest.mark.slow
def test_a_draw_depends_on_its_own_key_alone():
    model, params = build(IMAGE, context=ContextSpec("label", 3))
    context = np.array([0, 1, 2, 1, 0])
    all_, some = (
        model.draw(params, KEYS[rows], context=context[rows]).x for rows in (np.arange(5), np.arange(5)[::-1])
    )
    np.testing.assert_allclose(some, all_[::-1], atol=1e-6)
    changed = model.draw(params, KEYS, context=(context + 1) % 3).x
    assert (np.abs(changed - all_).reshape(5, -1).max(1) > 1e-3).all()


def test_the_temperature_is_that_of_the_base():
    model, params = build(PLANE)
    cold, hot = (model.draw(params, KEYS, temperature=T).x for T in (1e-12, 4.0))
    assert np.ptp(cold, axis=0).max() < 1e-4
    z, _ = of_model(model, "to_noise", params, hot)
    np.testing.assert_allclose(z, 2 * np.asarray(normal((2,))), atol=1e-4)


def test_a_base_that_is_a_model():
    base = make_model(PLANE, "made", conditional="gaussian_mixture(components=2)", hidden_sizes=(8,))
    model, params = build(PLANE, base=base)
    x = cases.random_x(PLANE, 6)
    z, log_det = of_model(model, "to_noise", params, x)
    expected = of_model(base, "log_prob", params["base"], z) + log_det
    np.testing.assert_allclose(of_model(model, "log_prob", params, x), expected, rtol=1e-5)
    draw = model.draw(params, KEYS)
    np.testing.assert_array_equal(draw.stats["network_calls"], 6)
    of_base = jax.vmap(jax.random.fold_in, (0, None))(KEYS, 2)
    z, _ = of_model(model, "to_noise", params, draw.x)
    np.testing.assert_allclose(z, base.draw(params["base"], of_base).x, atol=1e-4)


def test_levels_are_scored_by_a_bound_whose_exponential_is_unbiased():
    event = EventSpec((1,), (), "levels", 4)
    model, params = build(event)
    assert model.score_kind == "bound" and model.event == event
    of_blocks = FlowModel(model.blocks)
    u = (np.arange(2000) + 0.5) / 2000
    y = (np.arange(4)[:, None] + u) / 4
    value = (2 * y - 1).reshape(-1, 1).astype(np.float32)
    log_p = np.asarray(of_model(of_blocks, "log_prob", params, value), float)
    exact = (np.exp(log_p.reshape(4, -1)) * 2 / 4).mean(1)  # P(x): the integral over u
    x = np.repeat(np.arange(4, dtype=np.int32), 3000)[:, None]
    score = jax.jit(lambda model, params, x: model.score(params, Batch(x), key=KEYS[0]))(model, params, x)
    bound = np.asarray(score.log_prob, float).reshape(4, -1)
    estimate, error = np.exp(bound).mean(1), np.exp(bound).std(1) / 3000**0.5
    assert (np.abs(estimate - exact) < 5 * error + 1e-5).all()
    assert (bound.mean(1) < np.log(exact) + 1e-3).all() and exact.sum() < 1
    assert score.kind == "bound"
    np.testing.assert_allclose(-sum(score.terms.values()), score.log_prob, rtol=1e-4)


def test_real_values_lead_back_to_their_levels():
    x = np.random.default_rng(0).integers(5, size=(20, 3, 4)).astype(np.int32)
    value, _ = jax.jit(dequantised, static_argnums=2)(KEYS[0], x, 5)
    np.testing.assert_array_equal(levels_of(value, 5), x)
    ends = levels_of(jnp.array([-100.0, 100.0]), 5)
    assert ends.tolist() == [0, 4] and ends.dtype == jnp.int32


test_mistakes_are_told = each_refused(
    (lambda m, p: m.score(p, Batch(cases.random_x(PLANE, 2), mask=np.ones((2, 2)))), "has no mask of sites"),
    (lambda m, p: m.draw(p, KEYS, sampler="greedy"), "'greedy' cannot invert a flow: take naive, cached"),
    (lambda m, p: m.draw(p, KEYS, sampler="fixed_point(start='self')"), "not from a draft"),
    (lambda m, p: m.draw(p, KEYS, top_k=3), "cannot draw with top_k"),
    (lambda m, p: of_levels(EventSpec((2,), (), "levels", 4)), "noise is added to levels .* give a random `key`"),
    (lambda m, p: flow(conditional="gaussian_mixture"), "needs a conditional that transforms noise: gaussian"),
    (lambda m, p: flow(EventSpec((2,), (), "tokens", 5)), "a flow is for real data, levels or binary data, not tokens"),
    (lambda m, p: flow(parts={"base": flow(EventSpec((3,), kind="real"))}), "it must be of 2 sites, real, not of 3"),
    given=build,
)


def flow(event=PLANE, **choice):
    return make_model(event, "made", kind="flow", **choice)


def of_levels(event):
    model, params = build(event)
    return model.log_prob(params, np.zeros((1, 2), np.int32))


@pytest.mark.slow
def test_blocks_take_their_orders_in_turn():
    model = make_model(PLANE, "made", kind="flow", num_blocks=3)
    assert [np.asarray(block.factorization.order).tolist() for block in model.blocks] == [[0, 1], [1, 0], [0, 1]]
    model = make_model(
        EventSpec((9,), kind="real"), "made", kind="flow", num_blocks=2, orderings=("random(seed={block})",)
    )
    first, second = (np.asarray(block.factorization.order) for block in model.blocks)
    assert (first != second).any()


def test_draws_that_the_base_cannot_make():
    base = make_model(
        PLANE, "denoising_transformer", kind="gaussian_chain", num_steps=3, width=8, num_layers=1, num_heads=2
    )
    model = make_model(PLANE, "made", kind="flow", num_blocks=1, parts={"base": base})
    refused = refusal(check_draws, model, make_sampler("cached"), Request(temperature=0.5))
    assert "a Gaussian chain has no temperature" in refused
    assert "leave sample.sampler at cached" in refusal(check_draws, model, make_sampler("fixed_point"))
