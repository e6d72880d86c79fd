"""The layers that return features; with zeros in them, each block of a new flow is the identity."""

import functools

import jax
import law_cases as cases
import numpy as np
import pytest
from choice import each_network
from families import fast_for, slow

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks import NETWORKS
from arjax.networks.readout import readout_paths, with_zero_features
from arjax.testing.models import autoregressive_networks

#: The layers and parameters of networks on a small picture that return features.
READOUTS = {
    "conv_nade": {"mlp/out_bias", "mlp/out_kernel", "out/mix"},
    "deep_nade": {"mlp/out_bias", "mlp/out_kernel"},
    "diagonal_bilstm": {"core/out"},
    "fvsbn": {"earlier", "site/bias"},
    "independent": {"site/bias"},
    "made": {"direct_kernel", "out_bias", "out_kernel"},
    "multiscale": {"scale_0/out", "scale_1/out"},
    "nade": {"earlier", "out_kernel", "site/bias"},
    "row_lstm": {"core/out"},
    "separate": {"out_bias", "out_kernel"},
    "structured_made": {"direct_kernel", "out_bias", "out_kernel"},
    "constant": set(),
    "hidden_markov": set(),
    "markov": set(),
}
#: Networks with one layer for the features of all tokens, or of all pixels.
ONE_LAYER = (
    *("gated_pixelcnn", "lmconv", "pixelcnn", "pixelcnn_pp", "pixelsnail", "image_transformer", "linear_attention"),
    *("local_transformer", "masked_transformer", "sparse_transformer", "transformer", "transformer_xl", "two_stream"),
)


@pytest.mark.parametrize("network", autoregressive_networks())
def test_the_readouts_of_every_network(network):
    """Of all networks with one state for each step it is the same layer."""
    model = cases.supported_model(network, EventSpec((2, 3)), "raster", "sites")
    paths = readout_paths(model.init)
    expected = READOUTS.get(network, {"out"} if network in ONE_LAYER else {"readout/out"})
    assert all(any(path == one or path.startswith(f"{one}/") for one in expected) for path in paths), paths
    assert all(any(path == one or path.startswith(f"{one}/") for path in paths) for one in expected), paths


@functools.cache
def zeroed(model):
    return with_zero_features(cases.params_of(model), readout_paths(model.init, "FROM_CONTEXT"))


@each_network([], [()], every=10)
def test_features_are_zero(network):
    model = cases.supported_model(network, cases.EVENTS["real"], "raster", "sites")
    if isinstance(model, str):
        return
    x = cases.random_x(model.event, cases.BATCH)
    features = cases.parallel(model.network, zeroed(model), x, model.factorization)
    np.testing.assert_array_equal(features, 0)


@pytest.mark.parametrize("network", fast_for(["made", "nade"]))
def test_features_are_zero_whatever_the_context(network):
    """Networks on vectors add a map of the context to their features, past the last layer."""
    spec = cases.CONTEXTS["several"]
    model = cases.supported_model(network, cases.EVENTS["real"], "raster", "sites", context=spec)
    if isinstance(model, str):
        return
    x, context = cases.random_x(model.event, cases.BATCH), cases.random_context(spec, cases.BATCH)
    np.testing.assert_array_equal(cases.parallel(model.network, zeroed(model), x, model.factorization, context), 0)


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
