"""MADE against the equations of Germain et al. (2015), written in numpy, under the even mask and a pool of masks
(section 4.2); and the network that keeps to a graph (Chen et al., 2023).
"""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from numpy_layers import random_like

from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model
from arjax.networks.dense.made import degree_pool, hidden_degrees, places

LINE, GRID = EventSpec((6,)), EventSpec((2, 4))
MASKS, SIZES = 4, (13, 11)
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def built(event, network="made", **options):
    """A model with random parameters, and examples [5, D]."""
    model = make_model(event, network, **options)
    x = np.random.default_rng(1).integers(0, 2, (5, event.num_sites))
    return model, random_like(model.param_shapes, 1.0), x


def paper(x, params, step, degrees):
    """Logits of equations (8)-(13) for inputs of these steps and units of these degrees, layer by layer; with the mean
    of U * M wherever there is a U.
    """
    below, below_degrees = x.astype(float), step
    for layer, m in enumerate(degrees):
        W, b = params[f"hidden_{layer}_kernel"].T, params[f"hidden_{layer}_bias"]
        M_W = m[:, None] >= below_degrees[None, :]  # equations (8), (13)
        of_mask = (params.get(f"hidden_{layer}_mask_kernel", 0 * W.T).T * M_W).mean(1)
        below, below_degrees = np.maximum(0, b + of_mask + below @ (W * M_W).T), m
    M_V = step[:, None] > below_degrees[None, :]  # equation (9)
    of_mask = (params.get("out_mask_kernel", 0 * params["out_kernel"]).T * M_V).mean(1)
    logits = params["out_bias"] + of_mask + below @ (params["out_kernel"].T * M_V).T
    if "direct_kernel" in params:
        M_A = step[:, None] > step[None, :]  # section 3: a strictly triangular mask
        logits += x @ (params["direct_kernel"].T * M_A).T
    return logits


ARCHITECTURES = [((13, 4), True, True), ((11,), False, False), ((13, 4), False, True), ((11,), True, False)]


