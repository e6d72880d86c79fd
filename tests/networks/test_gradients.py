"""Gradients are of moderate size at the start of training, else clipping by their norm would stop all learning; and
derivatives of every kind agree.
"""

from __future__ import annotations

import jax
import law_cases as cases
import numpy as np
import pytest
from families import fast_for, slow

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks import NETWORKS
from arjax.testing.models import autoregressive_networks

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


#: Gradients of our own stand in convolutions (`conv_nade` has the same as `pixelcnn`), in recurrences (`lstm` the same
#: as `gru`) and in the scans of convolutional LSTMs; all but one are slow.
OWN_GRADIENTS = ("gru",)
FIRST = [
    name if name in OWN_GRADIENTS else slow(name)
    for name in autoregressive_networks()
    if name not in ("constant", "hybrid")  # no parameters, and layers of others, together ten minutes to compile
]


def vdot(a, b):
    """The inner product of two trees."""
    return sum(jax.tree.leaves(jax.tree.map(lambda a, b: (a * b).sum(), a, b)))


def distance(a, b):
    """|a - b| / |b| of two trees."""
    a, b = (jax.tree.map(np.asarray, tree) for tree in (a, b))
    difference = jax.tree.map(np.subtract, a, b)
    return float(np.sqrt(vdot(difference, difference) / vdot(b, b)))


def loss_of(network):
    """The mean of -log p of a small model, and parameters."""
    model = cases.supported_model(network, cases.EVENTS["binary"], "raster", "sites")
    assert not isinstance(model, str), model
    x = cases.random_x(model.event, 3)
    return lambda params: -model.log_prob(params, x).mean(), cases.gentle_params_of(model)


def nearest_difference(gradient, params, v, product):
    """The distance between H v and finite differences of gradients, for the step that serves best: a long one meets
    kinks of relu, a short one the errors of float32.
    """

    def differences(step):
        plus, minus = (gradient(jax.tree.map(lambda p, v, s=s: p + s * v, params, v)) for s in (step, -step))
        return jax.tree.map(lambda a, b: (np.asarray(a) - np.asarray(b)) / (2 * step), plus, minus)

    return min(distance(differences(step), product) for step in (1e-2, 1e-3, 1e-4, 1e-5))


@pytest.mark.slow
@pytest.mark.parametrize("network", FIRST)
def test_all_derivatives_of_a_network_agree(network):
    loss, params = loss_of(network)
    rng = np.random.default_rng(3)
    v = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), params)
    gradient = jax.jit(jax.grad(loss))

    @jax.jit
    def derivatives(params, v):
        slope = jax.jvp(loss, (params,), (v,))[1]
        curvature = jax.jvp(lambda params: jax.jvp(loss, (params,), (v,))[1], (params,), (v,))[1]
        forward_over_reverse = jax.jvp(jax.grad(loss), (params,), (v,))[1]
        reverse_over_reverse = jax.grad(lambda params: vdot(jax.grad(loss)(params), v))(params)
        return slope, curvature, forward_over_reverse, reverse_over_reverse

    slope, curvature, product, reverse_over_reverse = jax.tree.map(np.asarray, derivatives(params, v))
    np.testing.assert_allclose(slope, vdot(jax.tree.map(np.asarray, gradient(params)), v), rtol=1e-4, atol=1e-5)
    assert distance(product, reverse_over_reverse) < 1e-3
    assert nearest_difference(gradient, params, v, product) < 2e-2
    np.testing.assert_allclose(curvature, vdot(v, product), rtol=1e-3, atol=1e-3)


def test_jacobians_in_both_modes_agree():
    loss, params = loss_of("pixelcnn")
    of = lambda bias: loss({**params, "first": {"mix": {**params["first"]["mix"], "bias": bias}}})  # noqa: E731
    forward, reverse = (jax.jit(jacobian(of))(params["first"]["mix"]["bias"]) for jacobian in (jax.jacfwd, jax.jacrev))
    np.testing.assert_allclose(forward, reverse, rtol=1e-4, atol=1e-5)
