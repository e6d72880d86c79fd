"""Recurrent layers, and the sequence to sequence LSTM, against their equations in numpy; truncated back-propagation
against its definition; what convolutions over the steps read and drop.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from families import slow
from numpy_layers import dense, elman, gru, initialised, lstm, lstm_states, random_like

from arjax.core.spec import ContextSpec, EventSpec, class_label
from arjax.models import make_model
from arjax.networks.causal_conv import TCNBlock
from arjax.networks.recurrent.rnn import GRULayer, LSTMLayer, RNNLayer
from arjax.networks.recurrent.seq2seq_lstm import SourceEncoder, reverse_valid
from arjax.networks.recurrent.stack import RecurrentCore

LAYERS = {"rnn": RNNLayer, "gru": GRULayer, "lstm": LSTMLayer}
rng = np.random.default_rng(0)


DEFINITIONS = {"rnn": elman, "gru": gru, "lstm": lstm_states}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_network_is_embedding_loop_and_readout(name):
    """y_t = W_hy h_t + b_y, where the input of step t is the value before it, or `nothing` at first."""
    event = EventSpec((6,), kind="tokens", num_levels=5)
    model = make_model(event, name, hidden_size=4, num_layers=3, residual=True, ordering="random(seed=1)")
    params = random_like(model.param_shapes)
    x, order, out = rng.integers(0, 5, (3, 6)), model.factorization.order, params["readout"]["out"]
    table, nothing = params["tokens"]["value"]["table"]["embedding"], params["tokens"]["nothing"]
    for one, features in zip(x, np.asarray(jax.jit(model.features)(params, x)), strict=True):
        h = DEFINITIONS[name](params["core"]["layer_0"], np.stack([nothing, *table[one[order[:-1]]]]))
        for layer in ("layer_1", "layer_2"):
            h = h + DEFINITIONS[name](params["core"][layer], h)
        np.testing.assert_allclose(features[order], dense(out, h), rtol=1e-3, atol=1e-3)


def test_lstm_forgets_nothing_at_first():
    params = LSTMLayer(4, 5, "float32").init(jax.random.key(0), np.zeros((1, 4)), method="from_input")["params"]
    np.testing.assert_array_equal(params["bias"], [1] * 5 + [0] * 15)


def step_by_step(core, params, x_BTE, truncation=0):
    """All states by the step form, with the gradient cut before every step that is a multiple of `truncation`."""

    def body(carry, x_t):
        x_BE, t = x_t
        if truncation:
            cut = t % truncation == 0
            carry = jax.tree.map(lambda leaf: jnp.where(cut, jax.lax.stop_gradient(leaf), leaf), carry)
        return core.apply({"params": params}, carry, x_BE, t, method="step")

    carry = core.apply({"params": params}, x_BTE.shape[0], method="start")
    _, states_TBU = jax.lax.scan(body, carry, (jnp.swapaxes(x_BTE, 0, 1), jnp.arange(x_BTE.shape[1])))
    return jnp.swapaxes(states_TBU, 0, 1)


def values_and_gradients(states, params, x):
    """The states, and gradients of a sum that weighs all of them differently, by parameters and inputs."""
    weight = np.random.default_rng(1).normal(size=(2, 7, 5)).astype(np.float32)

    def loss(params, x):
        found = states(params, x)
        return (weight * found).sum(), found

    gradients, found = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, x)
    return found, gradients


TRUNCATIONS = [("lstm", 3)]  # with a last chunk that is filled up; of others the slow suite


@pytest.mark.parametrize(
    ("name", "truncation"),
    [
        pytest.param(name, truncation, marks=[pytest.mark.slow] * ((name, truncation) not in TRUNCATIONS))
        for name in LAYERS
        for truncation in (0, 3, 7, 100)
    ],
)
def test_values_and_gradients_are_those_of_the_steps(name, truncation):
    """Truncation changes no value; its gradients are those of states that are constants at every border."""
    core = RecurrentCore(LAYERS[name], 4, 5, 2, 0.0, True, truncation, "float32")
    x = rng.normal(size=(2, 7, 4)).astype(np.float32)
    params = initialised(core, x, False)

    def parallel(params, x):
        return core.apply({"params": params}, x, False)

    def stepwise(truncation):
        return lambda params, x: step_by_step(core, params, x, truncation)

    states, got = values_and_gradients(parallel, params, x)
    expected_states, expected = values_and_gradients(stepwise(truncation), params, x)
    np.testing.assert_allclose(states, expected_states, rtol=1e-4, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), got, expected)
    if truncation:
        _, whole = values_and_gradients(stepwise(0), params, x)
        cut = np.abs(got[0]["layer_0"]["recurrent_kernel"] - whole[0]["layer_0"]["recurrent_kernel"]).max()
        assert (cut > 1e-2) == (truncation == 3)


@pytest.mark.slow
def test_carry_stops_where_a_sequence_ends():
    """The last carry is that of the valid steps alone, also in chunks that are filled up."""
    x, length = rng.normal(size=(3, 7, 4)).astype(np.float32), np.array([7, 4, 0])
    valid = np.arange(7) < length[:, None]
    core = RecurrentCore(LSTMLayer, 4, 5, 2, 0.0, False, 4, "float32")
    params = initialised(core, x, False)
    start, step = (functools.partial(core.apply, {"params": params}, method=m) for m in ("start", "step"))
    run = jax.jit(functools.partial(core.apply, {"params": params}, method="run"), static_argnums=2)
    step, zeros = jax.jit(step), jax.tree.map(np.asarray, start(3))
    carry, _ = run(zeros, x, False, valid)
    for row, n in enumerate(length):
        expected = jax.tree.map(lambda leaf, row=row: leaf[row : row + 1], zeros)
        for t in range(n):
            expected, _ = step(expected, x[row : row + 1, t], t)
        for got, wanted in zip(jax.tree.leaves(carry), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(got[row], wanted[0], rtol=1e-3, atol=1e-3)
    everything, _ = run(zeros, x, False)
    for got, wanted in zip(jax.tree.leaves(everything), jax.tree.leaves(carry), strict=True):
        np.testing.assert_allclose(got[0], wanted[0], rtol=1e-3, atol=1e-3)  # row 0 is valid to its end


@pytest.mark.slow
def test_truncation_bounds_the_memory_of_the_backward_pass():
    """Beside inputs and outputs (128 kB each), a long sequence keeps the carries between chunks only."""

    def temporary(truncation):
        core = RecurrentCore(LSTMLayer, 16, 16, 2, 0.0, False, truncation, "float32")
        x = jax.ShapeDtypeStruct((1, 2048, 16), np.float32)
        params = jax.eval_shape(lambda x: core.init(jax.random.key(0), x, False), x)
        gradient = jax.grad(lambda params, x: core.apply(params, x, False).sum())
        return jax.jit(gradient).lower(params, x).compile().memory_analysis().temp_size_in_bytes

    assert temporary(64) < 0.3 * temporary(0)


EVENT, SOURCE = EventSpec((5,), kind="tokens", num_levels=6), ContextSpec("sequence", 7, 4)
SIZES = {"hidden_size": 4, "embedding_size": 3, "num_layers": 2}


@pytest.mark.parametrize("reverse", [True, False])
def test_network_is_its_definition(reverse):
    """Read the source (backwards) without what fills it up; start each layer of the decoder where its encoder ends."""
    model = make_model(EVENT, "seq2seq_lstm", context=SOURCE, reverse_source=reverse, **SIZES)
    params, x = random_like(model.param_shapes, 0.7), rng.integers(0, 6, (4, 5))
    sources = [[3, 1, 6, 2], [5, 0], [4], []]
    context = np.array([source + [-1] * (4 - len(source)) for source in sources])
    features = np.asarray(jax.jit(model.features)(params, x, context={"sequence": context}))
    table, encoder, out = params["tokens"]["value"]["table"]["embedding"], params["encoder"], params["readout"]["out"]
    for one, source, got in zip(x, sources, features, strict=True):
        words = encoder["table"]["embedding"][source[::-1] if reverse else source].reshape(-1, 3)
        h = np.stack([params["tokens"]["nothing"], *table[one[:-1]]])
        for layer in ("layer_0", "layer_1"):
            c_last, h_last, words = lstm(encoder["core"][layer], words, np.zeros(4), np.zeros(4))
            _, _, h = lstm(params["core"][layer], h, c_last, h_last)
        np.testing.assert_allclose(got, h @ out["kernel"] + out["bias"], rtol=1e-3, atol=1e-3)


def test_reversal_keeps_the_end_at_the_end():
    source = np.array([[1, 2, 3], [4, 5, -1], [6, -1, -1], [-1, -1, -1]])
    expected = [[3, 2, 1], [5, 4, -1], [6, -1, -1], [-1, -1, -1]]
    np.testing.assert_array_equal(reverse_valid(source, source >= 0), expected)
    frames = np.repeat(source[..., None], 2, -1)
    np.testing.assert_array_equal(reverse_valid(frames, source >= 0), np.repeat(np.array(expected)[..., None], 2, -1))


def test_without_a_context_it_is_the_stacked_lstm():
    x = rng.integers(0, 6, (3, 5))
    model = make_model(EVENT, "seq2seq_lstm", hidden_size=4, embedding_size=4, num_layers=2)
    params = random_like(model.param_shapes, 0.7)
    same = make_model(EVENT, "lstm", hidden_size=4, num_layers=2)
    np.testing.assert_allclose(cases.log_prob(model, x, params), cases.log_prob(same, x, params), rtol=1e-5)


def test_tcn_drops_whole_channels():
    """Without normalisation or bias in between, a dropped channel is 0 in all steps, a kept one in none."""
    x = np.ones((16, 7, 6), np.float32)
    block = TCNBlock(6, 6, 1, 1, 0.5, "float32")
    params = initialised(block, x, False)
    params["second"] |= {"kernel": np.eye(6, dtype=np.float32), "scale": np.ones(6, np.float32), "bias": np.ones(6)}
    out = jax.jit(lambda key: block.apply({"params": params}, x, True, rngs={"dropout": key}))(jax.random.key(0))
    dropped = np.asarray(out == 1)  # x alone
    assert (dropped.all(1) == dropped.any(1)).all()
    assert 0.3 < dropped[:, 0].mean() < 0.7


@pytest.mark.parametrize(
    ("network", "options", "field"),
    [
        ("causal_conv", {"num_layers": 3, "dilation_cycle": 2}, 5),
        slow("causal_conv", {"num_layers": 2, "kernel_size": 1}, 1),
        slow("wavenet", {"num_layers": 2, "dilation_cycle": 2, "skip_channels": 16}, 5),
        ("wavenet", {"num_layers": 2, "dilation_cycle": 1, "kernel_size": 3, "skip_channels": 16}, 7),
        ("tcn", {"num_layers": 2, "kernel_size": 2}, 7),
        slow("tcn", {"num_layers": 1, "kernel_size": 3}, 5),
    ],
)
def test_reads_as_far_back_as_it_says(network, options, field):
    model = make_model(EventSpec((10,)), network, hidden_size=16, ordering="reversed", position="none", **options)
    assert model.network.receptive_field == field
    params = cases.params_of(model)
    depends = cases.dependence(model.network, params, model.factorization, num=16)
    np.testing.assert_array_equal(depends, model.network.dependencies(model.factorization))
    assert depends[0].tolist() == [False, *[True] * field, *[False] * (9 - field)]


def test_frames_condition_their_own_steps_and_the_summary_all():
    """Local conditioning: without the summary of the whole, frame l reaches the steps that read it, and those after."""
    spec = ContextSpec("frames", 2, 3)
    options = {"hidden_size": 8, "skip_channels": 8, "num_layers": 2, "kernel_size": 1}
    model = make_model(EventSpec((7,)), "wavenet", context=spec, **options)
    params = cases.params_of(model)
    x, c = np.zeros((1, 7), np.int32), rng.normal(size=(1, 3, 2)).astype(np.float32)
    other = c.copy()
    other[:, 1] += 1

    def changed(params):
        before, after = (
            cases.parallel(model.network, params, x, model.factorization, {"frames": f}) for f in (c, other)
        )
        return (np.asarray(before) != np.asarray(after)).any((0, -1))

    assert changed(params).all()
    params["conditioning"]["whole"]["summary"]["kernel"] = 0 * params["conditioning"]["whole"]["summary"]["kernel"]
    assert np.flatnonzero(changed(params)).tolist() == [3, 4]  # floor(s 3 / 7) = 1


def test_other_parts_of_a_context_are_added_to_the_first_state():
    """Of each layer c and tanh(h), from one linear map; a source beside them, or none."""
    style = ContextSpec(style=class_label(3))
    both = ContextSpec(sequence=EventSpec((4,), (), "tokens", 7), style=class_label(3))
    context = {"sequence": np.array([[3, 1, -1, -1], [2, 2, 0, 1]]), "style": np.array([2, 0])}
    encoder = SourceEncoder(both, 3, 4, 2, 0.0, True, "float32")
    shapes = jax.eval_shape(lambda: encoder.init(jax.random.key(0), context, False))["params"]
    params = random_like(shapes, 0.7)

    def states(spec, params):
        return SourceEncoder(spec, 3, 4, 2, 0.0, True, "float32").apply({"params": params}, context, False)

    found, of_style, of_source = jax.jit(
        lambda params: (
            states(both, params),
            states(style, {"state": params["state"]}),
            states(ContextSpec(**dict(both.parts[:1])), {k: v for k, v in params.items() if k != "state"}),
        )
    )(params)
    rows = params["state"]["table"]["embedding"][context["style"]].reshape(2, 4, 4)
    for layer, (c, h) in enumerate(of_style):
        np.testing.assert_allclose(c, rows[:, 2 * layer], rtol=1e-5)
        np.testing.assert_allclose(h, np.tanh(rows[:, 2 * layer + 1]), rtol=1e-5)
    jax.tree.map(lambda a, b, c: np.testing.assert_allclose(a, b + c, rtol=1e-5), found, of_style, of_source)
