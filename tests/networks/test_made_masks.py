"""A pool of masks (Germain et al., 2015, section 4.2): what is drawn, what training uses; each mask is a model."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from families import slow

from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model
from arjax.networks.dense.made import degree_pool, hidden_degrees

EVENT = EventSpec((2, 4))
MASKS = 4


def build(event: EventSpec = EVENT, partition: str = "sites", **options):
    choice = {"hidden_sizes": (13, 11), "num_masks": MASKS, "ordering": "random(seed=2)", "partition": partition}
    model = make_model(event, "made", **(choice | options))
    return model, cases.params_of(model)


@functools.partial(jax.jit, static_argnums=0)
def under_mask(network, params, x, factorization, mask, context=None):
    return network.apply({"params": params}, x, factorization, context, mask=mask).reshape(len(x), -1)


def test_degrees_lie_between_the_least_below_and_the_last_but_one():
    first, second = degree_pool((40, 6), 9, 50)
    np.testing.assert_array_equal(first[0], hidden_degrees(40, 9))
    np.testing.assert_array_equal(second[0], hidden_degrees(6, 9))
    assert first.min() == 0 and first.max() == second.max() == 7
    assert (second.min(1) >= first.min(1)).all()
    counts = np.bincount(first[1:].ravel(), minlength=8)  # uniform: 8 degrees, 5 sigma
    expected = first[1:].size / 8
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()
    low = degree_pool((2, 400), 9, 50)
    drawn = low[1][1:] - low[0][1:].min(1, keepdims=True)
    assert (drawn.min(1) == 0).all()  # each mask uses all that the layer below allows


def test_the_pool_is_fixed_and_its_masks_differ():
    pool, again = (degree_pool.__wrapped__((30,), 20, 3)[0] for _ in range(2))
    np.testing.assert_array_equal(pool, again)
    assert (pool[1] != pool[2]).any()
    np.testing.assert_array_equal(degree_pool((30,), 20, 1)[0], hidden_degrees(30, 20)[None])


def test_each_mask_follows_the_equations():
    """Equations (8)-(13) with the degrees of that mask, in numpy."""
    model, params = build()
    x, step = cases.random_x(EVENT, 5), np.asarray(model.factorization.step)
    for mask in range(MASKS):
        below, below_degrees = x.reshape(5, 8).astype(float), step
        for layer, pool in enumerate(degree_pool((13, 11), 8, MASKS)):
            kernel, degrees = params[f"hidden_{layer}_kernel"], pool[mask]
            sees = below_degrees[:, None] <= degrees
            below = np.maximum(below @ (kernel * sees) + params[f"hidden_{layer}_bias"], 0)
            below_degrees = degrees
        logits = params["out_bias"] + below @ (params["out_kernel"] * (below_degrees[:, None] < step))
        logits = logits + x.reshape(5, 8) @ (params["direct_kernel"] * (step[:, None] < step))
        features = under_mask(model.network, params, x, model.factorization, mask)
        np.testing.assert_allclose(features, logits, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("partition", ["sites", "sizes(sizes=(1, 3, 4))"])
@pytest.mark.parametrize("kind", ["none", "label"])
def test_the_step_form_is_exact_under_every_mask(kind, partition):
    spec = ContextSpec("label", 3) if kind == "label" else ContextSpec()
    model, params = build(partition=partition, context=spec)
    x, garbage = cases.random_x(EVENT, 6), cases.random_x(EVENT, 6, seed=1)
    context, factorization = cases.random_context(spec, 6), model.factorization
    step_D = np.asarray(factorization.step).reshape(EVENT.grid_shape)

    @jax.jit
    def stepwise(params, mask):
        variables = {"params": params}
        carry = model.network.apply(variables, 6, factorization, context, mask, method="start")

        def body(carry, t):
            canvas = jnp.where(step_D < t, x, garbage)
            return model.network.apply(variables, carry, canvas, t, factorization, context, method="step")

        _, features_SBMF = jax.lax.scan(body, carry, jnp.arange(factorization.num_steps))
        return jnp.swapaxes(features_SBMF, 0, 1).reshape(6, -1)[:, jnp.asarray(factorization.index_in_blocks)]

    for mask in range(MASKS):
        expected = under_mask(model.network, params, x, factorization, mask, context)
        np.testing.assert_allclose(stepwise(params, mask), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_every_mask_keeps_the_order_and_is_a_distribution():
    event = EventSpec((6,))
    model, params = build(event)
    everything, mask_DD = cases.all_values(event), np.asarray(model.factorization.mask())
    totals, seen = [], []
    for mask in range(MASKS):
        logits = np.asarray(under_mask(model.network, params, everything, model.factorization, mask), np.float64)
        seen.append(logits)
        totals.append(np.exp(-np.logaddexp(0, np.where(everything == 1, -logits, logits)).sum(1)).sum())
        for site in range(6):
            flipped = (everything ^ (np.arange(6) == site)) @ 2 ** np.arange(6)[::-1]
            changes = (logits[flipped] != logits).any(0)
            assert not changes[~mask_DD[:, site]].any()
    np.testing.assert_allclose(totals, 1, atol=1e-5)
    assert all(np.abs(seen[0] - other).max() > 0.1 for other in seen[1:])  # they are different models


@pytest.mark.slow
def test_training_draws_from_the_pool_and_evaluation_uses_mask_0():
    model, params = build()
    x = cases.random_x(EVENT, 3)
    features = jax.jit(model.features, static_argnames="train")
    by_mask = [np.asarray(under_mask(model.network, params, x, model.factorization, k)) for k in range(MASKS)]
    np.testing.assert_array_equal(features(params, x).reshape(3, -1), by_mask[0])
    used = set()
    for seed in range(40):
        trained = np.asarray(features(params, x, train=True, key=jax.random.key(seed))).reshape(3, -1)
        used |= {k for k in range(MASKS) if np.array_equal(trained, by_mask[k])}
    assert used == set(range(MASKS))


@pytest.mark.parametrize(
    ("partition", "sizes"),
    [
        ("sites", (4,)),
        ("blocks(size=2)", (40, 3)),
        ("sites", (3, 40)),
        slow("blocks(size=2)", (4,)),
        slow("sites", (40, 3)),
        slow("blocks(size=2)", (3, 40)),
    ],
)
def test_too_few_units_without_direct_connections_miss_sites_and_say_so(sizes, partition):
    """Law 1 for masks that do not reach: what is declared is exactly what is read."""
    choice = {"ordering": "random(seed=2)", "partition": partition, "activation": "tanh", "hidden_sizes": sizes}
    model = make_model(EventSpec((10,)), "made", direct=False, **choice)
    declared = model.network.dependencies(model.factorization)
    assert declared.sum() < np.asarray(model.factorization.mask()).sum() or partition != "sites"
    depends = cases.dependence(model.network, cases.params_of(model), model.factorization, num=16)
    np.testing.assert_array_equal(depends, declared)
    everything = make_model(EventSpec((10,)), "made", direct=True, **choice)
    np.testing.assert_array_equal(everything.network.dependencies(model.factorization), model.factorization.mask())
