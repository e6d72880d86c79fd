"""MADE against the equations of Germain et al. (2015), written in numpy over 1-based degrees."""

from __future__ import annotations

import itertools

import jax
import law_cases as cases
import numpy as np
import pytest
from numpy_layers import random_like

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks.dense.made import places


def unit_degrees(num_units: int, num_sites: int) -> np.ndarray:
    """m(k) in 1..D-1, as evenly as whole numbers allow."""
    return np.array([1 + k * (num_sites - 1) // num_units for k in range(num_units)])


def paper(x: np.ndarray, degrees: np.ndarray, params: dict[str, np.ndarray], depth: int, direct: bool) -> np.ndarray:
    """Logits of equations (8)-(13) and section 4.2 for inputs of the given degrees (when they come, from 1 on); with
    the mean of U * M wherever there is a U.
    """
    below, below_degrees = x.astype(float), degrees
    for layer in range(depth):
        W, b = params[f"hidden_{layer}_kernel"].T, params[f"hidden_{layer}_bias"]
        m = unit_degrees(len(b), len(degrees))
        M_W = m[:, None] >= below_degrees[None, :]  # equations (8), (13)
        told = (params.get(f"hidden_{layer}_mask_kernel", 0 * W.T).T * M_W).mean(1)
        below, below_degrees = np.maximum(0, b + told + below @ (W * M_W).T), m
    M_V = degrees[:, None] > below_degrees[None, :]  # equation (9)
    told = (params.get("out_mask_kernel", 0 * params["out_kernel"]).T * M_V).mean(1)
    logits = params["out_bias"] + told + below @ (params["out_kernel"].T * M_V).T
    if direct:
        M_A = degrees[:, None] > degrees[None, :]  # section 3: a strictly triangular mask
        logits += x @ (params["direct_kernel"].T * M_A).T
    return logits


ARCHITECTURES = [((13, 4), True, True), ((11,), False, False), ((13, 4), False, True), ((11,), True, False)]


@pytest.mark.parametrize(
    ("hidden_sizes", "direct", "told"),
    [
        pytest.param(*each, marks=[pytest.mark.slow] * (each not in ARCHITECTURES))
        for each in itertools.product([(11,), (13, 4)], [True, False], [True, False])
    ],
)
@pytest.mark.parametrize("ordering", ["raster", "random(seed=3)"])
def test_logits_follow_the_paper(ordering, hidden_sizes, direct, told):
    options = {"hidden_sizes": hidden_sizes, "direct": direct, "condition_on_masks": told}
    model = make_model(EventSpec((6,)), "made", ordering=ordering, **options)
    params, x = random_like(model.param_shapes, 1.0), np.random.default_rng(1).integers(0, 2, (5, 6))
    assert ("direct_kernel" in params) is direct
    expected = paper(x, model.factorization.rank + 1, params, len(hidden_sizes), direct)
    features = cases.parallel(model.network, params, x, model.factorization)[..., 0]
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)
    steps = cases.stepwise(model.network, params, x, 1 - x, model.factorization)[..., 0]
    np.testing.assert_allclose(steps, expected, rtol=1e-4, atol=1e-4)


def test_levels_enter_one_hot_and_real_values_as_they_are():
    levels = make_model(EventSpec((3,), (2,), "levels", 4), "made", hidden_sizes=(5,))
    assert random_like(levels.param_shapes, 1.0)["hidden_0_kernel"].shape == (3 * 2 * 4, 5)
    binary = make_model(EventSpec((3,), (2,)), "made", hidden_sizes=(5,))
    assert random_like(binary.param_shapes, 1.0)["hidden_0_kernel"].shape == (3 * 2, 5)


@pytest.mark.parametrize("levels", [3, 256])
def test_in_one_step_the_biases_are_the_logits(levels):
    """Compiled with its score: XLA's CPU compiler makes NaN of a product with an empty mask beside a large softmax."""
    event = EventSpec((4,), (2,), "levels", levels)
    model = make_model(event, "made", partition="blocks(size=4)", hidden_sizes=(8,))
    params, x = random_like(model.param_shapes, 1.0), np.random.default_rng(3).integers(0, levels, (3, 4, 2))
    logits = params["out_bias"].astype(float).reshape(4, 2, levels)
    table = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = np.take_along_axis(np.broadcast_to(table, (3, *table.shape)), x[..., None], -1).sum((1, 2, 3))
    np.testing.assert_allclose(jax.jit(model.log_prob)(params, x), expected, rtol=1e-5)


def test_structured_made_keeps_to_a_graph():
    """Chen et al. (2023), with units that belong to sites: one of site s sees the parents of s, and feeds whatever has
    these parents, or more.
    """
    sizes = (9, 7)
    model = make_model(EventSpec((6,)), "structured_made", hidden_sizes=sizes, graph="window(size=2)", direct=True)
    params, x = random_like(model.param_shapes, 1.0), np.random.default_rng(1).integers(0, 2, (5, 6))
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
    found = jax.jit(model.features)(params, x)[..., 0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
