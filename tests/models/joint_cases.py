"""Small models with joint conditionals, and their joint over all examples."""

from __future__ import annotations

import functools

import jax
import law_cases as cases
import numpy as np
import pytest
from built import built

from arjax.core.spec import EventSpec

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


@functools.cache
def build(conditional: str, partition: str = "rows", network: str = "made", event: EventSpec = EVENT, **choice):
    """A small model and its parameters, the same objects whenever it is asked for again."""
    return built(event, network, conditional=conditional, partition=partition, **choice)


@jax.jit
def scores(model, params, x):
    """log p, log p of each site, and the entropies that `conditionals` gives, of examples x [B, *grid, *value]."""
    return model.log_prob(params, x), model.log_prob_per_site(params, x), model.conditionals(params, x)


def joint(model, params, x=ALL) -> np.ndarray:
    """p(x), float64[N]."""
    return np.exp(np.asarray(scores(model, params, x)[0], np.float64))


def marginal(p: np.ndarray, sites) -> np.ndarray:
    """The probability of each example's values at some sites, by sums over all examples."""
    flat = ALL.reshape(len(ALL), -1)[:, list(sites)]
    _, group = np.unique(flat, axis=0, return_inverse=True)
    return np.bincount(group.ravel(), p)[group.ravel()] if flat.shape[1] else np.ones(len(ALL))


def follow(x, p) -> bool:
    """Whether draws follow the probabilities of all examples, each within five standard errors."""
    num, codes = len(x), np.asarray(x).reshape(len(x), -1) @ (1 << np.arange(6)[::-1])
    counts, p = np.bincount(codes, minlength=64), p / p.sum()
    return (np.abs(counts - num * p) < 5 * np.sqrt(num * p * (1 - p)) + 5).all()
