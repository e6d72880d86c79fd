"""How layers are run (scanned, unrolled, recomputed) changes neither parameters nor values."""

from __future__ import annotations

import functools

import jax
import law_cases as cases
import numpy as np
import pytest

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks import NETWORKS
from arjax.testing.models import autoregressive_networks

GRID = EventSpec((2, 3))
EVENT = EventSpec((6,), kind="tokens", num_levels=5)
EXAMPLES = np.random.default_rng(0).integers(0, 5, (3, 6))


@functools.cache
def model_of(num_layers: int, unroll: int = 1, remat: bool = False):
    options = {"num_layers": num_layers, "unroll": unroll, "remat": remat}
    return make_model(EVENT, "transformer", width=16, num_heads=2, **options)


@functools.cache
def value_and_gradient(num_layers: int, *how):
    model, params = model_of(num_layers, *how), cases.params_of(model_of(num_layers))
    return jax.jit(jax.value_and_grad(lambda p: model.log_prob(p, EXAMPLES).sum()))(params)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_layers", "unroll", "remat"), [(3, 2, False), (3, 1, True), (3, 4, False), (1, 4, False), (1, 1, True)]
)
def test_layers_compute_the_same_however_they_are_run(num_layers, unroll, remat):
    assert model_of(num_layers, unroll, remat).param_shapes == model_of(num_layers).param_shapes
    expected, expected_gradient = value_and_gradient(num_layers)
    value, gradient = value_and_gradient(num_layers, unroll, remat)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), gradient, expected_gradient)


@pytest.mark.slow
@pytest.mark.parametrize("num_layers", [1, 3])
def test_fresh_parameters_are_the_same_however_layers_are_run(num_layers):
    key = jax.random.key(0)
    expected = model_of(num_layers).init(key)
    for how in [(2, False), (4, False), (1, True)]:
        jax.tree.map(np.testing.assert_array_equal, model_of(num_layers, *how).init(key), expected)


@pytest.mark.slow
@pytest.mark.parametrize("network", [name for name in autoregressive_networks() if "remat" in NETWORKS.options(name)])
def test_recomputation_changes_neither_parameters_nor_gradients(network):
    """In training, too."""
    names = NETWORKS.options(network)
    rates = {name: 0.0 for name in names if name.endswith("dropout")} | {n: 1 for n in names if n == "unroll"}
    models = [cases.supported_model(network, GRID, "raster", "sites", remat=each, **rates) for each in (False, True)]
    assert models[0].param_shapes == models[1].param_shapes
    x, params = cases.random_x(GRID, 2), cases.params_of(models[0])

    def loss(params, model):
        return model.features(params, x, train=True, key=jax.random.key(0)).sum()

    gradients = jax.jit(lambda params: [jax.grad(loss)(params, model) for model in models])(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), *gradients)
