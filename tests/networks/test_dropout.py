"""Dropout: active in training only, a function of the key, and never at the price of the order."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from families import FEW, fast_for
from flax.errors import InvalidRngError

from arjax.core.spec import EventSpec
from arjax.networks import NETWORKS
from arjax.testing.models import autoregressive_networks
from arjax.testing.network import check_dropout

EVENT = EventSpec((2, 3))  # a grid, which every network serves in raster order
X = np.random.default_rng(0).integers(0, 2, (8, 2, 3)).astype(np.int32)
#: The options of every family that are dropout rates.
RATES = {name: [o for o in NETWORKS.options(name) if o.endswith("dropout")] for name in autoregressive_networks()}


#: One family for each way to draw: in a layer, and in a scan over layers or over steps.
DRAWS = ("made", "nade", "transformer", "lstm")


def model_of(network: str, rates=()):
    return cases.supported_model(network, EVENT, "raster", "sites", **dict.fromkeys(rates, 0.5))


@functools.partial(jax.jit, static_argnums=(0, 5))
def features(network, params, x, factorization, key, train):
    """[B, D, F]."""
    rngs = None if key is None else {"dropout": key}
    found = network.apply({"params": params}, x, factorization, train=train, rngs=rngs)
    return found.reshape(len(x), factorization.num_sites, -1)


def program(network: str, rates=(), train: bool = False):
    """A pass with dropout of these rates; it is given a key where it must need one."""
    model, params = model_of(network, rates), cases.params_of(model_of(network))
    key = jax.eval_shape(jax.random.key, 0) if rates and train else None
    return features.trace(model.network, params, X, model.factorization, key, train)


def same(a, b) -> bool:
    """Whether two passes are the same operations, at the latest when they are lowered."""
    return str(a.jaxpr) == str(b.jaxpr) or a.lower().as_text() == b.lower().as_text()


@pytest.mark.parametrize("network", fast_for(DRAWS[::3]))
def test_active_only_in_training(network):
    """Training without dropout is the program of scoring with dropout; training with dropout is another one."""
    rates, expected = tuple(RATES[network]), program(network, train=True)
    assert same(program(network, rates), expected)
    assert not any(same(program(network, (rate,), train=True), expected) for rate in rates)


@pytest.mark.parametrize("network", fast_for(FEW[::2]))
def test_noise_is_a_function_of_the_key_and_keeps_the_order(network):
    if RATES[network]:
        check_dropout(network, {})


@pytest.mark.parametrize("network", fast_for(("made", "transformer", "lstm", "wavenet", "lmconv", "gated_pixelcnn")))
def test_steps_draw_no_noise(network):
    """Without a key, noise would be an error."""
    model = model_of(network, RATES[network])
    shapes, form = model.param_shapes, model.factorization

    def steps(params):
        carry = model.network.apply({"params": params}, 2, form, method="start")
        return model.network.apply({"params": params}, carry, jnp.zeros((2, 2, 3), int), 1, form, method="step")

    kept, features = jax.eval_shape(steps, shapes)
    assert features.shape[0] == 2 and jax.tree.leaves(kept)


@pytest.mark.parametrize("network", DRAWS)
def test_training_without_a_key_is_an_error_not_silence(network):
    model = model_of(network, ("dropout",))
    with pytest.raises(InvalidRngError, match="dropout"):
        jax.eval_shape(lambda: model.features(cases.params_of(model), X, train=True))
