"""Whole networks against their equations, written out in numpy from the papers: laws cannot see a wrong equation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy_layers import (
    block,
    built,
    celu,
    check,
    convolve,
    convolved,
    dense,
    elu,
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
from arjax.testing.network import check_extends

TOKENS = EventSpec((6,), kind="tokens", num_levels=3)
LEVELS = EventSpec((4, 3), kind="levels", num_levels=3)
SMALL = {"width": 8, "num_layers": 2, "num_heads": 2}
RECURRENT = {"hidden_size": 4, "num_layers": 2}


def test_two_stream():
    """Yang et al. (2019), equations of section 2.3: contents see their own step, queries only the steps before."""
    model, params = built(TOKENS, "two_stream", ordering="random(seed=1)", partition="sizes(sizes=(2, 1, 3))", **SMALL)
    step, sites = np.asarray(model.factorization.step), params["site"]["table"]["embedding"][:6]
    of_content = np.array([-1, *step])

    def definition(x):
        h = np.concatenate([params["nothing"][None], params["value"]["table"]["embedding"][x] + sites])
        g = params["target"] + sites
        for own in layers(params):
            new_g = block(own, g, h, of_content < step[:, None], 2)
            h, g = block(own, h, h, of_content <= of_content[:, None], 2), new_g
        return dense(params["out"], layer_norm(params["norm"], g))

    check(model, params, definition)


def test_masked_transformer():
    """Attention of all sites to all sites, of which the unknown ones enter as one vector; all have positions."""
    model, params = built(TOKENS, "masked_transformer", ordering="random(seed=1)", steps_per_chunk=4, **SMALL)
    step = np.asarray(model.factorization.step)

    def definition(x):
        features = np.empty((6, 3))
        for t in range(6):
            h = np.where((step < t)[:, None], params["value"]["table"]["embedding"][x], params["unknown"])
            h = h + params["site"]["table"]["embedding"][:6]
            for own in layers(params):
                h = block(own, h, h, np.ones((6, 6), bool), 2)
            features[step == t] = dense(params["out"], layer_norm(params["norm"], h))[step == t]
        return features

    check(model, params, definition)


def square(reach: int, *, centre: bool = True) -> list[tuple[int, int]]:
    """The taps of a 3 x 3 kernel with this dilation."""
    taps = itertools.product((-reach, 0, reach), repeat=2)
    return [tap for tap in taps if centre or tap != (0, 0)]


def position_norm(x):
    """Li et al. (2019), with the variance of the authors' code."""
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, ddof=1, keepdims=True) + 1e-5)


def test_lmconv():
    """Jain et al. (2020): figure 4 with two groups of one gated residual block, masked by the ranks of the sites."""
    model, params = built(LEVELS, "lmconv", ordering="random(seed=2)", hidden_size=4, num_groups=2)
    rank = np.asarray(model.factorization.rank).reshape(4, 3)

    def conv(name, maps, taps):
        return convolve(name, maps, taps, lambda here, there: rank[there] <= rank[here])

    def gated(name, x, skip=None):
        own = params[name]
        hidden = position_norm(conv(own["conv_in"], celu(x), square(1)))
        if skip is not None:
            hidden = hidden + dense(own["from_skip"], celu(skip))
        a, b = np.split(conv(own["conv_out"], celu(hidden), square(1)), 2, -1)
        return x + position_norm(a) * special.expit(b)

    def definition(x):
        inputs = np.stack([x / 2, np.ones_like(x)], -1)
        first = position_norm(conv(params["first"], inputs, square(1, centre=False)))
        up_0 = gated("up_0_0", first)
        far = position_norm(conv(params["up_dilated_0"], up_0, square(2)))
        u = gated("down_0_0", gated("up_1_0", far), far)  # down starts from the last of up
        u = position_norm(conv(params["down_dilated_0"], u, square(2)))
        u = gated("down_1_1", gated("down_1_0", u, up_0), first)
        return dense(params["out"], elu(u)).reshape(12, 3)

    check(model, params, definition, tolerance=5e-4)


def before(rows: int, columns: int, *, centre: bool) -> list[tuple[int, int]]:
    """The taps of mask A, or with the centre of mask B."""
    above = list(itertools.product(range(-rows, 0), range(-columns, columns + 1)))
    return above + [(0, dx) for dx in range(-columns, 0)] + [(0, 0)] * centre


def test_pixelcnn():
    """Van den Oord et al. (2016), table 1: 7x7 with mask A, residual blocks with mask B, relu and 1x1 twice."""
    model, params = built(LEVELS, "pixelcnn", hidden_size=4, num_layers=2, out_size=3)

    def definition(x):
        h = convolve(params["first"], x[..., None] / 2, before(3, 3, centre=False))
        for own in (params["block_0"], params["block_1"]):
            narrow = relu(dense(own["narrow"], relu(h)))
            h = h + dense(own["widen"], relu(convolve(own["conv"], narrow, before(1, 1, centre=True))))
        for name in ("out_0", "out_1", "out"):
            h = dense(params[name], relu(h))
        return h.reshape(12, 3)

    check(model, params, definition)


