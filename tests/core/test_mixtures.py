"""The arithmetic of mixtures, in numpy and in JAX."""

import jax.numpy as jnp
import numpy as np
import pytest

from arjax.core.mixtures import log_mean, log_mixture, mixed_nats
from arjax.core.score_names import kind_of_mixture, weakest

PROBS = np.array([[0.1, 0.2, 0.5], [0.4, 0.3, 0.25]])
WEIGHTS = np.array([0.25, 0.75])


@pytest.mark.parametrize("array", (np.asarray, jnp.asarray))
@pytest.mark.parametrize("axis", (0, 1, -1))
def test_the_log_of_a_weighted_sum(array, axis):
    """Over any axis, and far below the smallest number that exp has."""
    probs = PROBS if axis == 0 else PROBS.T
    log_probs, expected = array(np.log(probs) - 2000), np.log(WEIGHTS @ PROBS) - 2000
    mixed = log_mixture(array(np.log(WEIGHTS)), log_probs, axis)
    assert isinstance(mixed, type(log_probs))
    np.testing.assert_allclose(mixed, expected, rtol=1e-6)
    np.testing.assert_allclose(log_mean(log_probs, axis), np.log(PROBS.mean(0)) - 2000, rtol=1e-6)


def test_a_member_without_weight_has_no_part():
    nats = -np.log(PROBS)
    np.testing.assert_array_equal(mixed_nats(nats, np.array([0.0, 1.0])), nats[1])


def test_kinds_of_mixtures():
    assert weakest("exact", "exact") == "exact" and weakest("exact", "estimate", "bound") == "estimate"
    assert kind_of_mixture("exact", "exact", unbiased=False) == "exact"
    assert kind_of_mixture("exact", "bound", unbiased=True) == "bound"
    assert kind_of_mixture("exact", "bound", unbiased=False) == "estimate"
