"""Mixers of linear recurrences, and linear attention, against the equations of their papers, written out in numpy."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from families import slow
from numpy_layers import convolved, dense, elu, initialised, layer_norm, rms_norm, run, silu
from scipy import special

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks.attention.linear_attention import LinearAttention, positive, quotient, with_one
from arjax.networks.hybrid import Memoryless, read_layers
from arjax.networks.recurrent.linear.diagonal import RGLRU
from arjax.networks.recurrent.linear.mixer import MIXERS, Decay
from arjax.networks.recurrent.linear.states import Decayed
from arjax.testing.network import check_autoregressive, check_extends, check_steps

LENGTH, WIDTH, HEADS = 7, 8, 2
SIZE = WIDTH // HEADS
COMMON = {"kernel_size": 3}
HEADED = {"num_heads": HEADS, "chunk_size": 3} | COMMON
softplus = functools.partial(np.logaddexp, 0)
rng = np.random.default_rng(0)


def heads(x_TE):
    """[T, N * H] -> [N, T, H]."""
    return np.swapaxes(x_TE.reshape(len(x_TE), HEADS, -1), 0, 1)


def merged(o_NTV):
    return np.swapaxes(o_NTV, 0, 1).reshape(LENGTH, -1)


def unit(x):
    return x / np.sqrt((x**2).sum(-1, keepdims=True) + 1e-6)


def rate_and_step(own, x):
    dt = softplus(dense(own["step"], x) + own["step_bias"])
    return np.exp(own["log_rate"]) * dt, dt


def mixed(q_NTH, k_NTH, v_NTV, transition, write):
    """o_t = S_t q_t with S_t = S_(t-1) A_t + c_t v_t k_t', in the layout of the papers: S [V, H]."""
    o = np.empty(v_NTV.shape)
    for n in range(HEADS):
        S = np.zeros((v_NTV.shape[-1], k_NTH.shape[-1]))
        for t in range(LENGTH):
            S = S @ transition(n, t) + write[n, t] * np.outer(v_NTV[n, t], k_NTH[n, t])
            o[n, t] = S @ q_NTH[n, t]
    return o


def delta(own, x, number=1, factor=1.0, decay_NT=None):
    """`number` delta rules in each step, read after the last; features of k, v and beta head by head, rule by rule."""
    q, k, v = np.split(silu(convolved(own, dense(own["qkv"], x))), (WIDTH, (1 + number) * WIDTH), -1)
    q, beta = unit(heads(q)), factor * special.expit(heads(dense(own["beta"], x)))
    k, v = (heads(part).reshape(HEADS, LENGTH, number, SIZE) for part in (k, v))
    k, o = unit(k), np.empty((HEADS, LENGTH, SIZE))
    for n in range(HEADS):
        S = np.zeros((SIZE, SIZE))
        for t in range(LENGTH):
            S = S if decay_NT is None else decay_NT[n, t] * S
            for j in range(number):
                S = S @ (np.eye(SIZE) - beta[n, t, j] * np.outer(k[n, t, j], k[n, t, j]))
                S = S + beta[n, t, j] * np.outer(v[n, t, j], k[n, t, j])
            o[n, t] = S @ q[n, t]
    return rms_norm(own["norm"], o)


def delta_net(own, x, **options):
    return dense(own["out"], merged(delta(own, x, **options)))


def gated_delta_net(own, x):
    o = delta(own, x, 1, 2.0, np.exp(-rate_and_step(own["decay"], x)[0]).T)
    return dense(own["out"], merged(o) * silu(dense(own["gate"], x)))


def mamba2(own, u, negative=False):
    x, B, C = np.split(silu(convolved(own, dense(own["read"], u))), (2 * WIDTH, 2 * WIDTH + 3), -1)
    rate, dt = (part.T for part in rate_and_step(own["decay"], u))
    a, x = (2 * np.exp(-rate) - 1 if negative else np.exp(-rate)), heads(x)
    shared_B, shared_C = (np.stack([part] * HEADS) for part in (B, C))
    o = mixed(shared_C, shared_B, x, lambda n, t: a[n, t] * np.eye(3), dt) + own["skip"][:, None, None] * x
    return dense(own["out"], rms_norm(own["norm"], merged(o) * silu(dense(own["gate"], u))))


