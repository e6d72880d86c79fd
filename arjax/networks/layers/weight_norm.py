"""Weight-normalised layers on images (Salimans & Kingma, 2016): w = g v / |v|, a direction and a length per feature. At
the start v is random and g = `gain`; the paper sets g and b from the statistics of a first batch. Convolutions are
matrix products over taps, as in `convolution.py`, with forms for one pixel and for one row.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.batch import Array
from arjax.networks.layers.convolution import Taps, mix, pixel, shift


def small_weights(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Normal numbers of scale 0.05; on one axis, as XLA's CPU compiler takes up to five times as long on several."""
    return 0.05 * jax.random.normal(key, (math.prod(shape),)).reshape(shape)


class NormalisedMix(nn.Module):
    """y = b + [x_1 ... x_K] W with normalised columns: the product behind a convolution, or one of size 1.
    `normalised`: the parameters are those that `normalised_weights` gives.
    """

    features: int
    dtype: str
    gain: float = 1.0
    normalised: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, taps: Taps | None = None) -> jax.Array:
        """[..., K * C] -> [..., features]; with `taps`, the convolution of an image [B, H, W, C]."""
        size = x.shape[-1] * (1 if taps is None else len(taps))
        kernel = self.param("kernel", small_weights, (size, self.features))
        if not self.normalised:
            kernel = normalised(kernel, self.param("scale", nn.initializers.constant(self.gain), (self.features,)))
        b = self.param("bias", nn.initializers.zeros, (self.features,))
        return mix(x.astype(self.dtype), kernel.astype(self.dtype), taps) + b.astype(self.dtype)


@functools.partial(jax.checkpoint, prevent_cse=False)
def normalised(v: jax.Array, g: jax.Array) -> jax.Array:
    """g v / |v|, the norm of each output feature (last axis), in float32; computed again for its gradient."""
    return v * (g * jax.lax.rsqrt(jnp.square(v).sum(tuple(range(v.ndim - 1))) + 1e-12))


def normalised_weights(params: Any, dtype: str) -> Any:
    """The parameters of layers, [L, ...] each, in `dtype`; weights of layers with a "scale" are normalised."""
    if "scale" in params:
        kernel = jax.vmap(normalised)(params["kernel"], params["scale"])
        return {"kernel": kernel.astype(dtype), "bias": params["bias"].astype(dtype)}
    return {
        name: normalised_weights(part, dtype) if isinstance(part, Mapping) else part.astype(dtype)
        for name, part in params.items()
    }


class NormalisedConv(nn.Module):
    """y[r, c] = b + sum_k x[r + dy_k, c + dx_k] W_k over the taps (dy_k, dx_k), zero outside the image. `shifted`
    (rows, columns) moves y down and to the right; the taps include this shift, and pixels that enter from outside are
    0, without b. `normalised` as in `NormalisedMix`.
    """

    features: int
    taps: Taps
    dtype: str
    gain: float = 1.0
    shifted: tuple[int, int] = (0, 0)
    normalised: bool = False

    def setup(self):
        self.mix = NormalisedMix(self.features, self.dtype, self.gain, self.normalised)

    def __call__(self, x_BHWC: jax.Array, stride: int = 1) -> jax.Array:
        """All pixels, [B, H, W, C] -> [B, H, W, features], or those at every `stride`-th row and column."""
        if stride == 1:
            y = self.mix(x_BHWC, self.taps)
        else:
            y = self.mix(jnp.concatenate([shift(x_BHWC, dy, dx)[:, ::stride, ::stride] for dy, dx in self.taps], -1))
        r, c = (np.arange(0, size, stride) for size in x_BHWC.shape[1:3])
        return self._without_outside(y, r[:, None], c)

    def _without_outside(self, y: jax.Array, r: Array, c: Array) -> jax.Array:
        """y [B, ..., features] of the pixels in rows r and columns c."""
        rows, columns = self.shifted
        return jnp.where(((r >= rows) & (c >= columns))[..., None], y, 0) if any(self.shifted) else y

    def row(self, plane_BRWC: jax.Array, r: jax.Array, stride: int = 1) -> jax.Array:
        """Row r, [B, W, features]; row i of the input is row i mod R of the plane, which holds all rows of the taps."""
        rows = []
        for dy, dx in self.taps:
            source = jax.lax.dynamic_index_in_dim(plane_BRWC, jnp.mod(r + dy, plane_BRWC.shape[1]), axis=1)
            rows.append(jnp.where(r + dy >= 0, shift(source, 0, dx), 0)[:, 0, ::stride])
        return self._without_outside(self.mix(jnp.concatenate(rows, -1)), r, np.arange(0, plane_BRWC.shape[2], stride))

    def at(self, plane_BRWC: jax.Array, r: jax.Array, c: jax.Array) -> jax.Array:
        """Pixel (r, c), [B, features], from the same plane."""
        sources = []
        for dy, dx in self.taps:
            source = pixel(plane_BRWC, jnp.mod(r + dy, plane_BRWC.shape[1]), c + dx)
            sources.append(jnp.where(r + dy >= 0, source, 0))
        return self._without_outside(self.mix(jnp.concatenate(sources, -1)), r, c)


