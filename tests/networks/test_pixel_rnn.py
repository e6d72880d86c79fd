"""The PixelRNNs of van den Oord et al. (2016) against their definitions, pixel by pixel in numpy, and what they see.

A condition is a function of a place, (row, column) -> vector, or None without one.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from families import slow
from numpy_layers import built, check, convolve, dense, layers, random_like, relu
from scipy import special

from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec
from arjax.models import make_model
from arjax.networks.image import pixel_rnn as networks
from arjax.networks.image.multiscale import Multiscale
from arjax.networks.image.pixel_rnn import DiagonalBiLSTMCore, DiagonalBiLSTMLayer, RowLSTMLayer, lstm_cell, lstm_scan
from arjax.testing.network import check_steps

rng = np.random.default_rng(0)
EVENT, U = EventSpec((4, 5)), 3
SMALL = {"hidden_size": U, "num_layers": 2, "readout_size": 4}
SIZES = {"hidden_size": 8, "readout_size": 16}


def cell(z, c):
    """Equation 3, gate by gate."""
    o, f, i, g = np.split(z, 4)
    c = special.expit(f) * c + special.expit(i) * np.tanh(g)
    return c, special.expit(o) * np.tanh(c)


def at(states, r, c, size):
    """A state, or zeros outside the picture."""
    return states.get((r, c), np.zeros(size))


def from_condition(params, condition, r, c):
    """What a condition adds to all gates of a layer (section 3.6)."""
    return 0 if condition(r, c) is None else condition(r, c) @ params["from_condition"]["kernel"]


def input_maps(params, x_HWn):
    """7x7 convolution with mask A; one column more than the picture has, which only the Diagonal BiLSTM uses."""
    height, width, channels = x_HWn.shape
    W, maps = params["mix"]["kernel"].reshape(24, channels, -1), {}
    offsets = [(dy, dx) for dy in range(-3, 1) for dx in range(-3, 4) if dy < 0 or dx < 0]
    for r in range(height):
        for c in range(width + 1):
            maps[r, c] = params["mix"]["bias"].copy()
            for k, (dy, dx) in enumerate(offsets):
                if r + dy >= 0 and 0 <= c + dx < width:
                    maps[r, c] += x_HWn[r + dy, c + dx] @ W[k]
    return maps


def row_lstm_layer(params, maps, condition, height, width):
    """Row by row: two pixels of the map below, three states of the row above."""
    size = len(params["bias"]) // 4
    K_is, K_ss = params["input_to_state"]["mix"]["kernel"].reshape(2, 2 * size, -1), params["state_to_state_kernel"]
    cells, states = {}, {}
    for r in range(height):
        for c in range(width):
            z = params["bias"] + from_condition(params, condition, r, c) + maps[r, c] @ K_is[1]
            if c > 0:
                z = z + maps[r, c - 1] @ K_is[0]
            above = np.concatenate([at(states, r - 1, c + dx, size) for dx in (-1, 0, 1)])
            cells[r, c], states[r, c] = cell(z + above @ K_ss, at(cells, r - 1, c, size))
    return states


def one_direction(params, d, maps, condition, height, columns):
    """From the left (d = 0) or from the right (d = 1): the state before it in the row, and the one above it."""
    K_is, K_ss = np.split(params["input_to_state"]["kernel"], 2, 1)[d], params["state_to_state_kernel"][d]
    step, size, cells, states = (1, -1)[d], K_ss.shape[0] // 2, {}, {}
    own = slice(d * 4 * size, (d + 1) * 4 * size)
    for r in range(height):
        for c in range(columns)[::step]:
            added = np.zeros(8 * size) + from_condition(params, condition, r, c)
            z = params["bias"][d] + added[own] + maps[r, c] @ K_is
            read = np.concatenate([at(states, r, c - step, size), at(states, r - 1, c, size)])
            cells[r, c], states[r, c] = cell(z + read @ K_ss, at(cells, r, c - step, size))
    return states


def diagonal_layer(params, maps, condition, height, width):
    """States from the left, and from the right, those shifted down by one row; with a column of margin."""
    left, right = (one_direction(params, d, maps, condition, height, width + 1) for d in (0, 1))
    return {(r, c): left[r, c] + at(right, r - 1, c, len(left[r, c])) for r, c in left}


def pixel_rnn(params, layer, x_HWn, condition):
    """Features [H, W, F] of one picture: residual layers, each also sent to the output; then relu and 1x1 twice."""
    height, width, _ = x_HWn.shape
    maps, to_output = input_maps(params["input"], x_HWn), {}
    for own in layers(params):
        for place, state in layer(own, maps, condition, height, width).items():
            up, out = np.split(dense(own["up"], state), 2)
            maps[place] = maps[place] + up
            to_output[place] = to_output.get(place, 0) + out
    features = np.empty((height, width, params["out"]["bias"].size))
    for r, c in np.ndindex(height, width):
        y = maps[r, c] + to_output[r, c]
        for name in ("hidden_0", "hidden_1", "out"):
            y = dense(params[name], relu(y))
        features[r, c] = y
    return features


def upsampled(params, x_HWn, grid, factor):
    """Convolutions and relu on the coarse picture, then f x f pixels of each coarse one, and relu (section 3.6)."""
    h, around = x_HWn, list(itertools.product((-1, 0, 1), repeat=2))
    for i in range(len(params) - 1):
        h = relu(convolve(params[f"conv_{i}"], h, around))
    blocks = convolve(params["deconv"], h, around)
    maps = np.empty((*grid, blocks.shape[-1] // factor**2))
    for r, c in np.ndindex(grid):
        block = blocks[r // factor, c // factor].reshape(factor, factor, -1)
        maps[r, c] = relu(block[r % factor, c % factor])
    return maps


@pytest.mark.parametrize("context", [slow(NO_CONTEXT), ContextSpec("vector", 2)], ids=["alone", "context"])
@pytest.mark.parametrize(("name", "layer"), [("row_lstm", row_lstm_layer), ("diagonal_bilstm", diagonal_layer)])
def test_network_is_its_definition(name, layer, context):
    model, params = built(EVENT, name, context=context, **SMALL)

    def definition(x, context=None):
        condition = None if context is None else dense(params["context"]["linear"], context["vector"])
        return pixel_rnn(params["core"], layer, x[..., None], lambda r, c: condition).reshape(20, 1)

    check(model, params, definition, tolerance=1e-3)


def test_multiscale_is_its_definition():
    """Section 3.6: the smallest picture comes from a network of its own, each larger one from a network whose layers
    are biased with an enlarged picture. A pixel has the features of the coarsest scale that it belongs to.
    """
    order = {"ordering": "multiscale(levels=2)", "levels": 2, "upsample_layers": 2}
    levels = EventSpec((5, 4), (), "levels", 3)
    model, params = built(levels, "multiscale", context=ContextSpec("label", 2), **order, **SMALL)

    def definition(x, context):
        vector, expected = params["context"]["table"]["embedding"][context["label"]], np.empty((5, 4, 3))
        for k, grid in enumerate([(5, 4), (3, 2), (2, 1)]):
            condition = np.zeros((*grid, 2 * U)) + vector
            if k < 2:
                coarser = x[:: 2 ** (k + 1), :: 2 ** (k + 1), None] / 2
                condition = condition + upsampled(params[f"upsample_{k}"], coarser, grid, 2)

            def at(r, c, k=k, condition=condition):
                """Beside the picture there are no maps; a context is the same everywhere where it is alone."""
                return condition[r, c] if c < condition.shape[1] else vector * (k == 2)

            here = x[:: 2**k, :: 2**k, None] / 2
            expected[:: 2**k, :: 2**k] = pixel_rnn(params[f"scale_{k}"], diagonal_layer, here, at)
        return expected.reshape(20, 3)

    check(model, params, definition, tolerance=1e-3)


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
    model = make_model(EVENT, "diagonal_bilstm", **SMALL)
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


def build(network, grid, **choice):
    return make_model(EventSpec(grid), network, **(SIZES | choice))


def features_of(model, params, x):
    """[B, D, F], compiled as one program."""
    return np.asarray(cases.parallel(model.network, params, x, model.factorization))


def depends(model):
    """By changing each pixel; exactly what the network declares."""
    network, params = model.network, cases.params_of(model)
    actual = cases.dependence(network, params, model.factorization)
    np.testing.assert_array_equal(actual, network.dependencies(model.factorization))
    return actual


@pytest.mark.parametrize(("grid", "layers"), [slow((5, 5), 1), ((4, 6), 2), slow((6, 6), 1), slow((3, 9), 1)])
def test_diagonal_bilstm_sees_the_whole_past(grid, layers):
    model = build("diagonal_bilstm", grid, num_layers=layers)
    np.testing.assert_array_equal(depends(model), model.factorization.mask())


def test_without_a_margin_the_end_of_a_row_would_be_missed():
    """The states from the right come from the row above, whose maps do not know its last value."""

    class NoMargin(DiagonalBiLSTMCore):
        MARGIN = 0

    reads = NoMargin(**build("diagonal_bilstm", (6, 6)).network.core_fields(), parent=None).reach()
    missed = np.tri(36, k=-1, dtype=bool) & ~reads
    assert [(i, j) for i, j in np.argwhere(missed) if i < 12] == [(6, 5), (7, 5)]


@pytest.mark.parametrize(("reach", "side"), [("declared", 1), ("declared", 2), slow("of the network", 1)])
def test_row_lstm_sees_a_triangle(reach, side):
    """Some columns further to a side for each row up, besides the window of the first layer and of the masked rows."""
    model = build("row_lstm", (7, 12), num_layers=1, kernel_size=2 * side + 1)
    seen = model.network.dependencies(model.factorization) if reach == "declared" else depends(model)
    seen = seen[5 * 12 + 6].reshape(7, 12)
    expected = np.zeros((7, 12), bool)
    expected[5, 3 - side : 6] = True  # 3 columns of mask A, and those of mask B
    for up in range(1, 6):  # mask A reaches 3 columns to the right of a position one row above it
        expected[5 - up, max(0, 6 - 3 - side * (1 + up)) : 6 + 3 + side * (up - 1) + 1] = True
    np.testing.assert_array_equal(seen, expected)


@pytest.mark.slow
def test_row_lstm_has_blind_spots():
    model = build("row_lstm", (4, 14), num_layers=2)
    assert (np.asarray(model.factorization.mask()) & ~depends(model)).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("core", "grid", "factor", "levels", "layers", "shared"),
    [
        ("diagonal_bilstm", (5, 6), 2, 1, 1, False),
        ("diagonal_bilstm", (5, 4), 2, 2, 1, False),
        ("row_lstm", (4, 7), 3, 1, 1, False),
        ("row_lstm", (5, 5), 2, 2, 1, True),
    ],
)
def test_multiscale_keeps_its_order_in_both_forms(core, grid, factor, levels, layers, shared):
    order = f"multiscale(factor={factor}, levels={levels})"
    scale = {"factor": factor, "levels": levels, "upsample_layers": 2, "shared": shared}
    model = build("multiscale", grid, ordering=order, core=core, num_layers=layers, **scale)
    seen, mask = depends(model), np.asarray(model.factorization.mask())
    assert not (seen & ~mask).any()
    if core == "diagonal_bilstm":  # of each scale all is seen; of the coarse picture, what the upsampler reaches
        coarse = np.zeros(grid, bool)
        coarse[::factor, ::factor] = True
        fine = np.argwhere(~coarse.ravel()).ravel()
        np.testing.assert_array_equal(seen[np.ix_(fine, fine)], np.tri(len(fine), k=-1, dtype=bool))
    check_steps(model, cases.params_of(model))


@pytest.mark.slow
def test_the_coarse_picture_comes_from_a_network_of_its_own():
    """Its features are those of an unconditional PixelRNN on the coarse picture."""
    model = build("multiscale", (6, 5), ordering="multiscale", num_layers=1)
    alone = build("diagonal_bilstm", (3, 3), num_layers=1)
    params, x = cases.params_of(model), cases.random_x(model.event, 4)
    features = features_of(model, params, x).reshape(4, 6, 5, -1)[:, ::2, ::2]
    expected = features_of(alone, {"core": params["scale_1"]}, x[:, ::2, ::2])
    np.testing.assert_allclose(features, expected.reshape(features.shape), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_scales_that_share_are_one_network_on_pictures_of_two_sizes():
    """All scales but the coarsest: the same weights, whatever the size of the picture."""
    choice = {"ordering": "multiscale(levels=2)", "levels": 2, "num_layers": 1, "upsample_layers": 1}
    together = build("multiscale", (7, 6), shared=True, **choice)
    apart = build("multiscale", (7, 6), shared=False, **choice)
    params, x = cases.params_of(together), cases.random_x(together.event, 4)
    assert set(params) == {"scale_0", "scale_2", "upsample_0"}
    copied = params | {"scale_1": params["scale_0"], "upsample_1": params["upsample_0"]}
    one, two = features_of(together, params, x), features_of(apart, copied, x)
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_scales_that_share_draw_one_key_of_dropout_each(monkeypatch):
    """An upsampler has no dropout: it draws no key, which would give the cores other masks."""
    choice = {"ordering": "multiscale(levels=2)", "levels": 2, "num_layers": 1, "upsample_layers": 1, "dropout": 0.5}
    model, drawn = build("multiscale", (7, 6), shared=True, **choice), []
    make_rng = Multiscale.make_rng

    def counted(network, name):
        drawn.append(name)
        return make_rng(network, name)

    x, params = cases.random_x(model.event, 2), cases.params_of(model)
    monkeypatch.setattr(Multiscale, "make_rng", counted)
    jax.eval_shape(
        lambda key: model.network.apply({"params": params}, x, model.factorization, train=True, rngs={"dropout": key}),
        jax.random.key(0),
    )
    assert drawn == ["dropout"]  # that of scale 1, which has the parameters of scale 0
