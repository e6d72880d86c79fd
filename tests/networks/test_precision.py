"""Compute in bfloat16: parameters and features stay float32, values stay close, and the step form still agrees."""

from __future__ import annotations

import jax
import law_cases as cases
import numpy as np
import pytest

from arjax.networks import NETWORKS
from arjax.spec import EventSpec

pytestmark = pytest.mark.usefixtures("quick_compilation")

EVENT = EventSpec((2, 3), kind="tokens", num_levels=5)
#: Largest and mean difference allowed, relative to the largest feature. bfloat16 keeps 8 bits, an error of 2^-9 = 0.002
#: per operation, which attention can amplify at single sites; measured: at most 0.045 and 0.006.
LARGEST, MEAN = 0.06, 0.01


def small(network: str, dtype: str):
    return cases.served_model(network, EVENT, "random(seed=1)", "sites", dtype=dtype)


@pytest.mark.parametrize("network", NETWORKS.names())
def test_parameters_are_float32_and_the_same_in_both_types(network):
    low, high = (jax.jit(small(network, dtype).init)(jax.random.key(0)) for dtype in ("bfloat16", "float32"))
    assert {leaf.dtype for leaf in jax.tree.leaves(low)} == {np.dtype(np.float32)}
    jax.tree.map(np.testing.assert_array_equal, low, high)


@pytest.mark.parametrize("network", NETWORKS.names())
def test_features_are_float32_close_to_those_of_float32_and_equal_step_by_step(network):
    low, high = small(network, "bfloat16"), small(network, "float32")
    params = cases.params_of(high)
    x, garbage = cases.random_x(EVENT, 16), cases.random_x(EVENT, 16, seed=1)
    expected = np.asarray(cases.parallel(high.network, params, x, high.factorization))
    features = cases.parallel(low.network, params, x, low.factorization)
    steps = cases.stepwise(low.network, params, x, garbage, low.factorization)
    assert features.dtype == steps.dtype == np.float32
    scale = np.abs(expected).max()
    for difference in (features - expected, steps - expected, features - steps):
        assert np.abs(difference).max() <= LARGEST * scale
        assert np.abs(difference).mean() <= MEAN * scale
    assert np.abs(features - expected).mean() > 1e-4 * scale  # it did compute in bfloat16


@pytest.mark.parametrize("network", NETWORKS.names())
def test_carry_has_one_type_from_step_to_step(network):
    """Else a scan over steps could not be compiled."""
    model = small(network, "bfloat16")
    params, x = jax.eval_shape(model.init, jax.random.key(0)), np.zeros((2, 2, 3), np.int32)

    def one_step(params):
        variables = {"params": params}
        carry = model.network.apply(variables, 2, model.factorization, method="init_carry")
        return carry, model.network.apply(variables, carry, x, 0, model.factorization, method="step")[0]

    before, after = jax.eval_shape(one_step, params)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), before) == jax.tree.map(lambda a: (a.shape, a.dtype), after)
