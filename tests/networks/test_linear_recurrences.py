"""Linear attention and the gated linear recurrence of Griffin against their equations, written as plain loops."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from numpy_layers import dense, initialised, run, textbook_rg_lru
from scipy import special

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks import NETWORKS
from arjax.networks.attention.linear_attention import LinearAttention, linear_attention, positive
from arjax.networks.recurrent.rg_lru import RGLRU, RecurrentBlock

rng = np.random.default_rng(0)


def elu_plus_one(x):
    return np.where(x > 0, x, np.expm1(x)) + 1


@pytest.mark.parametrize(
    ("block_size", "chunk_size"),
    [(1, 4), (1, 64), (3, 4), *(pytest.param(*sizes, marks=pytest.mark.slow) for sizes in [(1, 1), (2, 4), (3, 1)])],
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
                weights = elu_plus_one(k[:seen, head]) @ elu_plus_one(q[i, head])
                mixed[i, head] = weights @ v[:seen, head] / weights.sum()
        np.testing.assert_allclose(features, dense(params["out"], mixed), rtol=1e-3, atol=1e-3)


def test_feature_map_is_elu_plus_one_and_never_zero():
    x = np.linspace(-80, 5, 100, dtype=np.float32)
    np.testing.assert_allclose(positive(x), elu_plus_one(x.astype(np.float64)), rtol=1e-5, atol=1e-12)
    assert (np.asarray(positive(x)) > 0).all()


def test_chunks_leave_no_trace_of_the_future():
    """Exactly: a later token of the same chunk changes no bit of an earlier one."""
    q, k, v = np.abs(rng.normal(size=(3, 1, 1, 64, 4))).astype(np.float32)
    mix = jax.jit(lambda k, v: linear_attention(q, k, v, 1, 16))
    before = np.asarray(mix(k, v))
    for place in (1, 15, 16, 40, 63):
        k_other, v_other = k.copy(), v.copy()
        k_other[..., place, :], v_other[..., place, :] = 3.0, -100.0
        after = np.asarray(mix(k_other, v_other))
        np.testing.assert_array_equal(after[..., :place, :], before[..., :place, :])
        assert (after[..., place:, :] != before[..., place:, :]).all()


def test_gradients_are_finite_where_chunks_are_filled_up():
    q, k, v = np.abs(rng.normal(size=(3, 1, 1, 5, 4))).astype(np.float32)
    gradients = jax.jit(jax.grad(lambda *a: linear_attention(*a, 1, 4).sum(), argnums=(0, 1, 2)))(q, k, v)
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("num_heads", [1, 3])
def test_rg_lru_is_its_equations(num_heads):
    x = rng.normal(size=(2, 11, 6)).astype(np.float32)
    unit = RGLRU(6, num_heads, "float32")
    params = initialised(unit, x)
    expected = [textbook_rg_lru(params, one, num_heads) for one in x]
    np.testing.assert_allclose(run(unit, params, x), expected, rtol=1e-3, atol=1e-3)


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


@pytest.mark.slow
def test_recurrent_block_is_two_branches():
    """Figure 2c: gelu(W_1 x) times the unit behind a convolution of each feature over 4 steps."""
    x = rng.normal(size=(2, 7, 5)).astype(np.float32)
    block = RecurrentBlock(5, 1.0, "float32", recurrent_size=6, num_heads=2)
    params = initialised(block, x, 1)
    for one, features in zip(x, run(block, params, x, 1), strict=True):
        read, convolved = dense(params["read"], one), np.tile(params["conv_bias"], (7, 1))
        for t in range(7):
            for k in range(min(t + 1, 4)):
                convolved[t] += params["conv_kernel"][k] * read[t - k]
        gate = np.asarray(jax.nn.gelu(dense(params["gate"], one)))
        expected = dense(params["out"], gate * textbook_rg_lru(params["recurrence"], convolved, 2))
        np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["linear_attention", "rg_lru"])
def test_recomputation_changes_nothing(network):
    event, x = EventSpec((9,)), rng.integers(0, 2, (2, 9))
    small = NETWORKS.get(network).SMALL | {"unroll": 1}
    models = [make_model(event, network, remat=remat, **small) for remat in (False, True)]

    def loss(params, model):
        return model.network.apply({"params": params}, x, model.factorization).sum()

    gradients = jax.jit(lambda params: [jax.grad(loss)(params, m) for m in models])(cases.params_of(models[0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), *gradients)


@pytest.mark.parametrize(
    ("network", "options", "sentence"),
    [
        ("rg_lru", {"recurrent_size": 10, "num_heads": 4}, "num_heads=4 does not divide network.recurrent_size=10"),
        ("rg_lru", {"remat": True}, "remat saves memory only with network.unroll=1, not 4"),
    ],
)
def test_refusals(network, options, sentence):
    with pytest.raises(UserError, match=rf"^network\.{sentence}$"):
        make_model(EventSpec((6,)), network, **options)
