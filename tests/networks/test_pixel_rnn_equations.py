"""Row LSTM, Diagonal BiLSTM and their scan against the definitions of the paper, pixel by pixel in numpy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model
from arjax.networks.image.diagonal_bilstm import skew, unskew
from arjax.networks.image.lstm_scan import lstm_cell, lstm_scan

rng = np.random.default_rng(0)
EVENT, U = EventSpec((4, 5)), 3


def random_like(tree):
    """Random parameters in the shapes of `tree`."""
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32) * 0.4, tree)


def dense(params, x):
    return x @ params["kernel"] + params.get("bias", 0)


def cell(z, c):
    """Equation 3, gate by gate."""
    o, f, i, g = np.split(z, 4)
    c = special.expit(f) * c + special.expit(i) * np.tanh(g)
    return c, special.expit(o) * np.tanh(c)


def at(states, r, c):
    """A state, or zeros outside the picture."""
    return states.get((r, c), np.zeros(U))


def input_maps(params, x):
    """7x7 convolution with mask A; one column more than the picture has, which only the Diagonal BiLSTM uses."""
    height, width = x.shape
    W, maps = params["mix"]["kernel"].reshape(24, -1), {}
    offsets = [(dy, dx) for dy in range(-3, 1) for dx in range(-3, 4) if dy < 0 or dx < 0]
    for r in range(height):
        for c in range(width + 1):
            maps[r, c] = params["mix"]["bias"].copy()
            for k, (dy, dx) in enumerate(offsets):
                if r + dy >= 0 and 0 <= c + dx < width:
                    maps[r, c] += x[r + dy, c + dx] * W[k]
    return maps


def row_lstm_layer(params, maps, bias, height, width):
    """Row by row: two pixels of the map below, three states of the row above."""
    K_is, K_ss = params["input_to_state"]["mix"]["kernel"].reshape(2, 2 * U, -1), params["state_to_state_kernel"]
    cells, states = {}, {}
    for r in range(height):
        for c in range(width):
            z = params["bias"] + bias + maps[r, c] @ K_is[1]
            if c > 0:
                z = z + maps[r, c - 1] @ K_is[0]
            above = np.concatenate([at(states, r - 1, c + dx) for dx in (-1, 0, 1)])
            cells[r, c], states[r, c] = cell(z + above @ K_ss, at(cells, r - 1, c))
    return states


def one_direction(params, d, maps, bias, height, columns):
    """From the left (d = 0) or from the right (d = 1): the state before it in the row, and the one above it."""
    K_is, K_ss = np.split(params["input_to_state"]["kernel"], 2, 1)[d], params["state_to_state_kernel"][d]
    step, cells, states = (1, -1)[d], {}, {}
    for r in range(height):
        for c in range(columns)[::step]:
            z = params["bias"][d] + np.split(bias, 2)[d] + maps[r, c] @ K_is
            read = np.concatenate([at(states, r, c - step), at(states, r - 1, c)])
            cells[r, c], states[r, c] = cell(z + read @ K_ss, at(cells, r, c - step))
    return states


def diagonal_layer(params, maps, bias, height, width):
    """States from the left, and from the right, those shifted down by one row; with a column of margin."""
    left, right = (one_direction(params, d, maps, bias, height, width + 1) for d in (0, 1))
    return {(r, c): left[r, c] + at(right, r - 1, c) for r, c in left}


def network(params, layer, x, bias_of):
    """Features [H, W, F] of one picture."""
    (height, width), num_layers = x.shape, len(params["core"]["layers"]["bias"])
    maps, to_output = input_maps(params["core"]["input"], x), {}
    for i in range(num_layers):
        own = jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), params["core"]["layers"])
        states = layer(own, maps, bias_of(own), height, width)
        for place, state in states.items():
            up, out = np.split(dense(own["up"], state), 2)
            maps[place] = maps[place] + up
            to_output[place] = to_output.get(place, 0) + out
    features = np.empty((height, width, 1))
    for r, c in np.ndindex(height, width):
        y = maps[r, c] + to_output[r, c]
        for name in ("hidden_0", "hidden_1", "out"):
            y = dense(params["core"][name], np.maximum(y, 0))
        features[r, c] = y
    return features


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize(("name", "layer"), [("row_lstm", row_lstm_layer), ("diagonal_bilstm", diagonal_layer)])
def test_network_is_its_definition(name, layer, context):
    spec = ContextSpec("vector", 2) if context else ContextSpec()
    model = make_model(EVENT, name, context=spec, hidden_size=U, num_layers=2, readout_size=4)
    params = random_like(model.param_shapes)
    x, v = rng.integers(0, 2, (4, 4, 5)), rng.normal(size=(4, 2)).astype(np.float32)
    got = jax.jit(model.features)(params, x, context=v if context else None)
    for one, vector, features in zip(x, v, np.asarray(got).reshape(4, 4, 5, 1), strict=True):

        def bias_of(own, vector=vector):
            if not context:
                return np.zeros(own["bias"].size)
            return dense(params["context"]["linear"], vector) @ own["from_condition"]["kernel"]

        np.testing.assert_allclose(features, network(params, layer, one, bias_of), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["row_lstm", "diagonal_bilstm"])
def test_new_cells_remember(name):
    """The bias of the forget gate, the second of four, begins at 1 (Jozefowicz et al., 2015)."""
    model = make_model(EVENT, name, hidden_size=U, num_layers=1, readout_size=4)
    bias = np.asarray(jax.jit(model.init)(jax.random.key(0))["core"]["layers"]["bias"]).reshape(-1, 4, U)
    np.testing.assert_array_equal(bias, np.broadcast_to([[[0], [1], [0], [0]]], bias.shape))


def test_pictures_side_by_side_do_not_meet():
    """The `strip` of the Diagonal BiLSTM is for speed alone."""
    sizes = {"hidden_size": U, "num_layers": 2, "readout_size": 4}
    models = [make_model(EVENT, "diagonal_bilstm", **sizes, strip=strip) for strip in (1, 2, 4)]
    params, x = random_like(jax.eval_shape(models[0].init, jax.random.key(0))), rng.integers(0, 2, (6, 4, 5))
    features = [jax.jit(model.features)(params, x) for model in models]
    for other in features[1:]:
        np.testing.assert_allclose(other, features[0], rtol=1e-4, atol=1e-4)


def test_skewed_columns_are_diagonals():
    x = np.arange(1, 13.0).reshape(1, 3, 4, 1)
    skewed = skew(jnp.asarray(x), -1.0)
    expected = [[1, 2, 3, 4, -1, -1], [-1, 5, 6, 7, 8, -1], [-1, -1, 9, 10, 11, 12]]
    np.testing.assert_array_equal(skewed[0, :, :, 0], expected)
    np.testing.assert_array_equal(unskew(skewed, 4), x)


@pytest.mark.parametrize("shape", [(4,), (2, 4)])
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
