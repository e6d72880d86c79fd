"""Attention along patterns: the patterns as the papers define them, and attention over them against a dense mask."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from families import slow

from arjax.core.programs import largest_array
from arjax.networks.attention.patterns import Near, Strided
from arjax.networks.attention.sparse_attention import PatternAttention

WIDTH, HEADS = 12, 4
NUM_STEPS = 17
#: Patterns of groups of heads.
LAYERS = {
    "window": [(Near(3, 2, 3), 4)],
    "window of one": [(Near(1, 0, 1), 4)],
    "blocks with memory": [(Near(4, 6), 4)],
    "strided": [(Near(3, 3, 4), 2), (Strided(3), 2)],
}


def layer(name: str):
    module = PatternAttention(WIDTH, HEADS, 1.0, "float32", patterns=tuple(LAYERS[name]))
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, 24, WIDTH)), 1))
    return module, cases.random_like(shapes)


def with_inputs(name: str, block_size: int):
    """The layer, inputs, and what the layer makes of them at once."""
    module, variables = layer(name)
    x = np.random.default_rng(1).normal(size=(2, NUM_STEPS * block_size, WIDTH)).astype(np.float32)
    out = jax.jit(module.apply, static_argnums=2)(variables, x, block_size)
    return module, variables, x, np.asarray(out)


#: Each pattern with steps of one token or of two, in turn; with the other number it is slow.
BLOCK_SIZES = [
    pytest.param(name, block_size, marks=[pytest.mark.slow] * (block_size != 1 + i % 2 or name == "window of one"))
    for i, name in enumerate(LAYERS)
    for block_size in (1, 2)
]


def pairs(predicate, num_steps: int = 17) -> np.ndarray:
    """bool[S, S] of the pairs with j <= i."""
    return np.array([[j <= i and bool(predicate(i, j)) for j in range(num_steps)] for i in range(num_steps)])


@pytest.mark.parametrize(
    ("pattern", "predicate"),
    [
        (Near(5, 4, 5), lambda i, j: i - j < 5),
        (Near(5, 3), lambda i, j: j >= i // 5 * 5 - 3),
        # Child et al. (2019), section 4.3, with l = 4
        (Near(4, 4, 5), lambda i, j: j >= max(0, i - 4)),
        (Strided(4), lambda i, j: (i - j) % 4 == 0),
        (Near(4, 0), lambda i, j: j // 4 == i // 4),
    ],
)
def test_patterns_are_those_of_the_papers(pattern, predicate):
    np.testing.assert_array_equal(pattern.graph(17), pairs(predicate))


def test_two_hops_connect_everything():
    """Which makes the two patterns a factorisation (section 4.2)."""
    graph = np.any([pattern.graph(24) for pattern, _ in LAYERS["strided"]], axis=0)
    np.testing.assert_array_equal(graph @ graph, np.tri(24, dtype=bool))


@pytest.mark.parametrize(("name", "block_size"), BLOCK_SIZES)
def test_attention_equals_a_dense_mask(name, block_size):
    """Also where blocks are cut short."""
    _, variables, x, out = with_inputs(name, block_size)
    block = np.ones((block_size, block_size), bool)
    masks = [np.kron(p.graph(NUM_STEPS), block) for p, count in LAYERS[name] for _ in range(count)]
    params = variables["params"]
    q, k, v = (x @ params[n]["kernel"] + params[n]["bias"] for n in ("query", "key", "value"))
    heads = []
    for h, mask in enumerate(masks):
        part = slice(3 * h, 3 * h + 3)
        scores = np.einsum("bqh,bkh->bqk", q[..., part], k[..., part]) / np.sqrt(3)
        weights = np.where(mask, np.exp(scores - scores.max(-1, keepdims=True)), 0)
        heads.append(weights / weights.sum(-1, keepdims=True) @ v[..., part])
    expected = np.concatenate(heads, -1) @ params["out"]["kernel"] + params["out"]["bias"]
    np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3)


def test_windows_longer_than_the_sequence_take_no_more_memory():
    """Scores of 6 steps with 6 keys and 6 places before them, not of 500 with 999."""
    module = PatternAttention(WIDTH, HEADS, 1.0, "float32", patterns=((Near(500, 499, 500), HEADS),))
    x = jnp.zeros((2, 6, WIDTH))
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), x, 1))
    program = jax.make_jaxpr(lambda variables: module.apply(variables, x, 1))(shapes)
    assert largest_array(program.jaxpr) == 4 * 2 * HEADS * 6 * 12
    for pattern in (Near(500, 499, 500), Near(50, 3), Near(3, 50), Near(4, 2)):
        np.testing.assert_array_equal(pattern.within(6).graph(6), pattern.graph(6))


@pytest.mark.parametrize(
    ("name", "block_size"),
    [("strided", 2), *(slow(*case.values) for case in BLOCK_SIZES if case.values != ("strided", 2))],
)
def test_steps_equal_the_whole(name, block_size):
    module, variables, x, whole = with_inputs(name, block_size)

    @jax.jit
    def stepwise(variables, x):
        cache = module.apply(variables, 2, NUM_STEPS, block_size, method="init_cache")

        def body(cache, t):
            new = jax.lax.dynamic_slice_in_dim(x, t * block_size, block_size, axis=1)
            return module.apply(variables, cache, new, t, method="step")

        _, out_SBME = jax.lax.scan(body, cache, jnp.arange(NUM_STEPS))
        return jnp.swapaxes(out_SBME, 0, 1).reshape(x.shape)

    np.testing.assert_allclose(stepwise(variables, x), whole, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("name", "block_size"), BLOCK_SIZES)
def test_windows_equal_the_whole(name, block_size):
    """Five steps in one call, of which some are kept, over all phases of a block and over the end."""
    module, variables, x, whole = with_inputs(name, block_size)

    @jax.jit
    def window(variables, cache, x, t, n):
        index = jnp.minimum(t * block_size + jnp.arange(5 * block_size), x.shape[1] - 1)
        after, out = module.apply(variables, cache, x[:, index], t, block_size, method="extend")
        return module.apply(variables, after, n, method="keep"), out

    cache, t = jax.jit(lambda v: module.apply(v, 2, NUM_STEPS, block_size, method="init_cache"))(variables), 0
    for n in (3, 5, 0, 1, 4, 2, 5, 4):
        cache, out = window(variables, cache, x, np.int32(t), np.int32(n))
        end = min(t + 5, NUM_STEPS) * block_size
        expected = whole[:, t * block_size : end]
        np.testing.assert_allclose(np.asarray(out)[:, : expected.shape[1]], expected, rtol=1e-3, atol=1e-3)
        t = min(t + n, NUM_STEPS)
