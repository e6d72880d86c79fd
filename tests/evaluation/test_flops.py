"""FLOPs counted from the traced program agree with what the operations need, and rooflines with their definition."""

import jax
import jax.numpy as jnp
import pytest
from refusals import refusal

from arjax.core.batch import Batch
from arjax.core.spec import EventSpec
from arjax.evaluation.flops import UTILISATION, count_flops, count_work, roofline_seconds, rooflines
from arjax.models import make_model
from arjax.parallel.accelerators import accelerator_of


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
    assert count_flops(function, *(array(*shape, dtype=jnp.float32 if shape else bool) for shape in shapes)) == expected


def test_recomputation_is_counted():
    square = jax.ShapeDtypeStruct((4, 4), jnp.float32)
    once, again = (
        count_flops(jax.grad(lambda w, x, f=f: jnp.sin(f(lambda h: jnp.sin(h @ w) @ w)(x)).sum()), square, square)
        for f in (lambda function: function, jax.checkpoint)
    )
    assert again > once


def array(*shape, dtype=jnp.bfloat16):
    return jax.ShapeDtypeStruct(shape, dtype)


def roofline(left, right, num_devices=1):
    return rooflines(accelerator_of("h100"), count_work(jnp.matmul, left, right), num_devices)[0]


def test_large_products_are_bound_by_multiplications_and_those_with_a_vector_by_memory():
    size = 4096
    large = roofline(array(size, size), array(size, size))
    assert large.seconds == large.by_flops == pytest.approx(2 * size**3 / 989.4e12)
    assert large.by_bytes == pytest.approx(3 * 2 * size**2 / 3.35e12)
    vector = roofline(array(1, size), array(size, size))
    assert vector.seconds == vector.by_bytes == pytest.approx(2 * (size**2 + 2 * size) / 3.35e12)
    assert roofline_seconds([large, vector]) == pytest.approx(large.by_flops / UTILISATION + vector.by_bytes)


def test_numbers_of_32_bits_take_twice_the_time_and_devices_divide_it():
    size = 4096
    wide = roofline(array(size, size, dtype=jnp.float32), array(size, size, dtype=jnp.float32))
    assert wide.by_flops == pytest.approx(2 * size**3 / 494.7e12)
    halved = roofline(array(size, size), array(size, size), num_devices=2)
    assert halved.by_flops == pytest.approx(size**3 / 989.4e12) and halved.bytes == 3 * size**2


def work_of(network, **options):
    """The work of a gradient, by module, and the costs that the compiler states."""
    model = make_model(EventSpec((16,), (), "tokens", 64), network, **options)
    x = jnp.zeros((8, 16), jnp.int32)
    loss = jax.grad(lambda params: -model.score(params, Batch(x, {})).log_prob.mean())
    params = jax.eval_shape(model.init, jax.random.key(0))
    return count_work(loss, params), jax.jit(loss).lower(params).compile().cost_analysis()


def test_the_work_is_that_of_the_compiler():
    """Of a network without loops, which the compiler counts right; it counts elementwise operations, too."""
    work, costs = work_of("made", hidden_sizes=(256, 256))
    flops, moved = (sum(getattr(each, name) for each in work) for name in ("flops", "bytes"))
    assert 0.85 * costs["flops"] <= flops <= costs["flops"]
    assert 0.2 * costs["bytes accessed"] < moved <= 1.1 * costs["bytes accessed"]


def test_modules_have_the_paths_of_their_parameters():
    work, _ = work_of("transformer", num_layers=2, width=16, num_heads=2, unroll=1, remat=True)
    names = {each.module for each in work}
    assert {"layers/attention/query", "layers/up", "layers/down", "out"} <= names
    assert {name for name in names if "->" in name} == {
        "layers/attention/bgqh,bgkh->bgqk",
        "layers/attention/bgqk,bgkh->bgqh",
    }


def test_an_accelerator_of_another_name_is_refused():
    assert "there is no accelerator 'H10', did you mean 'H100'" in refusal(accelerator_of, "H10")
