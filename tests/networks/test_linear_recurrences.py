"""Linear attention and the gated linear recurrence of Griffin against their equations, written as plain loops."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import slow
from numpy_layers import dense, initialised, run
from scipy import special

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks.attention.linear_attention import LinearAttention, linear_attention, positive
from arjax.networks.recurrent.linear.diagonal import RGLRU

rng = np.random.default_rng(0)


def elu_plus_one(x):
    return np.where(x > 0, x, np.expm1(x)) + 1


@pytest.mark.parametrize(
    ("block_size", "chunk_size"), [(1, 4), (1, 64), (3, 4), *(slow(*sizes) for sizes in [(1, 1), (2, 4), (3, 1)])]
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
