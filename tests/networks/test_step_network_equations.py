"""Whole networks over the steps of an order against their equations, written out in numpy from the papers."""

from __future__ import annotations

import numpy as np
from numpy_layers import (
    built,
    check,
    dense,
    gelu,
    layer_norm,
    layers,
    relative_attention,
    relu,
    rms_norm,
    step_tokens,
    textbook_rg_lru,
)
from scipy import special

from arjax.core.spec import ContextSpec, EventSpec

TOKENS = EventSpec((6,), kind="tokens", num_levels=3)
ATTENTION = {"width": 8, "num_layers": 2, "num_heads": 2}
RECURRENT = {"hidden_size": 4, "num_layers": 2}


def check_steps(network: str, states, **options):
    """Under a random order and a class: features of the site of step t are those that `states(params, tokens, class
    vector)` has in row t, [S, F]."""
    choice = {"ordering": "random(seed=1)", "position": "learned", "context": ContextSpec("label", 2)}
    model, params = built(TOKENS, network, **choice, **options)
    order = np.asarray(model.factorization.order)

    def definition(x, context):
        tokens, label = step_tokens(params["tokens"], x, order), context["label"]
        if "context" in params["tokens"]:
            tokens = tokens + params["tokens"]["context"]["table"]["embedding"][label]
        features = np.empty((len(order), 3))
        features[order] = states(params, tokens, label)
        return features

    check(model, params, definition)


def test_transformer_xl():
    """Dai et al. (2019), section 3.3: A_ij of the segment and the memory before it, sums first and then norms."""
    segment, memory = 2, 3

    def states(params, h, label):
        for own in layers(params):
            biases = params["content_bias"], params["distance_bias"]
            found = relative_attention(own["attention"], h, segment, memory, 1, *biases)
            o = layer_norm(own["attention_norm"], h + found)
            h = layer_norm(own["mlp_norm"], o + dense(own["down"], relu(dense(own["up"], o))))
        return dense(params["out"], h)

    check_steps("transformer_xl", states, segment=segment, memory=memory, **ATTENTION)


def test_rg_lru():
    """De et al. (2024), figure 2: residual blocks of a recurrence (equations 1 to 4) and of a gated MLP."""
    num_heads = 2

    def recurrent_block(params, x):
        read, convolved = dense(params["read"], x), np.tile(params["conv_bias"], (len(x), 1))
        for t in range(len(x)):
            for k in range(min(t + 1, 4)):
                convolved[t] += params["conv_kernel"][k] * read[t - k]
        h = textbook_rg_lru(params["recurrence"], convolved, num_heads)
        return dense(params["out"], gelu(dense(params["gate"], x)) * h)

    def states(params, h, label):
        for own in layers(params["core"]):
            h = h + recurrent_block(own["attention"], rms_norm(own["attention_norm"], h))
            normed = rms_norm(own["mlp_norm"], h)
            h = h + dense(own["down"], gelu(dense(own["gate"], normed)) * dense(own["up"], normed))
        return dense(params["readout"]["out"], rms_norm(params["core"]["norm"], h))

    check_steps("rg_lru", states, num_heads=num_heads, **RECURRENT)


def taps(params, x, dilation, kernel_size=2):
    """b + sum_k W_k x_(t - k d), zeros before the start."""
    W = params["kernel"].reshape(kernel_size, x.shape[1], -1)
    y = np.tile(params["bias"], (len(x), 1))
    for t, k in np.ndindex(len(x), kernel_size):
        if t - k * dilation >= 0:
            y[t] += x[t - k * dilation] @ W[k]
    return y


def test_causal_conv():
    """Residual layers whose dilations double and start over, each x + W_2 gelu(convolution of norm(x))."""

    def states(params, h, label):
        core = params["core"]
        for i, dilation in enumerate((1, 2, 1)):
            own = core[f"layer_{i}"]
            h = h + dense(own["out"], gelu(taps(own["taps"], layer_norm(own["norm"], h), dilation, 3)))
        return dense(params["readout"]["out"], layer_norm(core["norm"], h))

    check_steps("causal_conv", states, dilation_cycle=2, kernel_size=3, **RECURRENT | {"num_layers": 3})


def test_wavenet():
    """Van den Oord et al. (2016), figure 4: a causal convolution, gated layers, relu and 1x1 twice on their skips."""

    def states(params, x, label):
        core, c = params["core"], params["conditioning"]["whole"]["table"]["embedding"][label]
        h, skips = taps(core["causal"], x, 1), 0
        for i, dilation in enumerate((1, 2, 1)):
            own = core[f"layer_{i}"]
            filtered, gate = np.split(taps(own["taps"], h, dilation) + dense(own["condition"], c), 2, 1)
            z = np.tanh(filtered) * special.expit(gate)
            skips = skips + dense(own["skip"], z)
            h = h + dense(own["residual"], z) if i < 2 else None
        return dense(params["readout"]["out"], relu(dense(core["post"], relu(skips))))

    check_steps("wavenet", states, skip_channels=5, dilation_cycle=2, **RECURRENT | {"num_layers": 3})


def test_tcn():
    """Bai et al. (2018), figure 1: relu(x + F(x)) with two normalised convolutions in F, dilations 1, 2, 4."""

    def normalised(params, x, dilation):
        W = params["kernel"] / np.linalg.norm(params["kernel"], axis=0) * params["scale"]
        return relu(taps(params | {"kernel": W}, x, dilation))

    def states(params, h, label):
        for i, dilation in enumerate((1, 2, 4)):
            own = params["core"][f"block_{i}"]
            found = normalised(own["second"], normalised(own["first"], h, dilation), dilation)
            h = relu((h if i else dense(own["match"], h)) + found)
        return dense(params["readout"]["out"], h)

    check_steps("tcn", states, kernel_size=2, embedding_size=3, **RECURRENT | {"num_layers": 3})
