"""Products and convolutions with gradients of their own: against what defines them, in every mode, along mapped axes,
and visible to tools.
"""

import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpy_layers
import pytest
from families import operations, slow
from jax.ad_checkpoint import checkpoint_name

from arjax.evaluation.flops import count_flops
from arjax.networks.layers import convolution
from arjax.networks.layers.convolution import (
    TapConv,
    _kernel_gradient,
    _kernel_gradient_by_rows,
    _reach,
    convolve,
    raster_taps,
    shifted,
)
from arjax.networks.layers.dense import (
    KEPT,
    BilinearProduct,
    Dense,
    FromHeads,
    ToHeads,
    correlate_heads,
    only_products,
    weigh,
)

rng = np.random.default_rng(0)
CALLS = []


@BilinearProduct
def times(x: jax.Array, kernel: jax.Array, scale: float) -> jax.Array:
    """scale x W."""
    return scale * (x @ kernel)


def _noted(name: str, transpose):
    def noted(*args):
        CALLS.append(name)
        return transpose(*args)

    return noted


@BilinearProduct
def outer(x: jax.Array, y: jax.Array, scale: float) -> jax.Array:
    """scale x' y."""
    return scale * (x.T @ y)


times.transposes(
    _noted("to_left", lambda dy, kernel, scale: times(dy, kernel.T, scale)),
    _noted("to_right", lambda dy, x, scale: outer(x, dy, scale)),
)
outer.transposes(lambda dW, y, scale: times(y, dW.T, scale), lambda dW, x, scale: times(x, dW, scale))


def derivatives(product, in_axes):
    """Of a function of two arrays, through `jax.vmap`: gradients, their slopes and their gradients."""

    def loss(x, kernel):
        of = lambda x, kernel: jnp.sin(product(x, kernel))  # noqa: E731
        for axes in in_axes:
            of = jax.vmap(of, axes)
        return of(x, kernel).sum()

    def all_of_them(x, kernel):
        slopes = jax.grad(loss, (0, 1))
        along = jax.jvp(slopes, (x, kernel), (kernel.sum() * x, x.sum() * kernel))[1]
        return slopes(x, kernel), along, jax.grad(lambda *args: jnp.square(slopes(*args)[1]).sum(), (0, 1))(x, kernel)

    return jax.jit(all_of_them)


@pytest.mark.parametrize(
    ("left", "right", "in_axes"),
    [
        ((2, 3), (3, 4), ()),
        slow((5, 2, 3), (3, 4), ((0, None),)),
        slow((2, 3), (3, 4, 5), ((None, 2),)),
        ((5, 2, 3), (5, 3, 4), ((0, 0),)),
        ((2, 5, 3), (6, 3, 4), ((1, None), (None, 0))),
    ],
)
def test_all_derivatives_are_those_of_the_product(left, right, in_axes):
    x, kernel = (rng.normal(size=shape).astype(np.float32) for shape in (left, right))
    got = derivatives(lambda x, kernel: times(x, kernel, 2.0), in_axes)(x, kernel)
    expected = derivatives(lambda x, kernel: 2.0 * (x @ kernel), in_axes)(x, kernel)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3), got, expected)


def test_gradients_are_the_transposes_that_it_was_given():
    x, kernel = np.ones((2, 3), np.float32), np.ones((3, 4), np.float32)
    CALLS.clear()
    jax.grad(lambda x, kernel: times(x, kernel, 2.0).sum(), (0, 1))(x, kernel)
    assert sorted(CALLS) == ["to_left", "to_right"]


def test_products_and_what_is_named_are_kept_and_all_else_is_computed_again():
    def primitives(function, *args):
        return [(equation.primitive, equation.params) for equation in operations(jax.make_jaxpr(function)(*args).jaxpr)]

    x, image = jnp.ones((2, 2)), jnp.ones((1, 3, 3, 2))
    layer = lambda x: jnp.sin(times(x, x, 2.0)) @ x  # noqa: E731
    found = primitives(lambda x: convolve(checkpoint_name(image, KEPT), x[None], ((0, 0),)) + layer(x)[0], x)
    kept = {primitive.name for primitive, params in found if only_products(primitive, **params)}
    assert kept == {"bilinear_product", "dot_general", "conv_general_dilated", "name"}
    assert {"sin", "add"} <= {primitive.name for primitive, params in found if not only_products(primitive, **params)}


