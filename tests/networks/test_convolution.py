"""Convolutions over live taps against the sum that defines them."""

import jax
import numpy as np
import pytest

from arjax.networks.convolution import TapConv, put_pixel, raster_taps, shift

rng = np.random.default_rng(0)


def test_raster_taps():
    assert raster_taps(1, 1, centre=False) == ((-1, -1), (-1, 0), (-1, 1), (0, -1))
    assert raster_taps(1, 0, centre=True) == ((-1, 0), (0, 0))
    assert len(raster_taps(3, 3, centre=True)) == 25


def direct(kernel, bias, x, taps):
    """Pixel by pixel and tap by tap."""
    _, height, width, channels = x.shape
    W = kernel.reshape(len(taps), channels, -1)
    y = np.tile(bias, (*x.shape[:3], 1))
    for r in range(height):
        for c in range(width):
            for k, (dy, dx) in enumerate(taps):
                if 0 <= r + dy < height and 0 <= c + dx < width:
                    y[:, r, c] += x[:, r + dy, c + dx] @ W[k]
    return y


@pytest.mark.parametrize("taps", [raster_taps(1, 1, centre=True), ((-2, 1), (0, -3)), ((0, 0),), ((1, 1), (5, 0))])
def test_both_forms_are_the_definition(taps):
    x = rng.normal(size=(2, 3, 4, 2)).astype(np.float32)
    conv = TapConv(3, taps, "float32")
    params = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), conv.init(jax.random.key(0), x))
    expected = direct(params["params"]["mix"]["kernel"], params["params"]["mix"]["bias"], x, taps)
    np.testing.assert_allclose(conv.apply(params, x), expected, rtol=1e-4, atol=1e-4)
    for r, c in [(0, 0), (2, 3), (1, 2)]:
        one = conv.apply(params, x, r, c, method="at")
        np.testing.assert_allclose(one, expected[:, r, c], rtol=1e-4, atol=1e-4)


def test_shift_and_put():
    x = np.arange(6.0, dtype=np.float32).reshape(1, 2, 3, 1)
    np.testing.assert_array_equal(shift(x, -1, 0)[0, :, :, 0], [[0, 0, 0], [0, 1, 2]])
    np.testing.assert_array_equal(shift(x, 0, 1)[0, :, :, 0], [[1, 2, 0], [4, 5, 0]])
    assert put_pixel(x, np.full((1, 1), 9.0), 1, 0)[0, 1, 0, 0] == 9
