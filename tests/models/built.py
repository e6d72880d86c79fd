"""Small models with random parameters, at which every path matters."""

from __future__ import annotations

import jax
import numpy as np

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks import NETWORKS
from arjax.testing.examples import random_like


def built(event: EventSpec, network: str = "made", scale: float = 1.0, **options):
    """A model, its network as small as in the laws where the options do not say otherwise, and parameters."""
    return with_params(make_model(event, network, **{**NETWORKS.get(network).SMALL, **options}), scale)


def with_params(model, scale: float = 1.0):
    return model, jax.tree.map(lambda leaf: scale * leaf, random_like(model.param_shapes))


def follow(x, p) -> bool:
    """Whether draws follow the probabilities of all examples, each within five standard errors."""
    num, codes = len(x), np.asarray(x).reshape(len(x), -1) @ (1 << np.arange(6)[::-1])
    counts, p = np.bincount(codes, minlength=64), p / p.sum()
    return (np.abs(counts - num * p) < 5 * np.sqrt(num * p * (1 - p)) + 5).all()