def test_its_operations_are_counted():
    x, kernel = jnp.ones((2, 3)), jnp.ones((3, 4))
    assert count_flops(lambda x, kernel: times(x, kernel, 2.0), x, kernel) == 2 * 2 * 3 * 4
    gradient = jax.grad(lambda x, kernel: times(x, kernel, 2.0).sum(), (0, 1))
    assert count_flops(gradient, x, kernel) == 3 * 2 * 2 * 3 * 4


@pytest.mark.parametrize(("dtype", "shape"), [slow("float32", (5,)), ("float32", (2, 3, 5)), ("bfloat16", (4, 5))])
def test_dense_layers_are_those_of_flax(dtype, shape):
    """The same parameters, initial values and results, and the gradients written out."""
    x, key = jnp.asarray(rng.normal(size=shape), jnp.float32), jax.random.key(0)
    ours, theirs = Dense(3, dtype=dtype), nn.Dense(3, dtype=dtype)
    params = ours.init(key, x)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), params, theirs.init(key, x)))
    np.testing.assert_array_equal(ours.apply(params, x), theirs.apply(params, x))
    weight = jnp.arange(1.0, 4)
    d_params, dx = jax.jit(jax.grad(lambda p, x: (ours.apply(p, x) * weight).sum(), (0, 1)))(params, x)
    rows, kernel = np.asarray(x.astype(dtype), np.float32).reshape(-1, 5), params["params"]["kernel"]
    tol = 1e-6 if dtype == "float32" else 2e-2
    np.testing.assert_allclose(d_params["params"]["kernel"], rows.sum(0)[:, None] * weight, rtol=tol, atol=tol)
    np.testing.assert_allclose(d_params["params"]["bias"], len(rows) * weight, rtol=tol)
    np.testing.assert_allclose(dx, np.broadcast_to(kernel @ weight, shape), rtol=tol, atol=tol)


@pytest.mark.parametrize(("dtype", "length"), [slow("float32", 7), ("bfloat16", 7), ("float32", 2)])
def test_layers_of_heads_are_dense_layers(dtype, length):
    """The same parameters, results and gradients, with heads before the positions, of many tokens and of few."""
    x, key, tol = (
        jnp.asarray(rng.normal(size=(2, length, 6)), jnp.float32),
        jax.random.key(0),
        2e-2 if dtype != "float32" else 1e-5,
    )
    into, out_of = (layer(12, dtype=dtype, bias_init=nn.initializers.ones) for layer in (Dense, Dense))
    heads, back = ToHeads(12, dtype=dtype, bias_init=nn.initializers.ones, size=4), FromHeads(12, dtype=dtype)
    params = [into.init(key, x), out_of.init(key, into.apply(into.init(key, x), x))]
    split = heads.init(key, x), back.init(key, jnp.zeros((2, 3, length, 4)))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, list(split))
    jax.tree.map(np.testing.assert_array_equal, params[0], split[0])

    def through(first, second):
        loss = lambda params, x: jnp.sin(second.apply(params[1], first.apply(params[0], x)).astype(jnp.float32)).sum()  # noqa: E731
        return jax.jit(jax.value_and_grad(loss, (0, 1)))(params, x)

    by_head = heads.apply(params[0], x)
    np.testing.assert_allclose(
        jnp.swapaxes(by_head, 1, 2).reshape(2, length, 12), into.apply(params[0], x), rtol=tol, atol=tol
    )
    for a, b in zip(jax.tree.leaves(through(heads, back)), jax.tree.leaves(through(into, out_of)), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tol, atol=10 * tol)


@pytest.mark.parametrize(
    ("left", "right"), [("float32", "bfloat16"), slow("bfloat16", "float32"), ("bfloat16", "bfloat16")]
)
def test_gradients_have_the_types_of_the_arrays(left, right):
    """A kernel in bfloat16, too, whose gradient is summed in float32."""
    x, kernel = jnp.ones((4, 5), left), jnp.ones((5, 3), right)
    dx, d_kernel = jax.grad(lambda x, kernel: weigh(x, kernel).astype(jnp.float32).sum(), (0, 1))(x, kernel)
    assert (dx.dtype.name, d_kernel.dtype.name) == (left, right)


def test_jacobians_of_dense_layers_in_bfloat16():
    """Their products along a mapped axis are among those that XLA's CPU compiler lacks with sums in float32."""
    x = jnp.asarray(rng.normal(size=(4, 5)), jnp.float32)
    ours, theirs = (layer(3, dtype="bfloat16") for layer in (Dense, nn.Dense))
    params = ours.init(jax.random.key(0), x)
    for derivative in (jax.jacrev, jax.hessian):
        got, expected = (
            jax.jit(derivative(lambda p, m=m: jnp.sin(m.apply(p, x).astype(jnp.float32)).sum(0)))(params)
            for m in (ours, theirs)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0.05, atol=0.05), got, expected)


