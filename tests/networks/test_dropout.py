"""Dropout: active in training only, a function of the key, and never at the price of the order."""

from __future__ import annotations

import functools
import re

import jax
import law_cases as cases
import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.networks import NETWORKS

EVENT = EventSpec((2, 3))  # a grid, which every network serves in raster order
X = np.random.default_rng(0).integers(0, 2, (8, 2, 3)).astype(np.int32)
#: Every option of every family that is a dropout rate.
RATES = [(n, o) for n in NETWORKS.names() for o in NETWORKS.options(n) if o.endswith("dropout")]


def build(network: str, **rates: float):
    """A model and its features [B, D, F], to be compiled or only lowered."""
    model = cases.served_model(network, EVENT, "raster", "sites", **rates)

    def features(params, x, key, train):
        found = model.features(params, x, train=train, key=key if train else None)
        return found.reshape(len(X), EVENT.num_sites, -1)

    return model, jax.jit(features, static_argnames="train"), cases.random_like(model.param_shapes)


def program(features, params, train: bool) -> str:
    """The program before it is compiled, without the key, which is an argument of no use out of training."""
    text = features.lower(params, X, jax.random.key(0), train=train).as_text()
    return re.sub(r"%arg\d+|#loc.*|loc\(.*?\)", "", text)


@pytest.mark.parametrize("network", NETWORKS.names())
def test_active_only_in_training_and_at_no_price_of_the_order(network):
    """Without dropout training is the program of scoring, and with dropout scoring stays that program."""
    _, features, params = build(network)
    expected = program(features, params, train=False)
    assert program(features, params, train=True) == expected
    for rate in (option for name, option in RATES if name == network):
        model, dropped, dropped_params = build(network, **{rate: 0.5})
        assert jax.tree.structure(params) == jax.tree.structure(dropped_params)
        assert program(dropped, params, train=False) == expected
        assert program(dropped, params, train=True) != expected
        in_training = functools.partial(dropped, params, train=True)
        first, again, other = (np.asarray(in_training(X, key=jax.random.key(k))) for k in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert (np.abs(first - other).max((0, 2)) > 1e-3).any()
        check_order(model, lambda x, noisy=in_training: noisy(x, key=jax.random.key(3)))


def check_order(model, noisy_features):
    """With one key, a site's features change with those before it, and with no other."""
    mask, before = model.network.dependencies(model.factorization), np.asarray(noisy_features(X))
    for site in range(EVENT.num_sites):
        changed = X.copy()
        changed.reshape(len(X), -1)[:, site] ^= 1
        differs = (np.asarray(noisy_features(changed)) != before).any((0, 2))
        assert not differs[~mask[:, site]].any()
        assert differs.any() or not mask[:, site].any()


@pytest.mark.parametrize(("network", "rate"), RATES)
def test_training_without_a_key_is_an_error_not_silence(network, rate):
    model, _, params = build(network, **{rate: 0.5})
    with pytest.raises(UserError, match=r"^this network has dropout: train=True needs a random `key`"):
        jax.eval_shape(lambda: model.features(params, X, train=True))
