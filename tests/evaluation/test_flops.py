"""FLOPs counted from the traced program agree with what the operations need."""

import jax
import jax.numpy as jnp
import pytest

from arjax.evaluation.flops import count_flops


def array(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_matrix_product():
    assert count_flops(lambda a, b: a @ b + 1, array(3, 4), array(4, 5)) == 2 * 3 * 4 * 5


def test_batched_product():
    assert (
        count_flops(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), array(7, 3, 4), array(7, 4, 5)) == 7 * 2 * 3 * 4 * 5
    )


def test_a_scan_counts_every_iteration():
    def layers(x, w):
        return jax.lax.scan(lambda h, w: (h @ w, None), x, w)[0]

    assert count_flops(jax.jit(layers), array(3, 4), array(24, 4, 4)) == 24 * 2 * 3 * 4 * 4


def test_gradients_cost_two_more_products():
    def loss(w, x):
        return jnp.square(x @ w).sum()

    assert count_flops(jax.grad(loss, argnums=(0, 1)), array(4, 5), array(3, 4)) == 3 * 2 * 3 * 4 * 5


def test_recomputation_is_counted():
    def loss(w, x):
        return jnp.sin(jax.checkpoint(lambda h: jnp.sin(h @ w) @ w)(x)).sum()

    plain = count_flops(jax.grad(lambda w, x: jnp.sin(jnp.sin(x @ w) @ w).sum()), array(4, 4), array(3, 4))
    assert count_flops(jax.grad(loss), array(4, 4), array(3, 4)) > plain


@pytest.mark.parametrize("groups", [1, 2])
def test_convolution(groups):
    def conv(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
        )

    flops = count_flops(conv, array(2, 8, 8, 6), array(3, 3, 6 // groups, 4))
    assert flops == 2 * (2 * 6 * 6 * 4) * (3 * 3 * 6 // groups)


def test_only_one_branch_of_a_condition_runs():
    def branch(p, a, b):
        return jax.lax.cond(p, lambda a, b: a @ b, lambda a, b: (a @ b) @ b, a, b)

    assert count_flops(branch, True, array(4, 4), array(4, 4)) == 2 * 2 * 4**3