TAPS = [raster_taps(1, 1, centre=True), ((-2, 1), (0, -3)), ((0, 0),), ((1, 1), (5, 0))]


def test_the_kernel_is_the_smallest_around_the_taps():
    assert [*map(_reach, TAPS)] == [((1, 0), (1, 1)), ((2, 0), (3, 1)), ((0, 0), (0, 0)), ((0, 5), (0, 1))]


@pytest.mark.parametrize("taps", [slow(taps) if i in (1, 2) else taps for i, taps in enumerate(TAPS)])
def test_both_forms_are_the_definition(taps):
    x = rng.normal(size=(2, 3, 4, 2)).astype(np.float32)
    conv = TapConv(3, taps, "float32")
    shapes = jax.eval_shape(conv.init, jax.random.key(0), x)
    params = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), shapes)
    expected = np.stack([numpy_layers.convolve(params["params"], one, taps) for one in x])
    np.testing.assert_allclose(jax.jit(conv.apply)(params, x), expected, rtol=1e-4, atol=1e-4)
    at = jax.jit(functools.partial(conv.apply, method="at"))
    for r, c in [(0, 0), (2, 3), (1, 2)]:
        np.testing.assert_allclose(at(params, x, r, c), expected[:, r, c], rtol=1e-4, atol=1e-4)


#: All taps on a picture, and each of the narrow ones with other taps; the rest is slow.
GRIDS = [(3, 4), (1, 1), (1, 5), (4, 1)]
GRADIENTS = [
    (taps, grid) if g == 0 or g == t else slow(taps, grid)
    for (t, taps), (g, grid) in itertools.product(enumerate(TAPS), enumerate(GRIDS))
]


@pytest.mark.slow
@pytest.mark.parametrize(("taps", "grid"), GRADIENTS)
def test_gradients_are_those_of_the_sum(taps, grid):
    """Against JAX's gradient of a product over shifted copies: both forms, and the gradient's own gradient."""
    x, kernel, weight, dy = (
        rng.normal(size=shape).astype(np.float32) for shape in ((2, *grid, 3), (len(taps), 3, 4), (4,), (2, *grid, 4))
    )

    def of(convolution, *args):
        loss = lambda x, kernel: (jnp.sin(convolution(x, kernel)) @ weight).sum()  # noqa: E731
        slopes = jax.grad(loss, (0, 1))
        return slopes(*args), jax.grad(lambda *a: (slopes(*a)[0] ** 2).sum(), (0, 1))(*args)

    @jax.jit
    def answers(x, kernel, dy):
        expected = of(lambda x, kernel: shifted(x, taps) @ kernel.reshape(-1, 4), x, kernel)
        got = of(lambda x, kernel: convolve(x, kernel, taps), x, kernel)
        return got, expected, (_kernel_gradient(taps, x, dy), _kernel_gradient_by_rows(taps, x, dy))

    got, expected, forms = answers(x, kernel, dy)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), got, expected)
    np.testing.assert_allclose(*forms, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("cached", "rows"), [slow(0, 1), (700, 2), (10**6, 4)])
def test_gradients_of_kernels_by_blocks_of_rows(monkeypatch, cached, rows):
    """Blocks read rows of the next block: 2 examples x 3 columns x 4 taps x 3 inputs are 288 bytes a row."""
    monkeypatch.setattr(convolution, "CACHED_BYTES", cached)
    at_once, asked = convolution._rows_at_once, []
    monkeypatch.setattr(convolution, "_rows_at_once", lambda *sizes: asked.append((*sizes, at_once(*sizes))) or rows)
    taps = ((-1, -1), (1, 0), (2, 1), (0, 0))
    x, dy = (rng.normal(size=(2, 4, 3, size)).astype(np.float32) for size in (3, 5))
    expected = np.einsum("bhwf,bhwi->fi", dy, np.asarray(shifted(x, taps)))
    np.testing.assert_allclose(_kernel_gradient_by_rows(taps, x, dy), expected, rtol=1e-4, atol=1e-4)
    assert asked == [(4, 288, rows)]


def test_the_gradient_of_a_gradient_by_heads_is_that_of_its_sum():
    x, y, d = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((2, 3, 4), (2, 5, 3, 2), (4, 5, 2)))
    found, plain = (
        jax.vjp(of, x, y)[1](d)
        for of in (lambda x, y: correlate_heads(x, y, "float32"), lambda x, y: jnp.einsum("bte,bnth->enh", x, y))
    )
    for one, other in zip(found, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