#: Padding of [B, H, W, ...] by a column at the right.
_ONE_COLUMN = ((0, 0), (0, 0), (0, 1), (0, 0), (0, 0), (0, 0))


class NormalisedStretch(nn.Module):
    """Transposed convolution of stride 2 with two rows, which doubles the resolution:

    y[2r + k, 2c + m] = b + sum_j x[r, c + dx_j] W_kj over the taps (j, dx_j) of column m.

    A kernel of two columns has one for each new column. One of three, centred, has its middle in even columns and its
    sides in odd ones, where the right side reads the next pixel.
    """

    features: int
    columns: int
    dtype: str

    def setup(self):
        shape = (2, self.columns, self.features, self.features)
        self.kernel = self.param("kernel", small_weights, shape)
        self.scale = self.param("scale", nn.initializers.ones, (self.features,))
        self.bias = self.param("bias", nn.initializers.zeros, (self.features,))

    def _kernels(self) -> jax.Array:
        return normalised(self.kernel, self.scale).astype(self.dtype)

    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, 2H, 2W, C]."""
        (batch, height, width, size), kernels = x_BHWC.shape, self._kernels()
        rows = self._columns(x_BHWC, jnp.moveaxis(kernels, 2, 0).reshape(size, -1), 2)
        return jnp.moveaxis(rows, 3, 2).reshape(batch, 2 * height, 2 * width, -1)

    def row(self, x_BWC: jax.Array, k: int | jax.Array, width: int) -> jax.Array:
        """Row 2r + k from row r, [B, W, C] -> [B, width, C], without the last column where `width` is odd."""
        kernel = jnp.moveaxis(self._kernels()[k], 1, 0).reshape(x_BWC.shape[-1], -1)
        return self._columns(x_BWC[:, None], kernel, 1).reshape(x_BWC.shape[0], -1, self.features)[:, :width]

    def _columns(self, x_BHWC: jax.Array, kernel: jax.Array, rows: int) -> jax.Array:
        """[B, H, W, rows, 2, features]: the new pixels of each pixel, from one product with the whole kernel."""
        products = (x_BHWC.reshape(-1, x_BHWC.shape[-1]) @ kernel).reshape(*x_BHWC.shape[:3], rows, self.columns, -1)
        if self.columns == 3:
            from_next = jnp.pad(products[:, :, 1:, :, :1], _ONE_COLUMN)
            products = jnp.concatenate([products[..., 1:2, :], products[..., 2:, :] + from_next], -2)
        return products + self.bias.astype(self.dtype)

    def at(self, x_BC: jax.Array, k: jax.Array, m: jax.Array) -> jax.Array:
        """Pixel (2r + k, 2c + m) from pixel (r, c) alone: for kernels of two columns, [B, C]."""
        return x_BC @ self._kernels()[k, m] + self.bias.astype(self.dtype)