def gated_linear_attention(own, x):
    q, k, v = map(heads, np.split(dense(own["qkv"], x), (WIDTH // 2, WIDTH), -1))
    alpha = heads(special.expit(dense(own["decay_out"], dense(own["decay_in"], x))) ** (1 / 16))
    o = layer_norm(own["norm"], mixed(q, k, v, lambda n, t: np.diag(alpha[n, t]), np.ones((HEADS, LENGTH))))
    return dense(own["out"], merged(o) * silu(dense(own["gate"], x)))


def mlstm(own, x):
    q, k, v = map(heads, np.split(dense(own["qkv"], x), 3, -1))
    i, f = np.exp(dense(own["input_gate"], x)).T, special.expit(dense(own["forget"], x)).T
    h = np.empty(v.shape)
    for n in range(HEADS):
        C, normaliser = np.zeros((SIZE, SIZE)), np.zeros(SIZE)
        for t in range(LENGTH):
            key = k[n, t] / np.sqrt(SIZE)
            C = f[n, t] * C + i[n, t] * np.outer(v[n, t], key)
            normaliser = f[n, t] * normaliser + i[n, t] * key
            h[n, t] = C @ q[n, t] / max(abs(normaliser @ q[n, t]), 1)
    return dense(own["out"], special.expit(dense(own["output_gate"], x)) * merged(rms_norm(own["norm"], h)))


def diagonal(own, kept_TR, new_TR):
    h, states = np.zeros(kept_TR.shape[1]), []
    for kept, new in zip(kept_TR, new_TR, strict=True):
        h = kept * h + new
        states.append(h)
    return dense(own["out"], np.array(states))


def min_gru(own, x):
    z, g = np.split(dense(own["gates"], convolved(own, x)), 2, -1)
    return diagonal(own, 1 - special.expit(z), special.expit(z) * g)


def min_lstm(own, x):
    f, i, g = np.split(dense(own["gates"], convolved(own, x)), 3, -1)
    f, i = special.expit(f), special.expit(i)
    return diagonal(own, f / (f + i), i / (f + i) * g)


def gated_convolution(own, x):
    u, gate = np.split(dense(own["read"], x), 2, -1)
    return dense(own["out"], gate * convolved(own, u))


NEGATIVE = HEADED | {"negative_eigenvalues": True}
#: The definition with its arguments, the mixer and its options.
EQUATIONS = {
    "gated_convolution": (gated_convolution, {}, "gated_convolution", {"window": 3}),
    "delta_net": (delta_net, {}, "delta_net", HEADED),
    "delta_net, negative": (delta_net, {"factor": 2.0}, "delta_net", NEGATIVE),
    "delta_net, products": (delta_net, {"factor": 2.0, "number": 3}, "delta_net", NEGATIVE | {"num_householder": 3}),
    "gated_delta_net, negative": (gated_delta_net, {}, "gated_delta_net", NEGATIVE),
    "mamba2": (mamba2, {}, "mamba2", HEADED | {"state_size": 3}),
    "mamba2, negative": (mamba2, {"negative": True}, "mamba2", NEGATIVE | {"state_size": 3}),
    "gated_linear_attention": (gated_linear_attention, {}, "gated_linear_attention", HEADED),
    "mlstm": (mlstm, {}, "mlstm", HEADED),
    "min_gru": (min_gru, {}, "min_gru", COMMON),
    "min_lstm": (min_lstm, {}, "min_lstm", COMMON),
}
#: Signs are those of the products and of the gated delta rule, which are fast.
NEGATIVES = ("delta_net, negative", "mamba2, negative")


@pytest.mark.parametrize("name", [slow(n) if n in NEGATIVES else n for n in EQUATIONS])
def test_mixer_is_its_equations(name):
    definition, arguments, mixer, options = EQUATIONS[name]
    options = {option: value for option, value in options.items() if option in MIXERS.options(mixer)}
    module = MIXERS.component(mixer, options).build(width=WIDTH, out_scale=1.0, dtype="float32")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, LENGTH, WIDTH)).astype(np.float32)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), x, 1))["params"]
    params = jax.tree.map(lambda leaf: (rng.normal(size=leaf.shape) * 0.8).astype(np.float32), shapes)
    y_BTE = np.asarray(jax.jit(lambda p: module.apply({"params": p}, x, 1))(params))
    params = jax.tree.map(lambda leaf: leaf.astype(np.float64), params)
    for one, y in zip(x, y_BTE, strict=True):
        expected = definition(params, one.astype(np.float64), **arguments)
        np.testing.assert_allclose(y, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


#: One of each recurrence; those whose state is that of another one are slow.
STATEFUL = ("mamba2", "min_gru")
LIKE_THEM = ("delta_net", "mlstm", "gated_delta_net", "gated_linear_attention", "rg_lru")


@pytest.mark.parametrize("name", [*STATEFUL, *(slow(name) for name in LIKE_THEM)])
def test_states_are_float32_in_bfloat16(name):
    """The state before and after a step and several ones, and what the convolution keeps has the compute type."""
    model = cases.small_model(name, EventSpec((6,), kind="tokens", num_levels=3), dtype="bfloat16")
    network, factorization, variables = model.network, model.factorization, {"params": model.param_shapes}

    def forms(variables, x, t):
        apply = functools.partial(network.apply, variables)
        carry = apply(2, factorization, method="start")
        after, _ = apply(carry, x, t, factorization, method="step")
        carries, _ = apply(carry, x, t, 3, factorization, method="extend")
        return carry, after, apply(carries, t, method="keep")

    for carry, _, _ in jax.eval_shape(forms, variables, jnp.zeros((2, 6), jnp.int32), jnp.int32(1)):
        for (queue, state), _ in carry:
            assert queue.dtype == jnp.bfloat16
            assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype("float32")}


