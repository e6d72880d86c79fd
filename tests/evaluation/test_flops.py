"""FLOPs counted from the traced program agree with what the operations need."""

import jax
import jax.numpy as jnp
import pytest

from arjax.evaluation.flops import count_flops


def layers(x, w):
    return jax.lax.scan(lambda h, w: (h @ w, None), x, w)[0]


def loss(w, x):
    return jnp.square(x @ w).sum()


def branch(p, a, b):
    return jax.lax.cond(p, lambda a, b: a @ b, lambda a, b: (a @ b) @ b, a, b)


def conv(groups):
    axes = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": groups}
    return lambda x, kernel: jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", **axes)


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        (lambda a, b: a @ b + 1, [(3, 4), (4, 5)], 2 * 3 * 4 * 5),
        (lambda a, b: jnp.einsum("bij,bjk->bik", a, b), [(7, 3, 4), (7, 4, 5)], 7 * 2 * 3 * 4 * 5),
        (jax.jit(layers), [(3, 4), (24, 4, 4)], 24 * 2 * 3 * 4 * 4),  # each iteration
        (jax.grad(loss, argnums=(0, 1)), [(4, 5), (3, 4)], 3 * 2 * 3 * 4 * 5),  # two more products
        (branch, [(), (4, 4), (4, 4)], 2 * 2 * 4**3),  # one of them runs
        (conv(1), [(2, 8, 8, 6), (3, 3, 6, 4)], 2 * (2 * 6 * 6 * 4) * (3 * 3 * 6)),
        (conv(2), [(2, 8, 8, 6), (3, 3, 3, 4)], 2 * (2 * 6 * 6 * 4) * (3 * 3 * 3)),
    ],
)
def test_operations_are_counted(function, shapes, expected):
    assert (
        count_flops(function, *(jax.ShapeDtypeStruct(shape, bool if not shape else jnp.float32) for shape in shapes))
        == expected
    )


def test_recomputation_is_counted():
    square = jax.ShapeDtypeStruct((4, 4), jnp.float32)
    once, again = (
        count_flops(jax.grad(lambda w, x, f=f: jnp.sin(f(lambda h: jnp.sin(h @ w) @ w)(x)).sum()), square, square)
        for f in (lambda function: function, jax.checkpoint)
    )
    assert again > once
