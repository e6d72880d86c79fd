"""Small parts of networks by themselves: names of activations, sizes of chunks, layers that are computed again."""

from __future__ import annotations

import contextlib
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import ScopeParamShapeError

from arjax.core.spec import ContextSpec, EventSpec
from arjax.networks.attention.linear_attention import linear_attention
from arjax.networks.denoisers.base import Modulation
from arjax.networks.dense.made import places
from arjax.networks.layers.embedding import SequenceEncoder
from arjax.networks.recurrent.seq2seq_lstm import SourceEncoder
from arjax.networks.recurrent.stack import elementwise
from arjax.testing import EVENTS
from arjax.testing.examples import random_context, random_like

LINE = EventSpec((4,))


@pytest.mark.parametrize(("block", "chunk", "size"), [(2, 8, 8), (3, 8, 6), (4, 1, 4), (1, 5, 5)])
def test_chunks_of_linear_attention_are_whole_blocks_of_about_their_size(block, chunk, size):
    """Its largest product has chunks x size x size entries: its memory is linear in the length."""
    length = 24
    q = k = jnp.ones((1, 1, length, 2))
    v = jax.random.normal(jax.random.key(0), (1, 1, length, 2))
    program = jax.make_jaxpr(lambda *qkv: linear_attention(*qkv, block, chunk))(q, k, v)
    shapes = [v.aval.shape for eqn in program.eqns for v in eqn.outvars]
    assert (1, 1, -(-length // size), size, size) in shapes
    # Equal weights: the mean of all values of the block and of earlier blocks.
    ends = np.minimum((np.arange(length) // block + 1) * block, length)
    expected = np.cumsum(np.asarray(v)[0, 0], 0)[ends - 1] / ends[:, None]
    found = jax.jit(linear_attention, static_argnums=(3, 4))(q, k, v, block, chunk)
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-5)


def test_units_of_a_structured_network_cycle_through_all_sites_but_the_first():
    for num_sites in (1, 2, 5, 8):
        ranks = places(3 * max(num_sites - 1, 1), num_sites)
        assert set(ranks) == (set(range(1, num_sites)) or {0})
        assert (np.bincount(ranks, minlength=num_sites)[1:] == 3).all()
    # the ranks of 0, .618, .236, .854, .472, .090, .708, .326: multiples of the golden ratio without their whole parts
    np.testing.assert_array_equal(places(8, 9), [1, 6, 3, 8, 5, 2, 7, 4])


def test_without_a_condition_nothing_is_modulated():
    assert Modulation(4, 3, "float32").apply({}, None, 3) == [0.0] * 3


def test_mixed_columns_of_a_context_are_read_by_their_kinds():
    """Tokens and levels as one-hot vectors, in a linear map that all columns share; their position tells them apart."""
    spec = ContextSpec(row=EVENTS["columns"])
    encoder, context = SequenceEncoder(spec, 4, "float32"), random_context(spec, 3)
    params = random_like(jax.eval_shape(encoder.init, jax.random.key(0), context)["params"])
    encoded, valid = jax.jit(lambda params: encoder.apply({"params": params}, context))(params)
    assert valid.all() and valid.shape == (3, 6)
    for b, d in np.ndindex(3, 6):
        kind, value = EVENTS["columns"].columns[d].kind, context["row"][b, d]
        inputs = np.eye(5)[int(value)] if kind in ("tokens", "levels") else value * np.eye(5)[0]
        h = inputs @ params["linear"]["kernel"] + params["linear"]["bias"]
        h = h + np.concatenate([np.sin(d * np.array([1, 0.01])), np.cos(d * np.array([1, 0.01]))])
        np.testing.assert_allclose(encoded[b, d], nn.gelu(h), atol=1e-5)
    source = SourceEncoder(spec, 4, 3, 1, 0.0, True, "float32")
    shapes = jax.eval_shape(lambda: source.init(jax.random.key(0), context, False))["params"]
    assert shapes["linear"]["kernel"].shape == (5, 4)


def test_parameters_of_another_shape_are_refused_though_shapes_are_remembered():
    """tests/conftest.py remembers the shapes of initialisers, which flax compares with those of parameters."""
    x, params = jnp.zeros((1, 2)), {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)}
    for init in (nn.initializers.lecun_normal(), lambda key, shape, dtype: jnp.zeros(shape, dtype)):
        for _ in range(2):
            assert nn.Dense(3, kernel_init=init).apply({"params": params}, x).shape == (1, 3)
            with pytest.raises(ScopeParamShapeError):
                nn.Dense(4, kernel_init=init).apply({"params": params}, x)
            for size in (3, 5):  # of two functions with one code
                given = nn.Dense(3, kernel_init=lambda key, shape, dtype, size=size: jnp.zeros((2, size)))
                with contextlib.nullcontext() if size == 3 else pytest.raises(ScopeParamShapeError):
                    given.apply({"params": params}, x)


def test_elementwise_functions_keep_one_array_per_argument():
    """Values, and first and second derivatives, are those of the function itself, which keeps more arrays."""

    def gate(a, b, c):
        return jax.nn.sigmoid(a) * jnp.tanh(b) + jax.nn.sigmoid(b) * c

    def derivatives(function, *xs):
        total = lambda *xs: (weight * function(*xs)).sum()  # noqa: E731
        gradient = jax.grad(total, argnums=(0, 1, 2))
        return total(*xs), gradient(*xs), jax.jvp(gradient, xs, xs[::-1]), jax.jvp(total, xs, xs[::-1])

    def num_kept(function):
        return len(jax.tree.leaves(jax.eval_shape(lambda *xs: jax.vjp(function, *xs)[1], *arrays)))

    weight, *arrays = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)
    got, expected = (
        jax.jit(functools.partial(derivatives, function))(*arrays) for function in (elementwise(gate), gate)
    )
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), got, expected)
    assert num_kept(elementwise(gate)) == 3 < num_kept(gate)