def test_decays_begin_between_a_thousandth_and_a_tenth_of_their_rate():
    own = jax.jit(Decay(2000, "float32").init)(jax.random.key(0), jnp.zeros((1, 4)))["params"]
    dt, rate = softplus(np.asarray(own["step_bias"], np.float64)), np.exp(own["log_rate"])
    assert 1e-3 * 0.999 < dt.min() < 1.05e-3 and 0.095 < dt.max() < 0.1 * 1.001
    assert np.median(dt) == pytest.approx(0.01, rel=0.1)
    assert 1 <= rate.min() < 1.1 and 15.9 < rate.max() <= 16 and rate.mean() == pytest.approx(8.5, rel=0.05)


EVENT = EventSpec((6,), kind="tokens", num_levels=3)


def test_layers_are_call_strings():
    first, second, third = read_layers("mamba2(state_size=9), attention(window=8),\n delta_net")
    assert [mixer.name for mixer in (first, second, third)] == ["mamba2", "attention", "delta_net"]
    assert first["state_size"] == 9 and second["window"] == 8 and not third["negative_eigenvalues"]


def test_how_far_a_hybrid_reaches():
    """Windows alone reach as far as all of them together; one recurrence or attention to all steps reads everything."""

    def network(layers):
        return make_model(EVENT, "hybrid", layers=layers, hidden_size=8).network

    windows = network("attention(window=2), attention(window=3)")
    assert windows.receptive_field == 4 and "unbounded" in windows.traits
    assert network("attention(window=2), min_gru").receptive_field is None
    assert "unbounded" in network("attention(window=2), min_gru").traits
    assert network("gated_convolution, attention(window=2)").receptive_field == 4
    everything = network("attention(window=2), attention")
    assert everything.receptive_field is None and "unbounded" not in everything.traits
    assert "unbounded" not in network("attention(window=7), min_gru").traits


HYBRIDS = {
    "every mixer": "mamba2(num_heads=2, state_size=4), rg_lru(num_heads=2), mlstm(num_heads=2), min_lstm, "
    "linear_attention(num_heads=2), gated_convolution, attention(num_heads=2), gated_linear_attention(num_heads=2), "
    "delta_net(num_heads=2)",
    "windows": "attention(num_heads=2, window=2), attention(num_heads=2, window=2)",
    "convolution": "gated_convolution(window=2)",
}


@pytest.mark.slow  # the laws take a recurrence and attention
@pytest.mark.parametrize("name", HYBRIDS)
def test_hybrids_keep_the_laws(name):
    model = cases.small_model("hybrid", EVENT, "random(seed=1)", layers=HYBRIDS[name])
    params = cases.params_of(model)
    for check in (check_steps, check_extends, check_autoregressive):
        check(model, params)


