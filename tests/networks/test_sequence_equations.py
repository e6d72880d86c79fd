"""LSTM, causal convolution and attention against their definitions, written as plain numpy loops."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from numpy_layers import dense, gelu, initialised, layer_norm, random_like, run
from scipy import special

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks.causal.causal_conv import CausalConvCore, CausalConvLayer
from arjax.networks.layers.attention import SelfAttention
from arjax.networks.layers.blocks import Block
from arjax.networks.recurrent.rnn import LSTMLayer

rng = np.random.default_rng(0)


def textbook_lstm(params, x_TE: np.ndarray) -> np.ndarray:
    """h_1..h_T for one sequence, gate by gate."""
    W_f, W_i, W_o, W_g = np.split(params["input_kernel"].T, 4)
    U_f, U_i, U_o, U_g = np.split(params["recurrent_kernel"].T, 4)
    b_f, b_i, b_o, b_g = np.split(params["bias"], 4)
    h = c = np.zeros(len(b_f))
    states = []
    for x in x_TE:
        f = special.expit(W_f @ x + U_f @ h + b_f)
        i = special.expit(W_i @ x + U_i @ h + b_i)
        o = special.expit(W_o @ x + U_o @ h + b_o)
        c = f * c + i * np.tanh(W_g @ x + U_g @ h + b_g)
        h = o * np.tanh(c)
        states.append(h)
    return np.array(states)


def test_lstm_layer_is_the_textbook_loop():
    x = rng.normal(size=(3, 7, 4)).astype(np.float32)
    layer = LSTMLayer(4, 5, "float32")
    params = initialised(layer, x)
    expected = [textbook_lstm(params, one) for one in x]
    np.testing.assert_allclose(run(layer, params, x), expected, rtol=1e-3, atol=1e-3)


def test_lstm_forgets_nothing_at_first():
    init = jax.jit(LSTMLayer(4, 5, "float32").init)
    np.testing.assert_array_equal(init(jax.random.key(0), np.zeros((1, 2, 4)))["params"]["bias"], [1] * 5 + [0] * 15)


@pytest.mark.slow
def test_lstm_network_is_embedding_loop_and_readout():
    """p(x_t | x_<t) from y_t = W h_t + b, where the input of step t is the value before it, or `nothing` at first."""
    event = EventSpec((6,), kind="tokens", num_levels=5)
    model = make_model(event, "lstm", hidden_size=4, num_layers=2, ordering="random(seed=1)")
    params = random_like(model.param_shapes)
    x = rng.integers(0, 5, (3, 6))
    order, tokens = model.factorization.order, params["tokens"]
    for one, features in zip(x, np.asarray(jax.jit(model.features)(params, x)), strict=True):
        h = np.stack([tokens["nothing"], *tokens["value"]["table"]["embedding"][one[order[:-1]]]])
        for layer in ("layer_0", "layer_1"):
            h = textbook_lstm(params["core"][layer], h)
        expected = np.empty((6, 5))
        expected[order] = dense(params["readout"]["out"], h)
        np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-3)


def direct_convolution(params, x_TE: np.ndarray, kernel_size: int, dilation: int) -> np.ndarray:
    """y_t = x_t + W_2 gelu(sum_k W_1k norm(x)_(t - k d) + b_1) + b_2, tap by tap."""
    length, width = x_TE.shape
    normed, W = layer_norm(params["norm"], x_TE), params["taps"]["kernel"].reshape(kernel_size, width, width)
    y = np.empty_like(x_TE)
    for t in range(length):
        taps = [normed[t - k * dilation] @ W[k] for k in range(kernel_size) if t - k * dilation >= 0]
        y[t] = x_TE[t] + dense(params["out"], gelu(np.sum(taps, 0) + params["taps"]["bias"]))
    return y


@pytest.mark.parametrize(("kernel_size", "dilation"), [(1, 1), (2, 1), (2, 4), (3, 2), (4, 9)])
def test_convolution_layer_is_its_definition(kernel_size, dilation):
    x = rng.normal(size=(2, 8, 3)).astype(np.float32)
    layer = CausalConvLayer(3, kernel_size, dilation, 0.0, "gelu", "float32")
    params = initialised(layer, x, False)
    expected = [direct_convolution(params, one, kernel_size, dilation) for one in x]
    np.testing.assert_allclose(run(layer, params, x, False), expected, rtol=1e-3, atol=1e-3)


def test_dilations_double_and_start_over():
    x = rng.normal(size=(1, 16, 4)).astype(np.float32)
    core = CausalConvCore(4, 5, 2, 3, 0.0, "gelu", "float32")
    params = initialised(core, x, False)
    y = x[0]
    for i, dilation in enumerate([1, 2, 4, 1, 2]):
        y = direct_convolution(params[f"layer_{i}"], y, 2, dilation)
    expected = layer_norm(params["norm"], y)
    np.testing.assert_allclose(run(core, params, x, False)[0], expected, rtol=1e-3, atol=1e-3)


def numpy_attention(params, x_TE: np.ndarray, num_heads: int, block_size: int) -> np.ndarray:
    """Head by head and token by token: softmax(q k' / sqrt(H)) v over the tokens of this block and earlier ones."""
    length, width = x_TE.shape
    size = width // num_heads
    q, k, v = (dense(params[name], x_TE) for name in ("query", "key", "value"))
    mixed = np.empty_like(x_TE)
    for head in range(num_heads):
        part = slice(head * size, (head + 1) * size)
        for n in range(length):
            seen = (n // block_size + 1) * block_size
            weights = special.softmax(k[:seen, part] @ q[n, part] / np.sqrt(size))
            mixed[n, part] = weights @ v[:seen, part]
    return dense(params["out"], mixed)


@pytest.mark.parametrize(("num_heads", "block_size"), [(1, 1), (2, 1), (3, 2)])
def test_attention_is_its_definition(num_heads, block_size):
    x = rng.normal(size=(2, 6, 12)).astype(np.float32)
    layer = SelfAttention(12, num_heads, 1.0, "float32")
    params = initialised(layer, x, block_size)
    expected = [numpy_attention(params, one, num_heads, block_size) for one in x]
    np.testing.assert_allclose(run(layer, params, x, block_size), expected, rtol=1e-3, atol=1e-3)


def test_block_is_two_residual_branches():
    x = rng.normal(size=(2, 5, 8)).astype(np.float32)
    block = Block(lambda: SelfAttention(8, 2, 1.0, "float32"), 8, 16, 0.0, "gelu", 1.0, "float32")
    params = initialised(block, x, 1, False)
    expected = []
    for one in x:
        one = one + numpy_attention(params["attention"], layer_norm(params["attention_norm"], one), 2, 1)
        expected.append(one + dense(params["down"], gelu(dense(params["up"], layer_norm(params["mlp_norm"], one)))))
    np.testing.assert_allclose(run(block, params, x, 1, False)[0], expected, rtol=1e-3, atol=1e-3)
