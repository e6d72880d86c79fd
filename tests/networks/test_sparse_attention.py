"""Attention along patterns: the patterns as the papers define them, and attention over them against a dense mask."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest

from arjax.core.programs import largest_array
from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks.attention.patterns import Near, Strided, Summary, TileGrid
from arjax.networks.attention.sparse_attention import PatternAttention
from arjax.testing.network import check_autoregressive, check_steps

WIDTH, HEADS = 12, 4
#: Patterns of groups of heads, and whether all heads follow their union.
LAYERS = {
    "window": ([(Near(3, 2, 3), 4)], False),
    "window of one": ([(Near(1, 0, 1), 4)], False),
    "blocks with memory": ([(Near(4, 6), 4)], False),
    "strided": ([(Near(3, 3, 4), 2), (Strided(3), 2)], False),
    "strided, merged": ([(Near(3, 3, 4), 2), (Strided(3, skip=3), 2)], True),
    "fixed": ([(Near(4, 0), 2), (Summary(4, 1), 1), (Summary(4, 1, 1), 1)], False),
    "fixed, merged": ([(Near(4, 0), 2), (Summary(4, 2, skip=True), 2)], True),
    "tiles": ([(TileGrid((4, 6), (2, 3), (1, 2)), 4)], False),
}


def layer(name: str):
    patterns, merged = LAYERS[name]
    module = PatternAttention(WIDTH, HEADS, 1.0, "float32", patterns=tuple(patterns), merged=merged)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, 24, WIDTH)), 1))
    return module, cases.random_like(shapes)


def with_inputs(name: str, block_size: int):
    """The layer, the number of steps, inputs, and what the layer makes of them at once."""
    module, variables = layer(name)
    num_steps = 24 if name == "tiles" else 17
    x = np.random.default_rng(1).normal(size=(2, num_steps * block_size, WIDTH)).astype(np.float32)
    out = jax.jit(module.apply, static_argnums=2)(variables, x, block_size)
    return module, variables, num_steps, x, np.asarray(out)


#: Each pattern with steps of one token or of two, in turn; with the other number it is slow. TileGrid have one.
BLOCK_SIZES = [
    pytest.param(name, block_size, marks=[pytest.mark.slow] * (block_size != 1 + i % 2 and name != "tiles"))
    for i, name in enumerate(LAYERS)
    for block_size in ((1,) if name == "tiles" else (1, 2))
]


def pairs(predicate, num_steps: int = 17) -> np.ndarray:
    """bool[S, S] of the pairs with j <= i."""
    return np.array([[j <= i and bool(predicate(i, j)) for j in range(num_steps)] for i in range(num_steps)])


@pytest.mark.parametrize(
    ("pattern", "predicate"),
    [
        (Near(5, 4, 5), lambda i, j: i - j < 5),
        (Near(5, 3), lambda i, j: j >= i // 5 * 5 - 3),
        # Child et al. (2019), section 4.3, with l = 4 and c = 2
        (Near(4, 4, 5), lambda i, j: j >= max(0, i - 4)),
        (Strided(4), lambda i, j: (i - j) % 4 == 0),
        (Near(4, 0), lambda i, j: j // 4 == i // 4),
        (Summary(4, 2), lambda i, j: j % 4 in (2, 3)),
        (Summary(4, 1, 2), lambda i, j: j % 4 == 1),
    ],
)
def test_patterns_are_those_of_the_papers(pattern, predicate):
    np.testing.assert_array_equal(pattern.graph(17), pairs(predicate))


def test_tiles_see_themselves_and_a_margin():
    """Pixel by pixel: tiles of 2 x 3, one row above and two columns aside, of what is generated already."""
    pattern = TileGrid((4, 6), (2, 3), (1, 2))
    order = [(r, c) for R in (0, 2) for C in (0, 3) for r in (R, R + 1) for c in (C, C + 1, C + 2)]
    for i, j in np.ndindex(24, 24):
        (r, c), (y, x) = order[i], order[j]
        top, left = r // 2 * 2, c // 3 * 3
        near = top - 1 <= y < top + 2 and left - 2 <= x < left + 3 + 2
        assert pattern.graph(24)[i, j] == (near and j <= i), (i, j)


@pytest.mark.parametrize("name", ["strided, merged", "fixed, merged"])
def test_merged_patterns_are_disjoint(name):
    first, second = (pattern.graph(24) for pattern, _ in LAYERS[name][0])
    assert not (first & second).any()
    plain = Strided(3) if "strided" in name else Summary(4, 2)
    np.testing.assert_array_equal(first | second, first | plain.graph(24))


@pytest.mark.parametrize("name", ["strided", "fixed"])
def test_two_hops_connect_everything(name):
    """Which makes the two patterns a factorisation (section 4.2)."""
    graph = np.any([pattern.graph(24) for pattern, _ in LAYERS[name][0]], axis=0)
    np.testing.assert_array_equal(graph @ graph, np.tri(24, dtype=bool))


@pytest.mark.parametrize(("name", "block_size"), BLOCK_SIZES)
def test_attention_equals_a_dense_mask(name, block_size):
    """Also where blocks are cut short; heads that see nothing give 0."""
    _, variables, num_steps, x, out = with_inputs(name, block_size)
    patterns, merged = LAYERS[name]
    block = np.ones((block_size, block_size), bool)
    masks = [np.kron(p.graph(num_steps), block) for p, count in patterns for _ in range(count)]
    if merged:
        masks = [np.any(masks, axis=0)] * HEADS
    params = variables["params"]
    q, k, v = (x @ params[n]["kernel"] + params[n]["bias"] for n in ("query", "key", "value"))
    heads = []
    for h, mask in enumerate(masks):
        part = slice(3 * h, 3 * h + 3)
        scores = np.einsum("bqh,bkh->bqk", q[..., part], k[..., part]) / np.sqrt(3)
        weights = np.where(mask, np.exp(scores - scores.max(-1, keepdims=True)), 0)
        weights = weights / np.maximum(weights.sum(-1, keepdims=True), 1e-30)
        heads.append(weights @ v[..., part])
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


@pytest.mark.slow
@pytest.mark.parametrize(("name", "block_size"), BLOCK_SIZES)
def test_steps_equal_the_whole(name, block_size):
    module, variables, num_steps, x, whole = with_inputs(name, block_size)

    @jax.jit
    def stepwise(variables, x):
        cache = module.apply(variables, 2, num_steps, block_size, method="init_cache")

        def body(cache, t):
            new = jax.lax.dynamic_slice_in_dim(x, t * block_size, block_size, axis=1)
            return module.apply(variables, cache, new, t, method="step")

        _, out_SBME = jax.lax.scan(body, cache, jnp.arange(num_steps))
        return jnp.swapaxes(out_SBME, 0, 1).reshape(x.shape)

    np.testing.assert_allclose(stepwise(variables, x), whole, rtol=1e-3, atol=1e-3)


#: One pattern of each kind.
ONE_OF_EACH = ("window", "strided, merged", "fixed", "tiles")


@pytest.mark.parametrize(
    ("name", "block_size"),
    [
        pytest.param(*case.values, marks=case.marks if case.values[0] in ONE_OF_EACH else pytest.mark.slow)
        for case in BLOCK_SIZES
    ],
)
def test_windows_equal_the_whole(name, block_size):
    """Five steps in one call, of which some are kept, over all phases of a block and over the end."""
    module, variables, num_steps, x, whole = with_inputs(name, block_size)

    @jax.jit
    def window(variables, cache, x, t, n):
        index = jnp.minimum(t * block_size + jnp.arange(5 * block_size), x.shape[1] - 1)
        after, out = module.apply(variables, cache, x[:, index], t, block_size, method="extend")
        return module.apply(variables, after, n, method="keep"), out

    cache, t = jax.jit(lambda v: module.apply(v, 2, num_steps, block_size, method="init_cache"))(variables), 0
    for n in (3, 5, 0, 1, 4, 2, 5, 4):
        cache, out = window(variables, cache, x, np.int32(t), np.int32(n))
        end = min(t + 5, num_steps) * block_size
        expected = whole[:, t * block_size : end]
        np.testing.assert_allclose(np.asarray(out)[:, : expected.shape[1]], expected, rtol=1e-3, atol=1e-3)
        t = min(t + n, num_steps)


def test_gradients_are_finite_where_a_head_sees_nothing():
    module, variables = layer("fixed")
    x = np.random.default_rng(2).normal(size=(1, 9, WIDTH)).astype(np.float32)
    gradient = jax.jit(jax.grad(lambda v: (module.apply(v, x, 1) ** 2).sum()))(variables)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert np.abs(gradient["params"]["key"]["kernel"]).max() > 0


@pytest.mark.slow
def test_a_network_of_tiles_on_a_larger_grid():
    """Laws 1 and 3 where there is something that a layer does not see."""
    tiles = {"query_block": (2, 3), "memory": (1, 2), "ordering": "tiles(height=2, width=3)"}
    event = EventSpec((4, 6), (), "levels", 4)
    model = make_model(event, "image_transformer", width=24, num_heads=4, num_layers=1, **tiles)
    params, factorization = cases.params_of(model), model.factorization
    assert model.network.dependencies(factorization).sum() < np.asarray(factorization.mask()).sum()
    check_autoregressive(model, params)
    check_steps(model, params)
