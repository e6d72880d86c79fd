"""Row LSTM, Diagonal BiLSTM and their scan against the definitions of the paper, pixel by pixel in numpy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import slow
from numpy_layers import dense, random_like
from numpy_pixel_rnn import diagonal_layer, pixel_rnn, row_lstm_layer, upsampled

from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model
from arjax.networks.image import pixel_rnn as networks
from arjax.networks.image.pixel_rnn import DiagonalBiLSTMLayer, RowLSTMLayer, lstm_cell, lstm_scan

rng = np.random.default_rng(0)
EVENT, U = EventSpec((4, 5)), 3


@pytest.mark.parametrize("context", [slow(False), True])
@pytest.mark.parametrize(("name", "layer"), [("row_lstm", row_lstm_layer), ("diagonal_bilstm", diagonal_layer)])
def test_network_is_its_definition(name, layer, context):
    spec = ContextSpec("vector", 2) if context else ContextSpec()
    model = make_model(EVENT, name, context=spec, hidden_size=U, num_layers=2, readout_size=4)
    params = random_like(model.param_shapes)
    x, v = rng.integers(0, 2, (4, 4, 5)), rng.normal(size=(4, 2)).astype(np.float32)
    got = jax.jit(model.features)(params, x, context={"vector": v} if context else None)
    for one, vector, features in zip(x, v, np.asarray(got).reshape(4, 4, 5, 1), strict=True):
        condition = dense(params["context"]["linear"], vector) if context else None
        expected = pixel_rnn(params["core"], layer, one[..., None], lambda r, c, condition=condition: condition)
        np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-3)


def test_multiscale_is_its_definition():
    """Section 3.6: the smallest picture comes from a network of its own, each larger one from a network whose layers
    are biased with an enlarged picture. A pixel has the features of the coarsest scale that it belongs to.
    """
    sizes = {"hidden_size": U, "num_layers": 2, "readout_size": 4, "upsample_layers": 2}
    levels = EventSpec((5, 4), (), "levels", 3)
    order = {"ordering": "multiscale(levels=2)", "levels": 2}
    model = make_model(levels, "multiscale", context=ContextSpec("label", 2), **order, **sizes)
    params = random_like(jax.eval_shape(model.init, jax.random.key(0)))
    x, label = rng.integers(0, 3, (4, 5, 4)), np.array([0, 1, 1, 0])
    got = np.asarray(jax.jit(model.features)(params, x, context={"label": label}))
    for one, vector, features in zip(x, params["context"]["table"]["embedding"][label], got, strict=True):
        expected = np.empty((5, 4, 3))
        for k, grid in enumerate([(5, 4), (3, 2), (2, 1)]):
            condition = np.zeros((*grid, 2 * U)) + vector
            if k < 2:
                coarser = one[:: 2 ** (k + 1), :: 2 ** (k + 1), None] / 2
                condition = condition + upsampled(params[f"upsample_{k}"], coarser, grid, 2)

            def at(r, c, k=k, condition=condition, vector=vector):
                """Beside the picture there are no maps; a context is the same everywhere where it is alone."""
                return condition[r, c] if c < condition.shape[1] else vector * (k == 2)

            here = one[:: 2**k, :: 2**k, None] / 2
            expected[:: 2**k, :: 2**k] = pixel_rnn(params[f"scale_{k}"], diagonal_layer, here, at)
        np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "layer", [RowLSTMLayer(U, 0.0, False, "float32", 3), DiagonalBiLSTMLayer(U, 0.0, False, "float32")]
)
def test_new_cells_remember(layer):
    """The bias of the forget gate, the second of four, begins at 1 (Jozefowicz et al., 2015)."""
    maps = jnp.zeros((1, 2, 3, 2 * U))
    params = jax.jit(lambda key: layer.init(key, (maps, maps), None, False))(jax.random.key(0))["params"]
    bias = np.asarray(params["bias"]).reshape(-1, 4, U)
    np.testing.assert_array_equal(bias, np.broadcast_to([[[0], [1], [0], [0]]], bias.shape))


@pytest.mark.slow
def test_pictures_side_by_side_do_not_meet(monkeypatch):
    """The strips of the Diagonal BiLSTM are for speed alone."""
    model = make_model(EVENT, "diagonal_bilstm", hidden_size=U, num_layers=2, readout_size=4)
    variables, x, features = {"params": random_like(model.param_shapes)}, rng.integers(0, 2, (6, 4, 5)), []
    for strip in (1, 4):
        monkeypatch.setattr(networks, "CPU_STRIP", strip)
        features.append(jax.jit(lambda v: model.network.apply(v, x, model.factorization))(variables))
    np.testing.assert_allclose(*features, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [slow((4,)), (2, 4)])
def test_gradient_of_the_scan(shape):
    """Its own backward pass against automatic differentiation of a plain loop."""
    z = rng.normal(size=(5, *shape, 4 * U)).astype(np.float32)
    kernel = rng.normal(size=(*shape[:-1], 2 * U, 4 * U)).astype(np.float32) * 0.5
    weight = rng.normal(size=(5, *shape, U)).astype(np.float32)

    def read(h):
        return jnp.concatenate([h, jnp.roll(h, 1, -2)], -1)

    def loop(kernel, z):
        c, h, states = jnp.zeros((*shape, U)), jnp.zeros((*shape, U)), []
        for z_t in z:
            c, h = lstm_cell(z_t + read(h) @ kernel, c)
            states.append(h)
        return jnp.stack(states)

    ours, plain = (
        jax.jit(jax.value_and_grad(lambda k, z, f=f: (f(k, z) * weight).sum(), argnums=(0, 1)))(kernel, z)
        for f in (lambda k, z: lstm_scan(read, k, z), loop)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), ours, plain)