def test_gated_pixelcnn():
    """Van den Oord et al. (2016b), figure 2, layer upon layer; the first layer sees nothing of its own row or pixel.
    The context enters both gates (equation 4).
    """
    label = ContextSpec("label", 2)
    model, params = built(LEVELS, "gated_pixelcnn", hidden_size=4, num_layers=1, out_size=3, context=label)

    def gate(y):
        return np.tanh(y[..., :4]) * special.expit(y[..., 4:])

    def layer(own, v, h, e, first):
        reach = 3 if first else 1
        above = list(itertools.product(range(-reach, 0 if first else 1), range(-reach, reach + 1)))
        left = [(0, dx) for dx in range(-reach, 0)] + [(0, 0)] * (not first)
        v = convolve(own["vertical"], v, above) + dense(own["vertical_context"], e)
        # What the horizontal stack reads of a row lies above it: in later layers the maps are shifted down by one.
        from_above = dense(own["vertical_to_horizontal"], v) + dense(own["horizontal_context"], e)
        out = dense(own["out"], gate(convolve(own["horizontal"], h, left) + from_above))
        return gate(v), out if first else h + out

    def definition(x, context):
        v = h = x[..., None] / 2
        e = params["context"]["table"]["embedding"][context["label"]]
        for i in range(2):
            v, h = layer(params[f"layer_{i}"], v, h, e, first=i == 0)
        return dense(params["out"], relu(dense(params["hidden"], relu(h)))).reshape(12, 3)

    check(model, params, definition)


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


@pytest.mark.parametrize(
    ("network", "options", "sees"),
    [
        ("transformer", {}, [lambda i, j: True]),
        ("local_transformer", {"window": 3}, [lambda i, j: i - j < 3]),
        # Child et al. (2019), section 4.3, l = 2: A(1) = {i - l, ..., i} and A(2) = {j: (i - j) mod l = 0}
        ("sparse_transformer", {"stride": 2}, [lambda i, j: i - j <= 2, lambda i, j: (i - j) % 2 == 0]),
        ("image_transformer", {"query_block": 2, "memory": 1}, [lambda i, j: j >= i // 2 * 2 - 1]),
    ],
)
def test_transformer_over_steps(network, options, sees):
    """The token of step t: the value drawn before it, where that lies, and which site comes next."""
    may = np.array([[[j <= i and of_head(i, j) for j in range(6)] for i in range(6)] for of_head in sees])

    def states(params, h, label):
        for own in layers(params):
            h = block(own, h, h, may, 2, relu if network == "image_transformer" else gelu)
        return dense(params["out"], layer_norm(params["norm"], h))

    check_steps(network, states, **options, **SMALL)


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

    check_steps("transformer_xl", states, segment=segment, memory=memory, **SMALL)


def test_rg_lru():
    """De et al. (2024), figure 2: residual blocks of a recurrence (equations 1 to 4) and of a gated MLP."""
    num_heads = 2

    def recurrent_block(params, x):
        h = textbook_rg_lru(params["recurrence"], convolved(params, dense(params["read"], x)), num_heads)
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


def conditionals_of_paths(params, values):
    """log p(x_t = v | x_<t) from sums over all paths of the states, float64[T, V]."""
    params = {name: np.asarray(leaf, np.float64) for name, leaf in params.items()}
    initial, transitions, emissions = (
        special.softmax(params[name], -1) for name in ("initial", "transitions", "emissions")
    )

    def joint(values):
        total = 0.0
        for path in itertools.product(range(len(initial)), repeat=len(values)):
            p = 1.0
            for t, (z, x) in enumerate(zip(path, values, strict=True)):
                p *= (initial[z] if t == 0 else transitions[path[t - 1], z]) * emissions[z, x]
            total += p
        return total

    rows = [[joint([*values[:t], v]) for v in range(emissions.shape[1])] for t in range(len(values))]
    before = [[joint(values[:t])] for t in range(len(values))]
    return np.log(rows) - np.log(before)


@pytest.mark.parametrize("event", [TOKENS, EventSpec((2, 2))], ids=lambda event: event.kind)
def test_hidden_markov(event):
    """Rabiner (1989), equation 17: the features are the logarithms of the conditionals, or of their odds."""
    model, params = built(event, "hidden_markov", states=3, ordering="random(seed=1)")
    order = np.asarray(model.factorization.order)

    def definition(x):
        log_p = conditionals_of_paths(params, x.ravel()[order].tolist())
        features = np.empty((len(order), model.network.num_features))
        features[order] = log_p if event.kind == "tokens" else log_p[:, 1:] - log_p[:, :1]
        return features

    check(model, params, definition)


def test_markov_extends():
    model, params = built(TOKENS, "markov", order=2, ordering="random(seed=1)")
    check_extends(model, params)


@pytest.mark.parametrize("order", [1, 2])
def test_markov(order):
    """A row for each history of at most `order` values: short ones first, then as numbers in base V."""
    model, params = built(TOKENS, "markov", order=order, ordering="random(seed=1)")
    lengths = [history for n in range(order + 1) for history in itertools.product(range(3), repeat=n)]
    row_of = {history: row for row, history in enumerate(lengths)}
    assert params["table"].shape == (len(lengths), 3)
    visited = np.asarray(model.factorization.order)

    def definition(x):
        features = np.empty((6, 3))
        for t, site in enumerate(visited):
            history = tuple(x[visited[max(0, t - order) : t]].tolist())
            features[site] = params["table"][row_of[history]]
        return features

    check(model, params, definition)