@pytest.mark.parametrize(
    ("hidden_sizes", "direct", "by_mask"),
    [
        pytest.param(*each, marks=[pytest.mark.slow] * (each not in ARCHITECTURES))
        for each in itertools.product([(11,), (13, 4)], [True, False], [True, False])
    ],
)
@pytest.mark.parametrize("ordering", ["raster", "random(seed=3)"])
def test_logits_follow_the_paper(ordering, hidden_sizes, direct, by_mask):
    """Degrees as evenly over 0, ..., D - 2 as whole numbers allow; in one pass and step by step."""
    options = {"hidden_sizes": hidden_sizes, "direct": direct, "condition_on_masks": by_mask}
    model, params, x = built(LINE, ordering=ordering, **options)
    assert ("direct_kernel" in params) is direct
    degrees = [np.array([k * 5 // size for k in range(size)]) for size in hidden_sizes]
    expected = paper(x, params, model.factorization.rank, degrees)
    features = cases.parallel(model.network, params, x, model.factorization)[..., 0]
    np.testing.assert_allclose(features, expected, **CLOSE)
    steps = cases.stepwise(model.network, params, x, 1 - x, model.factorization)[..., 0]
    np.testing.assert_allclose(steps, expected, **CLOSE)


@pytest.mark.parametrize(("num_units", "num_steps"), [(1, 1), (5, 1), (5, 2), (4, 5), (10, 4), (3, 9), (500, 784)])
def test_degrees_are_ascending_and_even(num_units, num_steps):
    degrees = hidden_degrees(num_units, num_steps)
    assert degrees.shape == (num_units,) and degrees.min() == 0 and degrees.max() <= max(num_steps - 2, 0)
    assert (np.diff(degrees) >= 0).all()
    counts = np.bincount(degrees, minlength=max(num_steps - 1, 1))
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("levels", [3, 256])
def test_in_one_step_the_biases_are_the_logits(levels):
    """Compiled with its score: XLA's CPU compiler makes NaN of a product with an empty mask beside a large softmax."""
    model = make_model(EventSpec((4,), (2,), "levels", levels), "made", partition="blocks(size=4)", hidden_sizes=(8,))
    params, x = random_like(model.param_shapes, 1.0), np.random.default_rng(3).integers(0, levels, (3, 4, 2))
    logits = params["out_bias"].astype(float).reshape(4, 2, levels)
    table = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = np.take_along_axis(np.broadcast_to(table, (3, *table.shape)), x[..., None], -1).sum((1, 2, 3))
    np.testing.assert_allclose(jax.jit(model.log_prob)(params, x), expected, rtol=1e-5)


def test_structured_made_keeps_to_a_graph():
    """Units belong to sites: one of site s sees the parents of s, and feeds whatever has these parents, or more."""
    sizes = (9, 7)
    model, params, x = built(LINE, "structured_made", hidden_sizes=sizes, graph="window(size=2)", direct=True)
    parents = [set(range(max(i - 2, 0), i)) for i in range(6)]
    below = x.astype(float)
    fed = [{j} for j in range(6)]  # a unit or an input feeds those whose parents contain these sites
    for layer, size in enumerate(sizes):
        reads = [parents[s] for s in places(size, 6)]
        M = np.array([[unit <= above for above in reads] for unit in fed])
        below = np.maximum(below @ (params[f"hidden_{layer}_kernel"] * M) + params[f"hidden_{layer}_bias"], 0)
        fed = reads
    M_V = np.array([[unit <= parents[i] for i in range(6)] for unit in fed])
    M_A = np.array([[j in parents[i] for i in range(6)] for j in range(6)])
    expected = params["out_bias"] + below @ (params["out_kernel"] * M_V) + x @ (params["direct_kernel"] * M_A)
    np.testing.assert_allclose(jax.jit(model.features)(params, x)[..., 0], expected, **CLOSE)


@pytest.mark.parametrize(
    ("partition", "sizes"),
    [
        ("sites", (4,)),
        ("blocks(size=2)", (40, 3)),
        ("sites", (3, 40)),
        pytest.param("blocks(size=2)", (4,), marks=pytest.mark.slow),
        pytest.param("sites", (40, 3), marks=pytest.mark.slow),
        pytest.param("blocks(size=2)", (3, 40), marks=pytest.mark.slow),
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


def test_a_fixed_pool_of_degrees_between_the_least_below_and_the_last_but_one():
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
    pool, again = (degree_pool.__wrapped__((30,), 20, 3)[0] for _ in range(2))
    np.testing.assert_array_equal(pool, again)
    assert (pool[1] != pool[2]).any()


@functools.partial(jax.jit, static_argnums=0)
def under_mask(network, params, x, factorization, mask, context=None):
    return network.apply({"params": params}, x, factorization, context, mask=mask).reshape(len(x), -1)


POOL = {"hidden_sizes": SIZES, "num_masks": MASKS, "ordering": "random(seed=2)"}


def test_each_mask_follows_the_equations():
    model, params, x = built(GRID, **POOL)
    for mask in range(MASKS):
        degrees = [pool[mask] for pool in degree_pool(SIZES, 8, MASKS)]
        features = under_mask(model.network, params, x.reshape(5, 2, 4), model.factorization, mask)
        np.testing.assert_allclose(features, paper(x, params, np.asarray(model.factorization.step), degrees), **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize("partition", ["sites", "sizes(sizes=(1, 3, 4))"])
@pytest.mark.parametrize("spec", [ContextSpec(), ContextSpec("label", 3)], ids=["none", "label"])
def test_the_step_form_is_exact_under_every_mask(spec, partition):
    model = make_model(GRID, "made", context=spec, partition=partition, **POOL)
    params, x, garbage = cases.params_of(model), cases.random_x(GRID, 6), cases.random_x(GRID, 6, seed=1)
    context, factorization = cases.random_context(spec, 6), model.factorization
    step_D = np.asarray(factorization.step).reshape(GRID.grid_shape)

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
def test_training_draws_from_the_pool_and_evaluation_uses_mask_0():
    model = make_model(GRID, "made", **POOL)
    params, x = cases.params_of(model), cases.random_x(GRID, 3)
    features = jax.jit(model.features, static_argnames="train")
    by_mask = [np.asarray(under_mask(model.network, params, x, model.factorization, k)) for k in range(MASKS)]
    assert all(np.abs(by_mask[0] - other).max() > 0.1 for other in by_mask[1:])  # they are different models
    np.testing.assert_array_equal(features(params, x).reshape(3, -1), by_mask[0])
    used = set()
    for seed in range(40):
        trained = np.asarray(features(params, x, train=True, key=jax.random.key(seed))).reshape(3, -1)
        used |= {k for k in range(MASKS) if np.array_equal(trained, by_mask[k])}
    assert used == set(range(MASKS))
