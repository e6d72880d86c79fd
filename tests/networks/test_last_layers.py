"""The layers that return features; with zeros in them, each block of a new flow is the identity."""

import functools

import jax
import law_cases as cases
import numpy as np
import pytest
from choice import each_network
from families import slow

from arjax.core.spec import NO_CONTEXT, EventSpec
from arjax.models import make_model
from arjax.networks import NETWORKS
from arjax.networks.readout import readout_paths, with_zero_features

#: The layers and parameters of networks on a small picture that return features, of each way to have them.
READOUTS = {
    "conv_nade": {"mlp/out_bias", "mlp/out_kernel", "out/mix"},
    "fvsbn": {"earlier", "site/bias"},
    "made": {"direct_kernel", "out_bias", "out_kernel"},
    "nade": {"earlier", "out_kernel", "site/bias"},
    "multiscale": {"scale_0/out", "scale_1/out"},
    "transformer": {"out"},
    "lstm": {"readout/out"},
    "markov": set(),
}


@pytest.mark.parametrize("network", READOUTS)
def test_the_readouts_of_networks(network):
    model = cases.supported_model(network, EventSpec((2, 3)), "raster", "sites")
    expected = READOUTS[network]
    found = {
        next((name for name in expected if f"{path}/".startswith(f"{name}/")), path)
        for path in readout_paths(model.init)
    }
    assert found == expected


@functools.cache
def zeroed(model):
    return with_zero_features(cases.params_of(model), readout_paths(model.init, "FROM_CONTEXT"))


@each_network(["context"], [("",), ("several",)], every=10, takes=cases.is_cheap)
def test_features_are_zero(network, context):
    """Whatever the context: networks on vectors add a map of it to their features, past the last layer."""
    spec = cases.CONTEXTS[context] if context else NO_CONTEXT
    model = cases.supported_model(network, cases.EVENTS["real"], "raster", "sites", context=spec)
    if isinstance(model, str):
        return
    x, context = cases.random_x(model.event, cases.BATCH), cases.random_context(spec, cases.BATCH)
    features = cases.parallel(model.network, zeroed(model), x, model.factorization, context)
    np.testing.assert_array_equal(features, 0)


def test_normalised_weights_keep_their_directions():
    """g v / |v| with g and v at 0 has no gradient: such a layer would stay at 0."""
    layer = {"out": {"kernel": np.ones((2, 3)), "scale": np.ones(3), "bias": np.ones(3)}}
    zeros = with_zero_features(layer, frozenset({"out/kernel", "out/scale", "out/bias"}))["out"]
    assert np.all(zeros["kernel"] == 1) and not np.any(zeros["scale"]) and not np.any(zeros["bias"])


def test_other_parameters_stay():
    model = make_model(EventSpec((6,), (), "real"), "transformer", **NETWORKS.get("transformer").SMALL)
    params = cases.params_of(model)
    changed = jax.tree.map(lambda before, after: bool(np.any(before != after)), params, zeroed(model))
    assert {name for name in changed if any(jax.tree.leaves(changed[name]))} == {"out"}


@pytest.mark.parametrize("conditional", ["gaussian(scale_bound=3)", "spline", slow("gaussian(min_log_scale=-2.3)")])
def test_new_flows_are_the_identity(conditional):
    event = EventSpec((3,), (), "real")
    flow = make_model(event, "made", kind="flow", num_blocks=3, conditional=conditional, hidden_sizes=(12,))
    x = cases.random_x(event, 7)
    z, log_det = jax.jit(flow.to_noise)(jax.jit(flow.init)(jax.random.key(0)), x)
    np.testing.assert_allclose(z, x, atol=1e-5)
    np.testing.assert_allclose(log_det, 0, atol=1e-5)
