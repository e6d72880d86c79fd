"""Transformer-XL against the equations of its section 3.3, token by token, and what its segments and memory do."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from families import slow
from numpy_layers import relative_attention

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks.attention.transformer_xl import RelativeAttention
from arjax.testing.network import check_autoregressive

rng = np.random.default_rng(0)
WIDTH, HEADS = 8, 2
SIZE = WIDTH // HEADS


def random_params(module, *args):
    return cases.random_like(jax.eval_shape(lambda: module.init(jax.random.key(0), *args))["params"])


@pytest.mark.parametrize(
    ("num_steps", "segment", "memory", "block_size"),
    [
        (7, 3, 2, 1),
        (6, 3, 0, 1),
        (5, 2, 2, 3),
        slow(8, 2, 100, 1),
        *(slow(*sizes) for sizes in [(7, 2, 5, 1), (5, 8, 8, 1), (5, 1, 1, 2)]),
    ],
)
def test_attention_is_its_equation(num_steps, segment, memory, block_size):
    layer = RelativeAttention(WIDTH, HEADS, 1.0, "float32", use_bias=False, segment=segment, memory=memory)
    h = rng.normal(size=(2, num_steps * block_size, WIDTH)).astype(np.float32)
    biases = tuple(rng.normal(size=(2, HEADS, SIZE)).astype(np.float32))
    params = random_params(layer, h, block_size, False, biases)
    mixed = jax.jit(lambda p: layer.apply({"params": p}, h, block_size, False, biases))(params)
    expected = [relative_attention(params, one, segment, memory, block_size, *biases) for one in h]
    np.testing.assert_allclose(mixed, expected, rtol=1e-3, atol=1e-3)


def test_a_ring_grows_and_goes_round():
    """Steps in the form of a loop: after 2 steps the ring grows from 2 places to its 5, and then it goes round."""
    layer = RelativeAttention(WIDTH, HEADS, 1.0, "float32", use_bias=False, segment=3, memory=2)
    h = rng.normal(size=(2, 7, WIDTH)).astype(np.float32)
    biases = tuple(rng.normal(size=(2, HEADS, SIZE)).astype(np.float32))
    params = random_params(layer, h, 1, False, biases)

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
    layer = RelativeAttention(WIDTH, HEADS, 1.0, "float32", use_bias=False, segment=3, memory=3)
    h = rng.normal(size=(1, 6, WIDTH)).astype(np.float32)
    biases = tuple(rng.normal(size=(2, HEADS, SIZE)).astype(np.float32))
    params = random_params(layer, h, 1, False, biases)

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
