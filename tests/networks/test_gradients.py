"""At the start of training, gradients are of moderate size: else clipping by their norm would stop all learning."""

from __future__ import annotations

import jax
import law_cases as cases
import numpy as np
import pytest
from families import fast_for, slow

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks import NETWORKS

#: A family for each way to keep a scale: sums over all sites, residual layers, weights that are normalised, and
#: recurrences. The rest is slow.
FAST = ("nade", "lstm")


def largest_gradients(model, x):
    """The largest number of each array, at fresh parameters."""
    gradient = jax.grad(lambda params: -model.log_prob(params, x).mean())
    gradients = jax.jit(lambda key: gradient(model.init(key)))(jax.random.key(0))
    return [float(np.abs(leaf).max()) for leaf in jax.tree.leaves(gradients)]


@pytest.mark.parametrize("network", fast_for(FAST))
def test_gradients_of_fresh_parameters_are_moderate(network):
    event = cases.EVENTS["tokens"]
    model = cases.supported_model(network, event, "raster", "sites")
    if isinstance(model, str):
        pytest.skip(model)
    largest = largest_gradients(model, cases.random_x(event, 8))
    if not largest:
        pytest.skip("it learns nothing")
    assert 1e-3 < max(largest) < 100


@pytest.mark.parametrize(
    ("network", "event"),
    [
        ("min_gru", "binary"),
        slow("min_gru", "columns"),
        slow("transformer", "binary"),
        slow("transformer_xl", "binary"),
        slow("transformer_xl", "columns"),
    ],
)
def test_gradients_of_tokens_of_zeros_are_moderate(network, event):
    """A token that is exactly 0, as it has no position beside the value, would be divided by a root of 1e-6, in each
    layer.
    """
    options = NETWORKS.get(network).SMALL | {"position": "none"}
    model = make_model(cases.EVENTS[event], network, **options)
    assert max(largest_gradients(model, np.zeros((8, *model.event.shape), model.event.dtype))) < 100


@pytest.mark.slow
@pytest.mark.parametrize(
    "network", ["made", "structured_made", "separate", "deep_nade", "nade", "fvsbn", "independent"]
)
def test_components_of_a_mixture_differ_from_the_start(network):
    """Equal components have equal gradients: they would never part."""
    model = make_model(EventSpec((3,), kind="real"), network, conditional="gaussian_mixture(components=3)")
    features = jax.jit(lambda key: model.features(model.init(key), np.zeros((1, 3), np.float32)))(jax.random.key(0))
    features = np.asarray(features)[0, 0]
    assert len(np.unique(features)) == len(features)
