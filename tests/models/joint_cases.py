"""Small models with joint conditionals, and their joint over all examples."""

from __future__ import annotations

import jax
import law_cases as cases
import numpy as np
import pytest

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks import NETWORKS

EVENT = EventSpec((2, 3))
VECTORS = EventSpec((4,), (2,))
ALL = cases.all_values(EVENT)
MIXTURE = "mixture_of_products(components=3)"
NESTED = "nested(hidden_sizes=(12,), features=4)"
BACKWARDS = "nested(hidden_sizes=(12,), features=4, ordering='reversed')"
CATEGORIES = "mixture_of_products(components=2, base='discretized_logistic_mixture(components=2)')"
DEEP = "nested(hidden_sizes=(12,), features=4, partition='sizes(sizes=(1, 2))', conditional='mixture_of_products')"
CALLS = (MIXTURE, NESTED, BACKWARDS)
PARTITIONS = ("rows", "sizes(sizes=(1, 3, 2))", "blocks(size=6)")
each = pytest.mark.parametrize("conditional", CALLS)


def build(conditional: str, partition: str = "rows", network: str = "made", event: EventSpec = EVENT, **choice):
    small = {**NETWORKS.get(network).SMALL, "partition": partition, **choice}
    model = make_model(event, network, conditional=conditional, **small)
    return model, cases.random_like(jax.eval_shape(model.init, jax.random.key(0)))


def joint(model, params, x=ALL, **more) -> np.ndarray:
    """p(x), float64[N]."""
    return np.exp(np.asarray(jax.jit(lambda p, x: model.log_prob(p, x, **more))(params, x), np.float64))


def marginal(p: np.ndarray, sites) -> np.ndarray:
    """The probability of each example's values at some sites, by sums over all examples."""
    flat = ALL.reshape(len(ALL), -1)[:, list(sites)]
    _, group = np.unique(flat, axis=0, return_inverse=True)
    return np.bincount(group.ravel(), p)[group.ravel()] if flat.shape[1] else np.ones(len(ALL))
