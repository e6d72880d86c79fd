"""Convolutions over unmasked taps against the sum that defines them."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpy_layers
import pytest

from arjax.networks.layers import convolution
from arjax.networks.layers.convolution import (
    TapConv,
    _kernel_gradient,
    _kernel_gradient_by_rows,
    convolve,
    raster_taps,
    shifted,
)

rng = np.random.default_rng(0)
TAPS = [raster_taps(1, 1, centre=True), ((-2, 1), (0, -3)), ((0, 0),), ((1, 1), (5, 0))]


@pytest.mark.parametrize("taps", TAPS)
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
    pytest.param(taps, grid, marks=() if g == 0 or g == t else pytest.mark.slow)
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


@pytest.mark.parametrize(("cached", "rows"), [(0, 1), (700, 2), (10**6, 4)])
def test_gradients_of_kernels_by_blocks_of_rows(monkeypatch, cached, rows):
    """Blocks read rows of the next block: 2 examples x 3 columns x 4 taps x 3 inputs are 288 bytes a row."""
    monkeypatch.setattr(convolution, "CACHED_BYTES", cached)
    taps = ((-1, -1), (1, 0), (2, 1), (0, 0))
    x, dy = (rng.normal(size=(2, 4, 3, size)).astype(np.float32) for size in (3, 5))
    assert convolution._rows_at_once(4, 288) == rows
    expected = np.einsum("bhwf,bhwi->fi", dy, np.asarray(shifted(x, taps)))
    np.testing.assert_allclose(_kernel_gradient_by_rows(taps, x, dy), expected, rtol=1e-4, atol=1e-4)
