"""Programs of pages: the operations of Python and of the engine are one list, and give the numbers of JAX."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import page_cases
from jax import lax
from refusals import refusal

import arjax
from arjax.page.program import OPERATIONS, Arrays, numbered, translate

ENGINE = Path(arjax.__file__).parent / "page" / "static" / "engine.js"


def elementwise(x, i):
    b = x > 0.2
    yield from (abs(x), jnp.ceil(x), jnp.cos(x), jnp.exp2(x), jnp.expm1(x), jnp.floor(x), lax.logistic(x), -x, x - 1)
    yield from (jnp.sign(x), jnp.sin(x), jnp.sqrt(abs(x)), lax.rsqrt(abs(x) + 1), jnp.tanh(x), jnp.square(x), x**3)
    yield from (x**-2, jnp.log1p(x**2), jnp.log(abs(x)), jnp.round(i / 2), lax.round(i / 2), lax.pow(abs(x), x))
    yield from (jnp.isfinite(x / (x - x[0, 0])), lax.rem(x, x + 0.3), lax.clamp(-0.5, x, 0.5), jnp.where(b, x, 3.0))
    yield from (b & (x < 1), b | (x < 0), ~b, b ^ (x < 1), b != (x <= 1), x.astype(bool), b.astype(int), x.astype(int))
    yield from (i // 3, i % 3, i * 2**20 * i * 99999, ~i, i & 5, lax.div(i, i + 7), i == i[0], i.astype(float))
    yield from (jnp.maximum(x, 0.1), jnp.minimum(x, i), x[:, :1] * x)


def moved(x, i):
    yield from (x.T, x[::-1], x[1:, ::2], x.reshape(2, -1), x[None, :, None], jnp.broadcast_to(x[:, None], (3, 2, 4)))
    yield from (lax.pad(x, 7.0, ((1, -1, 2), (-1, 2, 0))), jnp.concatenate([x, x[:1]]), jnp.stack([x, -x], 1))
    yield from (*jnp.split(x, [1, 3], 1), *jnp.unstack(x, axis=1), jnp.arange(5), jnp.tile(x, (2, 3)))
    yield from (lax.broadcasted_iota(jnp.int32, (2, 3), 0), lax.dynamic_slice(x, (i[0, 0], i[2, 3]), (2, 2)))
    yield from (x[i[0]], x[i[0, 0] % 3, 1:], jnp.take(x, i, axis=1, mode="fill"), jnp.take(x, i, axis=1, mode="clip"))
    yield from (jnp.take_along_axis(x, i % 4, 1), jax.vmap(lambda row, n: row[n])(x, i[:, 0] % 4))
    yield from (lax.dynamic_update_slice(x, x[:2, :1], (i[2, 2], i[0, 0])), x.at[i[0] % 3, 1].set(9.0))
    yield from (x.at[:, 2 * i[:, 0]].add(1.0, mode="drop"), x.at[i[2]].set(x[0], mode="clip"))
    yield jax.vmap(lambda row, n: row.at[n].set(5.0))(x, i[:, 1] % 4)


def summed(x, i):
    yield from (x.sum(), x.sum(0), x.max(1), x.min(0), x.prod(1), (x > 0).any(0), (x > -2).all(1), i.sum(1), i @ i.T)
    yield from (jnp.sign(x).argmax(1), jnp.sign(x).argmin(0), jnp.cumsum(x, 1), jnp.cumprod(x, 0), lax.cummin(x, 0))
    yield from (lax.cummax(x, 1, reverse=True), x @ x.T, jnp.einsum("ij,kj->jik", x, x), jnp.einsum("ij,ij->", x, x))
    yield from (jnp.einsum("bij,bjk->bik", x[:, :, None], x[:, None]), jax.nn.softmax(x))
    yield from (jax.nn.gelu(x), jax.nn.silu(x))
    image = jnp.tile(x[None, :, :, None], (2, 2, 1, 2)) * jnp.array([1.0, 2.0])
    kernel, axes = jnp.tile(x[:2, :3, None, None], (1, 1, 1, 4)), ("NHWC", "HWIO", "NHWC")
    yield lax.conv_general_dilated(image, kernel, (2, 1), ((1, 2), (0, 1)), (1, 2), (2, 1), axes, feature_group_count=2)


def loops(x, i):
    weights = jnp.arange(4.0)  # a constant of the programs inside
    yield from lax.scan(lambda sum_, row: (sum_ + row * weights, sum_.max()), x[0], x)
    yield from lax.scan(lambda sum_, row: (sum_ + row, sum_), x[0], x, reverse=True)
    yield lax.fori_loop(0, i[0, 0] + 6, lambda n, sum_: sum_ * 0.5 + n, x)
    yield lax.switch(i[0, 0] + 4, [lambda x: x, lambda x: -x, lambda x: x * weights], x)
    yield jax.checkpoint(lambda x: jax.jit(lambda x: x * weights + 1)(x))(x)


def test_operations_give_the_numbers_of_jax():
    rng = np.random.default_rng(0)
    x, i = rng.normal(size=(3, 4)).astype(np.float32), rng.integers(-4, 5, (3, 4)).astype(np.int32)
    requests, expected = [], []
    for function in (elementwise, moved, summed, loops):
        arrays, weights = Arrays(), {"x": x}

        def call(weights, i, function=function):
            return tuple(function(weights["x"] * 1, i))

        program = translate(call, arrays, numbered(arrays, weights), i)
        forms = [[_letter(array), array.shape, array.ravel().astype(float).tolist()] for array in arrays.arrays]
        requests.append({"program": program, "arrays": forms, "inputs": [["i", i.shape, i.ravel().tolist()]]})
        expected.append(jax.jit(call)(weights, i))
    for outputs, twice in zip(expected, page_cases.numbers(requests), strict=True):
        for found in twice:  # what is kept of the first run serves the second
            assert len(found) == len(outputs)
            for n, (output, numbers) in enumerate(zip(outputs, found, strict=True)):
                output = np.asarray(output, np.float64).ravel()
                np.testing.assert_allclose(np.array(numbers, np.float64), output, rtol=2e-6, atol=2e-6, err_msg=str(n))


def _letter(array):
    return {"float32": "f", "int32": "i", "bool": "b"}[str(array.dtype)]


def test_the_engine_has_the_operations_that_programs_may_have():
    text = ENGINE.read_text()
    tables = [text[text.index(f"const {name} = {{") :].partition("};")[0] for name in ("UNARY", "BINARY")]
    tables.append(text[text.index("const OPERATIONS = {") :].partition("\n};")[0])
    found = {
        name for table in tables for name in re.findall(r'(?:^|[{,] ?) *"?([a-z][\w-]*)"?(?=[:,])', table, flags=re.M)
    }
    assert set(OPERATIONS) <= found


def test_an_operation_that_a_page_lacks_is_named():
    arrays = Arrays()
    given = arrays, numbered(arrays, {}), np.zeros(3, np.float32)
    assert "the operation 'sort' of JAX" in refusal(translate, lambda weights, x: jnp.sort(x), *given)
    assert "not with bfloat16" in refusal(translate, lambda weights, x: x.astype(jnp.bfloat16), *given)


def test_what_depends_on_weights_alone_is_computed_once_and_nothing_in_vain():
    arrays = Arrays()

    def function(weights, x):
        jnp.exp(x)  # never used
        return jnp.tanh(weights["w"]) * x

    weights = numbered(arrays, {"w": np.ones(3, np.float32), "v": np.ones(2, np.float32)})
    program = translate(function, arrays, weights, np.ones(3, "f"))
    assert [operation[0] for operation in program["once"]] == ["tanh"]
    assert [operation[0] for operation in program["steps"]] == ["mul"]
    assert len(program["arrays"]) == 1
