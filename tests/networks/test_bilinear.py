"""Products with transposes of their own: in every mode, along mapped axes, and visible to tools."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arjax.evaluation.flops import count_flops
from arjax.networks.layers.dense import BilinearProduct, Dense, weigh

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
        ((5, 2, 3), (3, 4), ((0, None),)),
        ((2, 3), (3, 4, 5), ((None, 2),)),
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


def test_its_operations_are_counted():
    x, kernel = jnp.ones((2, 3)), jnp.ones((3, 4))
    assert count_flops(lambda x, kernel: times(x, kernel, 2.0), x, kernel) == 2 * 2 * 3 * 4
    gradient = jax.grad(lambda x, kernel: times(x, kernel, 2.0).sum(), (0, 1))
    assert count_flops(gradient, x, kernel) == 3 * 2 * 2 * 3 * 4


@pytest.mark.parametrize(("dtype", "shape"), [("float32", (5,)), ("float32", (2, 3, 5)), ("bfloat16", (4, 5))])
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


@pytest.mark.parametrize(
    ("left", "right"), [("float32", "bfloat16"), ("bfloat16", "float32"), ("bfloat16", "bfloat16")]
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
