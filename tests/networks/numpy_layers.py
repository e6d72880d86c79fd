"""Layers of the papers in numpy, for one example, pixel by pixel and token by token."""

from __future__ import annotations

import jax
import law_cases as cases
import numpy as np
from scipy import special

from arjax.models import make_model


def built(event, network: str, **options):
    """A model with random parameters, none of which is 0."""
    model = make_model(event, network, **options)
    return model, random_like(model.param_shapes, 0.8)


def random_like(tree, scale=0.5):
    """Random parameters in the shapes of `tree`, none of which is 0."""
    rng = np.random.default_rng(2)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32) * scale, tree)


def initialised(module, *args):
    """Random parameters of a linen module."""
    return random_like(jax.eval_shape(lambda: module.init(jax.random.key(0), *args))["params"])


def run(module, params, *args):
    """A linen module as one compiled program."""
    return jax.jit(lambda p: module.apply({"params": p}, *args))(params)


def check(model, params, definition, tolerance=1e-4):
    """Features of each of four examples are those of the definition, [D, F], up to a part of the largest.

    The definition is given an example and, where the model has one, its context.
    """
    x = cases.random_x(model.event, 4)
    context = cases.random_context(model.context_spec, 4) if model.context_spec else None
    features = np.asarray(jax.jit(type(model).features)(model, params, x, context=context))
    for i, one in enumerate(x):
        parts = () if context is None else ({name: part[i] for name, part in context.items()},)
        expected = definition(one, *parts)
        atol = tolerance * np.abs(expected).max()
        np.testing.assert_allclose(features[i].reshape(model.event.num_sites, -1), expected, rtol=0, atol=atol)


def dense(params, x):
    """x W + b."""
    return x @ params["kernel"] + params.get("bias", 0)


def layer_norm(params, x):
    """Ba et al. (2016), over the last axis."""
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return x * params["scale"] + params["bias"]


def gelu(x):
    """The tanh approximation of Hendrycks & Gimpel (2016)."""
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def rms_norm(params, x):
    """Zhang & Sennrich (2019), equation 4."""
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * params["scale"]


def relu(x):
    """max(x, 0)."""
    return np.maximum(x, 0)


def elu(x):
    """x above 0, exp(x) - 1 below."""
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def celu(x):
    """elu([x, -x]) (Salimans et al., 2017)."""
    return elu(np.concatenate([x, -x], -1))


def silu(x):
    """x sigmoid(x)."""
    return x * special.expit(x)


def attention(params, x_TE, content_UE, may_TU, num_heads: int):
    """softmax(q k' / sqrt(H)) v of each head over the contents that a token may see, then W_out; heads may see other
    contents, bool[N, T, U].
    """
    q, k, v = (dense(params[name], y) for name, y in (("query", x_TE), ("key", content_UE), ("value", content_UE)))
    heads, masks = [], np.broadcast_to(may_TU, (num_heads, *may_TU.shape[-2:]))
    for may_h, q_h, k_h, v_h in zip(masks, *(np.split(y, num_heads, -1) for y in (q, k, v)), strict=True):
        scores = np.where(may_h, q_h @ k_h.T / np.sqrt(q_h.shape[-1]), -np.inf)
        heads.append(special.softmax(scores, -1) @ v_h)
    return dense(params["out"], np.concatenate(heads, -1))


def block(params, x_TE, content_UE, may_TU, num_heads: int, act=gelu):
    """x + attention(norm(x), norm(content)), then x + MLP(norm(x))."""
    norm = params["attention_norm"]
    mixed = attention(params["attention"], layer_norm(norm, x_TE), layer_norm(norm, content_UE), may_TU, num_heads)
    x = x_TE + mixed
    return x + dense(params["down"], act(dense(params["up"], layer_norm(params["mlp_norm"], x))))


def step_tokens(params, x, order):
    """The token of step t: the value drawn before it, where that lies, and which site comes next."""
    h = np.concatenate([params["nothing"][None], params["value"]["table"]["embedding"][x[order[:-1]]]])
    h = h + params["read_position"]["table"]["embedding"][[len(order), *order[:-1]]]
    return h + params["target_position"]["table"]["embedding"][order]


def layers(params):
    """The parameters of each of the stacked layers."""
    stacked = params["layers"]
    return [jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(len(jax.tree.leaves(stacked)[0]))]


def elman(params, x_TE):
    """h_t = tanh(W_hh h_t-1 + W_xh x_t + b), step by step."""
    h, states = np.zeros(len(params["recurrent_kernel"])), []
    for x in x_TE:
        h = np.tanh(h @ params["recurrent_kernel"] + x @ params["input_kernel"] + params["bias"])
        states.append(h)
    return np.array(states)


