"""MADE against the equations of Germain et al. (2015), and the network that keeps to a graph (Chen et al., 2023), in
numpy.
"""

from __future__ import annotations

import itertools

import jax
import law_cases as cases
import numpy as np
import pytest
from numpy_layers import random_like

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks.dense.made import hidden_degrees, places

LINE = EventSpec((6,))
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def built(event, network="made", **options):
    """A model with random parameters, and examples [5, D]."""
    model = make_model(event, network, **options)
    x = np.random.default_rng(1).integers(0, 2, (5, event.num_sites))
    return model, random_like(model.param_shapes, 1.0), x


def paper(x, params, step, depth):
    """Logits of equations (8)-(13) for inputs of these steps and degrees as evenly over 0, ..., D - 2 as whole numbers
    allow; with the mean of U * M wherever there is a U.
    """
    below, below_degrees = x.astype(float), step
    for layer in range(depth):
        W, b = params[f"hidden_{layer}_kernel"].T, params[f"hidden_{layer}_bias"]
        m = np.array([k * (len(step) - 1) // len(b) for k in range(len(b))])
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
    """In one pass and step by step."""
    options = {"hidden_sizes": hidden_sizes, "direct": direct, "condition_on_masks": by_mask}
    model, params, x = built(LINE, ordering=ordering, **options)
    assert ("direct_kernel" in params) is direct
    expected = paper(x, params, model.factorization.rank, len(hidden_sizes))
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
