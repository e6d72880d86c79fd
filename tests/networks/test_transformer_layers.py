"""How the layers of a Transformer are run (scanned, unrolled, recomputed) changes neither parameters nor values."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.models import make_model

EVENT = EventSpec((6,), kind="tokens", num_levels=5)
EXAMPLES = np.random.default_rng(0).integers(0, 5, (3, 6))


@functools.cache
def value_and_gradient(num_layers: int, **options):
    """Fresh parameters, the log-probability of the examples, and its gradient."""
    model = make_model(EVENT, "transformer", width=16, num_heads=2, num_layers=num_layers, **options)

    @jax.jit
    def of(key):
        params = model.init(key)
        return params, *jax.value_and_grad(lambda p: model.log_prob(p, EXAMPLES).sum())(params)

    return of(jax.random.key(0))


@pytest.mark.parametrize(
    ("num_layers", "options"),
    [
        (3, {"unroll": 2}),
        (3, {"unroll": 1, "remat": True}),
        pytest.param(3, {"unroll": 4}, marks=pytest.mark.slow),
        pytest.param(1, {"unroll": 4}, marks=pytest.mark.slow),
        pytest.param(1, {"unroll": 1, "remat": True}, marks=pytest.mark.slow),
    ],
)
def test_layers_compute_the_same_however_they_are_run(num_layers, options):
    expected_params, expected, expected_gradient = value_and_gradient(num_layers, unroll=1)
    params, value, gradient = value_and_gradient(num_layers, **options)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), params, expected_params)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), gradient, expected_gradient)


def test_recomputation_needs_one_layer_per_iteration():
    with pytest.raises(UserError, match="unroll=1, not 4"):
        make_model(EVENT, "transformer", remat=True)