def gru(params, x_TE):
    """Cho et al. (2014), gate by gate."""
    W_r, W_z, W_g = np.split(params["input_kernel"], 3, 1)
    U_r, U_z, U_g = np.split(params["recurrent_kernel"], 3, 1)
    b_r, b_z, b_g = np.split(params["bias"], 3)
    h, states = np.zeros(len(b_r)), []
    for x in x_TE:
        r, z = special.expit(x @ W_r + h @ U_r + b_r), special.expit(x @ W_z + h @ U_z + b_z)
        h = z * h + (1 - z) * np.tanh(x @ W_g + (r * h) @ U_g + b_g)
        states.append(h)
    return np.array(states)


def lstm(params, x_TE, c, h):
    """c_T, h_T and h_1..h_T of one layer, gate by gate."""
    states = []
    for x in x_TE:
        f, i, o, g = np.split(x @ params["input_kernel"] + h @ params["recurrent_kernel"] + params["bias"], 4)
        c = special.expit(f) * c + special.expit(i) * np.tanh(g)
        h = special.expit(o) * np.tanh(c)
        states.append(h)
    return c, h, np.array(states).reshape(-1, len(h))


def lstm_states(params, x_TE):
    """h_1..h_T from zeros."""
    zeros = np.zeros(len(params["recurrent_kernel"]))
    return lstm(params, x_TE, zeros, zeros)[2]


def convolved(params, u_TU):
    """b + sum_k w_k u_(t - k), each feature by itself."""
    out = np.tile(params["conv_bias"], (len(u_TU), 1))
    for t in range(len(u_TU)):
        for k, kernel in enumerate(params["conv_kernel"][: t + 1]):
            out[t] += kernel * u_TU[t - k]
    return out


def convolve(params, maps_HWC, taps, unmasked=lambda here, there: True):
    """b + sum of x[there] W over the taps that lie in the image and are unmasked."""
    height, width, channels = maps_HWC.shape
    kernels = params["mix"]["kernel"].reshape(len(taps), channels, -1)
    out = np.zeros((height, width, kernels.shape[-1])) + params["mix"]["bias"]
    for r, c in np.ndindex(height, width):
        for (dy, dx), kernel in zip(taps, kernels, strict=True):
            y, x = r + dy, c + dx
            if 0 <= y < height and 0 <= x < width and unmasked((r, c), (y, x)):
                out[r, c] += maps_HWC[y, x] @ kernel
    return out


def textbook_rg_lru(params, x_TR, num_heads):
    """Equations 1 to 4 of Griffin, unit by unit."""
    size, h, states = x_TR.shape[1] // num_heads, np.zeros(x_TR.shape[1]), []
    a = special.expit(params["decay"])
    for x in x_TR:
        r, i = params["recurrence_bias"].copy(), params["input_bias"].copy()
        for n in range(num_heads):
            part = slice(n * size, (n + 1) * size)
            r[part] += x[part] @ params["recurrence_kernel"][n]
            i[part] += x[part] @ params["input_kernel"][n]
        a_t = a ** (8 * special.expit(r))
        h = a_t * h + np.sqrt(1 - a_t**2) * (special.expit(i) * x)
        states.append(h)
    return np.array(states)


def relative_attention(params, h_TE, segment, memory, block_size, u, v):
    """Dai et al. (2019), section 3.3: head by head, query by query, key by key; tokens are `block_size` to a step."""
    q, k, values = (h_TE @ params[name]["kernel"] for name in ("query", "key", "value"))
    mixed, half, size = np.zeros_like(h_TE), h_TE.shape[1] // 2, u.shape[1]
    for n, i in np.ndindex(len(u), len(h_TE)):
        own, step = slice(n * size, (n + 1) * size), i // block_size
        seen, scores = range(max(step // segment * segment - memory, 0) * block_size, (step + 1) * block_size), []
        for j in seen:
            angle = (step - j // block_size) * 1e4 ** (-np.arange(half) / half)
            r = (np.concatenate([np.sin(angle), np.cos(angle)]) @ params["relative"]["kernel"])[own]
            scores.append(q[i, own] @ k[j, own] + q[i, own] @ r + u[n] @ k[j, own] + v[n] @ r)
        mixed[i, own] = special.softmax(np.array(scores) / np.sqrt(size)) @ values[list(seen), own]
    return mixed @ params["out"]["kernel"]
