"""The first site reads no other: what its features are before the training."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from arjax.core.spec import EventSpec
from arjax.models import make_model


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
