"""Transformers: options and relative positions against their definitions in numpy, and under the laws; layers that are
scanned, unrolled or recomputed.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from families import slow
from numpy_layers import initialised, relative_attention, run
from scipy import special

from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model
from arjax.networks import NETWORKS
from arjax.networks.attention.transformer_xl import RelativeAttention
from arjax.networks.layers.attention import SelfAttention, rotary_frequencies, write_tokens
from arjax.networks.layers.blocks import Block
from arjax.testing.models import autoregressive_networks
from arjax.testing.network import check_autoregressive, check_steps

rng = np.random.default_rng(0)
TOKENS = EventSpec((6,), kind="tokens", num_levels=5)
SMALL = {"width": 16, "num_layers": 2, "num_heads": 4}
GPT2 = SMALL | {"target_position": False, "tie_embeddings": True}
LLAMA = SMALL | {
    "position": "none",
    "rotary": True,
    "num_kv_heads": 2,
    "norm_kind": "rms",
    "mlp_kind": "gated",
    "mlp_size": 12,
    "activation": "silu",
    "use_bias": False,
    "head_size": 6,
}


def turned(x, position, base):
    """Each pair of features as a complex number, turned by its angle."""
    half = len(x) // 2
    z = (x[:half] + 1j * x[half:]) * np.exp(1j * position * base ** (-np.arange(half) / half))
    return np.concatenate([z.real, z.imag])


def by_root_mean_square(x, scale, size):
    """Each head of x[T, N * H] divided by the root of the mean of its squares, and scaled."""
    heads = x.reshape(len(x), -1, size)
    return (heads / np.sqrt((heads**2).mean(-1, keepdims=True) + 1e-6) * scale).reshape(x.shape)


def grouped_rotary_attention(params, x_TE, num_heads, num_kv_heads, size, base):
    """Head by head and token by token: head n reads the keys of group n G / N."""
    q, k, v = (x_TE @ params[name]["kernel"] for name in ("query", "key", "value"))
    if "query_norm" in params:
        q = by_root_mean_square(q, params["query_norm"]["scale"], size)
        k = by_root_mean_square(k, params["key_norm"]["scale"], size)
    mixed = np.empty((len(x_TE), num_heads * size))
    for n in range(num_heads):
        own = slice(n * size, (n + 1) * size)
        group = slice(n * num_kv_heads // num_heads * size, (n * num_kv_heads // num_heads + 1) * size)
        keys = np.stack([turned(k[j, group], j, base) for j in range(len(x_TE))])
        for i in range(len(x_TE)):
            weights = special.softmax(keys[: i + 1] @ turned(q[i, own], i, base) / np.sqrt(size))
            mixed[i, own] = weights @ v[: i + 1, group]
    return mixed @ params["out"]["kernel"]


@pytest.mark.parametrize(("num_kv_heads", "qk_norm"), [slow(1, False), (2, True)])
def test_grouped_queries_and_rotary_positions_are_their_definitions(num_kv_heads, qk_norm):
    x = rng.normal(size=(2, 7, 12)).astype(np.float32)
    own = {"num_kv_heads": num_kv_heads, "head_size": 6, "rotary_base": 50.0, "qk_norm": qk_norm}
    layer = SelfAttention(12, 4, 1.0, "float32", use_bias=False, **own)
    params = initialised(layer, x, 1)
    assert params["key"]["kernel"].shape == (12, 6 * num_kv_heads) and params["query"]["kernel"].shape == (12, 24)
    expected = [grouped_rotary_attention(params, one, 4, num_kv_heads, 6, 50.0) for one in x]
    np.testing.assert_allclose(run(layer, params, x, 1), expected, rtol=1e-3, atol=1e-3)


def test_rotary_scaling_keeps_short_waves_and_stretches_long_ones():
    plain, scaled = rotary_frequencies(64, 5e5), rotary_frequencies(64, 5e5, (8.0, 1.0, 4.0, 8192.0))
    wave = 2 * np.pi / plain
    np.testing.assert_array_equal(scaled[wave < 8192 / 4], plain[wave < 8192 / 4])
    np.testing.assert_allclose(scaled[wave > 8192], plain[wave > 8192] / 8, rtol=1e-6)
    between = (wave > 8192 / 4) & (wave < 8192)
    assert between.any() and (scaled[between] < plain[between]).all() and (scaled[between] > plain[between] / 8).all()


def test_gated_block_with_root_mean_squares_is_its_definition():
    x = rng.normal(size=(5, 8)).astype(np.float32)
    block = Block(
        lambda: SelfAttention(8, 2, 1.0, "float32", use_bias=False, rotary_base=50.0),
        8,
        12,
        0.0,
        "silu",
        1.0,
        "float32",
        mlp_kind="gated",
        norm_kind="rms",
        norm_epsilon=1e-3,
        use_bias=False,
    )
    params = initialised(block, x[None], 1, False)

    def rms(name, x):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-3) * params[name]["scale"]

    h = x + grouped_rotary_attention(params["attention"], rms("attention_norm", x), 2, 2, 4, 50.0)
    inner = rms("mlp_norm", h)
    gate, up = inner @ params["gate"]["kernel"], inner @ params["up"]["kernel"]
    expected = h + (gate * special.expit(gate) * up) @ params["down"]["kernel"]
    np.testing.assert_allclose(run(block, params, x[None], 1, False)[0][0], expected, rtol=1e-3, atol=1e-3)


def test_layers_that_start_at_zero_are_the_identity():
    model = make_model(TOKENS, "transformer", zero_init=True, **SMALL)
    layers = jax.jit(model.init)(jax.random.key(0))["layers"]
    assert not np.any(layers["down"]["kernel"]) and not np.any(layers["attention"]["out"]["kernel"])
    assert np.any(layers["up"]["kernel"])


VARIANTS = {
    "gpt2": GPT2,
    "llama": LLAMA,
    "normalised queries and keys": LLAMA | {"qk_norm": True},
    "rotary and positions": LLAMA | {"position": "learned"},
    "summary": SMALL | {"cross_attention": False},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_variants_keep_laws_1_and_3(name):
    partition = "sites" if name in ("gpt2", "llama", "normalised queries and keys") else "sizes(sizes=(1, 3, 2))"
    spec, choice = cases.CONTEXTS["sequence"], {"ordering": "random(seed=1)", "partition": partition}
    model = make_model(TOKENS, "transformer", context=spec, **choice, **VARIANTS[name])
    params = cases.params_of(model)
    check_autoregressive(model, params, cases.random_context(spec, 8))
    check_steps(model, params, cases.random_context(spec, cases.BATCH))


def test_steps_with_a_context_are_those_of_all_tokens():
    spec = cases.CONTEXTS["sequence"]
    model = make_model(TOKENS, "transformer", context=spec, **SMALL | {"num_layers": 1})
    check_steps(model, cases.params_of(model), cases.random_context(spec, cases.BATCH))


def test_options_leave_out_what_they_replace():
    def names(**options):
        params = make_model(TOKENS, "transformer", **options).param_shapes
        return {jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(params)}

    default, gpt2, llama = names(**SMALL), names(**GPT2), names(**LLAMA)
    assert default - gpt2 == {"out/kernel", "out/bias", "tokens/target_position/table/embedding"}
    assert gpt2 < default
    assert not [name for name in llama if "bias" in name or "position" in name]
    assert "layers/gate/kernel" in llama and "layers/gate/kernel" not in default


@pytest.mark.slow
def test_what_lies_after_the_end_of_a_context_does_not_matter():
    spec = ContextSpec("sequence", 4, 6)
    model = make_model(TOKENS, "transformer", context=spec, **SMALL)
    params = cases.params_of(model)
    short = make_model(TOKENS, "transformer", context=ContextSpec("sequence", 4, 3), **SMALL)
    x, c = cases.random_x(TOKENS, 4), np.array([[0, 2, 1], [3, 3, 0], [1, -1, -1], [-1, -1, -1]], np.int32)
    padded = np.concatenate([c, np.full((4, 3), -1, np.int32)], 1)
    features, expected = (
        cases.parallel(m.network, params, x, m.factorization, {"sequence": a}) for m, a in ((model, padded), (short, c))
    )
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)


@functools.cache
def model_of(num_layers: int, unroll: int = 1, remat: bool = False):
    options = {"num_layers": num_layers, "unroll": unroll, "remat": remat}
    return make_model(TOKENS, "transformer", width=16, num_heads=2, **options)


@functools.cache
def value_and_gradient(num_layers: int, *how):
    model, params = model_of(num_layers, *how), cases.params_of(model_of(num_layers))
    return jax.jit(jax.value_and_grad(lambda p: model.log_prob(p, cases.random_x(TOKENS, 3)).sum()))(params)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_layers", "unroll", "remat"), [(3, 2, False), (3, 1, True), (3, 4, False), (1, 4, False), (1, 1, True)]
)
def test_layers_compute_the_same_however_they_are_run(num_layers, unroll, remat):
    """From the same fresh parameters."""
    fresh = (model.init(jax.random.key(0)) for model in (model_of(num_layers, unroll, remat), model_of(num_layers)))
    jax.tree.map(np.testing.assert_array_equal, *fresh)
    expected, expected_gradient = value_and_gradient(num_layers)
    value, gradient = value_and_gradient(num_layers, unroll, remat)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), gradient, expected_gradient)


def test_many_levels_under_any_order():
    """Of more features than the width has, states are sorted by site, not features."""
    model = make_model(
        EventSpec((2, 3), kind="tokens", num_levels=40), "transformer", ordering="random(seed=1)", **SMALL
    )
    check_steps(model, cases.params_of(model))


@pytest.mark.slow
@pytest.mark.parametrize("network", [name for name in autoregressive_networks() if "remat" in NETWORKS.options(name)])
def test_recomputation_changes_neither_parameters_nor_gradients(network):
    """In training, too."""
    grid, names = EventSpec((2, 3)), NETWORKS.options(network)
    rates = {name: 0.0 for name in names if name.endswith("dropout")} | {n: 1 for n in names if n == "unroll"}
    models = [cases.supported_model(network, grid, "raster", "sites", remat=each, **rates) for each in (False, True)]
    assert models[0].param_shapes == models[1].param_shapes
    x, params = cases.random_x(grid, 2), cases.params_of(models[0])

    def loss(params, model):
        return model.features(params, x, train=True, key=jax.random.key(0)).sum()

    gradients = jax.jit(lambda params: [jax.grad(loss)(params, model) for model in models])(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), *gradients)


WIDTH, HEADS = 8, 2


def relative(num_steps, block_size=1, **options):
    """A layer of Transformer-XL, random parameters, inputs and biases."""
    layer = RelativeAttention(WIDTH, HEADS, 1.0, "float32", use_bias=False, **options)
    h = rng.normal(size=(2, num_steps * block_size, WIDTH)).astype(np.float32)
    biases = tuple(rng.normal(size=(2, HEADS, WIDTH // HEADS)).astype(np.float32))
    return layer, initialised(layer, h, block_size, False, biases), h, biases


@pytest.mark.parametrize(
    ("num_steps", "segment", "memory", "block_size"),
    [
        *((7, 3, 2, 1), (6, 3, 0, 1), (5, 2, 2, 3)),
        *(slow(*sizes) for sizes in [(8, 2, 100, 1), (7, 2, 5, 1), (5, 8, 8, 1), (5, 1, 1, 2)]),
    ],
)
def test_relative_attention_is_its_equation(num_steps, segment, memory, block_size):
    layer, params, h, biases = relative(num_steps, block_size, segment=segment, memory=memory)
    expected = [relative_attention(params, one, segment, memory, block_size, *biases) for one in h]
    np.testing.assert_allclose(run(layer, params, h, block_size, False, biases), expected, rtol=1e-3, atol=1e-3)


def test_a_ring_grows_and_goes_round():
    """Steps in the form of a loop: after 2 steps the ring grows from 2 places to its 5, and then it goes round."""
    layer, params, h, biases = relative(7, segment=3, memory=2)

    def both(params):
        call = lambda *args, method=None: layer.apply({"params": params}, *args, method=method)  # noqa: E731
        token = functools.partial(jax.lax.dynamic_slice_in_dim, h, slice_size=1, axis=1)
        step = lambda cache, t: call(cache, token(t), t, biases, method="step")  # noqa: E731
        empty = call(2, 7, 1, biases, method="init_cache")
        cache, found = None, []
        for begin, end in ((0, 2), (2, 7)):
            cache = call(empty, end, cache, method="loop_carry")
            cache, mixed = jax.lax.scan(step, cache, jnp.arange(begin, end))
            found.append(mixed[:, :, 0])
        return call(h, 1, False, biases), jnp.swapaxes(jnp.concatenate(found), 0, 1)

    np.testing.assert_allclose(*jax.jit(both)(params), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_no_gradient_flows_into_the_memory_in_training():
    layer, params, h, biases = relative(6, segment=3, memory=3)

    def second_segment(h, train):
        return (layer.apply({"params": params}, h, 1, train, biases)[:, 3:] ** 2).sum()

    for train in (False, True):
        gradient = jax.jit(jax.grad(second_segment), static_argnums=1)(h, train)[0]
        assert (gradient[3:] != 0).all()
        assert (gradient[:3] == 0).all() if train else (gradient[:3] != 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(("segment", "memory", "num_layers"), [(3, 1, 3), (3, 2, 1), (3, 2, 2), (2, 0, 2)])
def test_reach_through_the_layers(segment, memory, num_layers):
    event = EventSpec((14,), kind="real", num_levels=0)
    options = {"width": 16, "num_heads": 2, "segment": segment, "memory": memory, "num_layers": num_layers}
    model = make_model(event, "transformer_xl", ordering="random(seed=2)", conditional="gaussian", **options)
    check_autoregressive(model, cases.params_of(model))
    declared = model.network.dependencies(model.factorization)
    assert declared.sum() < np.asarray(model.factorization.mask()).sum()


@pytest.mark.parametrize("num", [1, 3, 7])
def test_tokens_are_written_where_the_cache_has_places(num):
    """Of 5 places, the first and the last ones, and those beyond the end."""
    cache, new = np.zeros((2, 1, 5, 2)), rng.normal(size=(2, 1, num, 2))
    for start in range(6):
        expected = np.concatenate([cache[:, :, :start], new, cache], 2)[:, :, :5]
        written = jax.jit(write_tokens)(jnp.asarray(cache), jnp.asarray(new), start)
        np.testing.assert_allclose(written, expected, rtol=1e-6)
