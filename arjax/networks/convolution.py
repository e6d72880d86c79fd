"""Convolutions on pictures as matrix products over their live taps.

Two reasons: a masked 3x3 kernel has 4 or 5 live taps of 9, and the dead ones cost as much; and on CPU a convolution
inside a compiled loop is tens of times slower than outside, a matrix product is not.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

Taps = tuple[tuple[int, int], ...]


def raster_taps(height: int, width: int, *, centre: bool) -> Taps:
    """Offsets (dy, dx) that come before a pixel in raster order, of a kernel that reaches `height` rows up and `width`
    columns to either side; `centre` adds the pixel itself (mask B of van den Oord et al., 2016; without: mask A).
    """
    above = [(dy, dx) for dy in range(-height, 0) for dx in range(-width, width + 1)]
    return (*above, *((0, dx) for dx in range(-width, 0)), *(((0, 0),) if centre else ()))


def shift(x_BHWC: jax.Array, dy: int, dx: int) -> jax.Array:
    """y[r, c] = x[r + dy, c + dx], zero where that lies outside."""
    _, height, width, _ = x_BHWC.shape
    if abs(dy) >= height or abs(dx) >= width:
        return jnp.zeros_like(x_BHWC)
    rows, columns = (max(-dy, 0), max(dy, 0)), (max(-dx, 0), max(dx, 0))
    padded = jnp.pad(x_BHWC, ((0, 0), rows, columns, (0, 0)))
    return padded[:, rows[1] : rows[1] + height, columns[1] : columns[1] + width]


def pixel(plane_BHWC: jax.Array, r: jax.Array, c: jax.Array) -> jax.Array:
    """The pixel [B, C] at a row and column, zero where that lies outside."""
    batch, height, width, channels = plane_BHWC.shape
    inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
    value = jax.lax.dynamic_slice(plane_BHWC, (0, r, c, 0), (batch, 1, 1, channels))[:, 0, 0]
    return jnp.where(inside, value, 0)


def put_pixel(plane_BHWC: jax.Array, value_BC: jax.Array, r: jax.Array, c: jax.Array) -> jax.Array:
    """The plane with the pixel at a row and column replaced."""
    return jax.lax.dynamic_update_slice(plane_BHWC, value_BC[:, None, None].astype(plane_BHWC.dtype), (0, r, c, 0))


class TapConv(nn.Module):
    """y[r, c] = b + sum_k x[r + dy_k, c + dx_k] W_k over the taps (dy_k, dx_k), zero outside the picture."""

    features: int
    taps: Taps
    dtype: str
    use_bias: bool = True

    def setup(self):
        self.mix = nn.Dense(self.features, use_bias=self.use_bias, dtype=self.dtype)

    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """All pixels, [B, H, W, C] -> [B, H, W, features]."""
        return self.mix(jnp.concatenate([shift(x_BHWC, dy, dx) for dy, dx in self.taps], -1))

    def at(self, plane_BHWC: jax.Array, r: jax.Array, c: jax.Array) -> jax.Array:
        """One pixel, from a plane that holds its inputs at all taps: [B, features]."""
        return self.mix(jnp.concatenate([pixel(plane_BHWC, r + dy, c + dx) for dy, dx in self.taps], -1))