@pytest.mark.parametrize(
    ("block_size", "chunk_size"),
    [(1, 4), (3, 4), *(slow(*sizes) for sizes in [(1, 64), (1, 1), (2, 4), (3, 1)])],
)
def test_linear_attention_is_equation_9(block_size, chunk_size):
    """Head by head, token by token: sum_j phi(q)' phi(k_j) v_j / sum_j phi(q)' phi(k_j)."""
    x = rng.normal(size=(2, 12, 8)).astype(np.float32)
    layer = LinearAttention(8, 2, 1.0, "float32", chunk_size=chunk_size)
    params = initialised(layer, x, block_size)
    for one, features in zip(x, run(layer, params, x, block_size), strict=True):
        q, k, v = (dense(params[name], one) for name in ("query", "key", "value"))
        mixed = np.empty_like(one)
        for head in (slice(0, 4), slice(4, 8)):
            for i in range(12):
                seen = (i // block_size + 1) * block_size
                weights = (elu(k[:seen, head]) + 1) @ (elu(q[i, head]) + 1)
                mixed[i, head] = weights @ v[:seen, head] / weights.sum()
        np.testing.assert_allclose(features, dense(params["out"], mixed), rtol=1e-3, atol=1e-3)


def test_feature_map_is_elu_plus_one_and_never_zero():
    x = np.linspace(-80, 5, 100, dtype=np.float32)
    np.testing.assert_allclose(positive(x), elu(x.astype(np.float64)) + 1, rtol=1e-5, atol=1e-12)
    assert (np.asarray(positive(x)) > 0).all()


def test_gradients_are_finite_where_chunks_are_filled_up():
    q, k, v = np.abs(rng.normal(size=(3, 1, 1, 5, 4))).astype(np.float32)
    attended = lambda q, k, v: quotient(Decayed(q, k, with_one(v)).run(None, 4)[1]).sum()  # noqa: E731
    gradients = jax.jit(jax.grad(attended, argnums=(0, 1, 2)))(q, k, v)
    assert all(np.isfinite(g).all() for g in gradients)


def test_rg_lru_remembers_at_first():
    """a^c starts between 0.9 and 0.999."""
    decay = jax.jit(RGLRU(512, 1, "float32").init)(jax.random.key(0), jnp.zeros((1, 1, 512)))["params"]["decay"]
    forgets = special.expit(np.asarray(decay, np.float64)) ** 8
    assert 0.9 <= forgets.min() < 0.91 and 0.99 < forgets.max() <= 0.999


@pytest.mark.slow
def test_first_token_is_as_large_as_embedded_values():
    """Tokens are normalised: the gradient of a small one would be larger than all others."""
    model = make_model(EventSpec((4,), (), "levels", 5), "rg_lru", hidden_size=64, num_layers=1, num_heads=1)
    tokens = jax.jit(model.init)(jax.random.key(0))["tokens"]
    (table,) = (leaf for leaf in jax.tree.leaves(tokens["value"]) if leaf.ndim == 2)
    ratio = np.std(tokens["nothing"]) / np.std(table)
    assert 0.5 < ratio < 2, ratio


def test_a_gated_convolution_has_no_state():
    terms = Memoryless(np.ones((1, 2, 3)))
    assert terms.run(None) == terms.step(None) == (None, terms.u) and terms.masked(np.zeros(2, bool)) is terms


def test_linear_attention_is_a_mixer():
    layer = MIXERS.component("linear_attention", {"num_heads": 2, "chunk_size": 3}).build(
        width=8, out_scale=0.5, dtype="float32"
    )
    assert layer == LinearAttention(8, 2, 0.5, "float32", chunk_size=3)


@pytest.mark.parametrize("block_size", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_forms_of_linear_attention_agree(block_size):
    """Blocks after a cut, of which some are kept, and blocks that each come next, as if the others were not there."""
    x = rng.normal(size=(2, 5 * block_size, 8)).astype(np.float32)
    layer = LinearAttention(8, 2, 1.0, "float32", chunk_size=3)
    params = initialised(layer, x, block_size)
    by_block = np.split(np.arange(5 * block_size), 5)

    @jax.jit
    def forms(params):
        call = lambda *args, method="__call__": layer.apply({"params": params}, *args, method=method)  # noqa: E731
        empty = call(2, 5, block_size, method="init_cache")
        some, first = call(empty, x[:, : 3 * block_size], 0, block_size, method="extend")
        cache = call(some, jnp.int32(2), method="keep")
        rest = call(cache, x[:, 2 * block_size :], 2, block_size, method="extend")[1]
        _, step = call(cache, x[:, by_block[2]], 2, method="step")
        ahead = call(cache, x[:, 2 * block_size :], 2, block_size, method="ahead")
        others = [call(x[:, np.concatenate([*by_block[:2], each])], block_size) for each in by_block[2:]]
        expected = jnp.concatenate([other[:, 2 * block_size :] for other in others], 1)
        return call(x, block_size), (first, rest, step), (ahead, expected)

    whole, (first, rest, step), ahead = forms(params)
    np.testing.assert_allclose(first, whole[:, : 3 * block_size], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(rest, whole[:, 2 * block_size :], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(step, whole[:, by_block[2]], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(*ahead, rtol=1e-4, atol=1e-5)
