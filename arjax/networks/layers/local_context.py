"""Local parts of a context at the sites that they belong to: a coarser image, a map of labels, tokens of an encoder.

An encoded context is one array e: a vector for each example, [B, E], or with local parts one for each pixel,
[B, *pixels, E], which the colour channels of the pixel share. Any layer may read it, at any step.
"""

from __future__ import annotations

import itertools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import refuse
from arjax.core.spec import ContextSpec, EventSpec
from arjax.networks.base import Context
from arjax.networks.layers.convolution import TapConv, TapMix
from arjax.networks.layers.dense import Dense
from arjax.networks.layers.embedding import ContextEncoder, known_values, pixel_inputs, value_map, value_vectors

#: Features of a pixel where a network has no width of its own for them.
LOCAL_WIDTH = 32


def pixels(grid_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The grid without colour channels, the last of three dimensions."""
    return grid_shape[:2]


def check_local(event: EventSpec, context: ContextSpec) -> None:
    """Raises `UserError` unless the grid of each local part fits the grid of the event: apart from colour channels both
    have as many axes, and along each axis one length divides the other.
    """
    for name, part in context.at_sites.parts:
        few = max(len(part.grid_shape), len(event.grid_shape)) <= 3
        sides = list(itertools.zip_longest(pixels(part.grid_shape), pixels(event.grid_shape), fillvalue=0))
        fits = few and all(min(pair) and max(pair) % min(pair) == 0 for pair in sides)
        grids = f"the grid {part.grid_shape}, which does not fit the grid {event.grid_shape} of the data"
        divide = "of each axis, one length must divide the other"
        refuse(
            (part.columns, f"the part {name!r} of the context is a row of mixed columns, which cannot be local"),
            (not fits, f"the local part {name!r} of the context has {grids}: {divide}"),
        )


def prime_factors(number: int) -> list[int]:
    """The prime factors in ascending order; 1 has none."""
    for p in range(2, math.isqrt(number) + 1):
        if number % p == 0:
            return [p, *prime_factors(number // p)]
    return [number] if number > 1 else []


def stages(rows: int, columns: int) -> list[tuple[int, int]]:
    """Two factors as products of prime ones: 4 and 6 are (2, 2), then (2, 3)."""
    by_axis = prime_factors(rows), prime_factors(columns)
    num = max(map(len, by_axis))
    return list(zip(*(factors + [1] * (num - len(factors)) for factors in by_axis), strict=True))


def near(length: int) -> tuple[int, ...]:
    """Offsets along an axis of a kernel of three; of one where the axis has a single place."""
    return (-1, 0, 1) if length > 1 else (0,)


def around(h_BHWE: jax.Array) -> tuple[tuple[int, int], ...]:
    """The taps of a 3x3 kernel, or of a line of three on a line."""
    return tuple((dy, dx) for dy in near(h_BHWE.shape[1]) for dx in near(h_BHWE.shape[2]))


class Down(nn.Module):
    """A convolution with strides (s, t) and a kernel of 2s x 2t, but 3 along an axis of stride 1: y[r, c] reads the 2s
    rows from s r - floor(s / 2) on, and columns likewise, zero outside.
    """

    features: int
    strides: tuple[int, int]
    dtype: str

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """[B, s H, t W, C] -> [B, H, W, features]."""
        batch, size = len(x_BHWC), x_BHWC.shape[-1]
        rows, columns = (n // s for n, s in zip(x_BHWC.shape[1:3], self.strides, strict=True))
        # In blocks of s x t pixels, the kernel reads two blocks along an axis.
        pads = [(s // 2, s - s // 2) if s > 1 else (0, 0) for s in self.strides]
        x = jnp.pad(x_BHWC, ((0, 0), *pads, (0, 0)))
        (s, t), (height, width) = self.strides, x.shape[1:3]
        blocks = x.reshape(batch, height // s, s, width // t, t, size).swapaxes(2, 3)
        blocks = blocks.reshape(batch, height // s, width // t, s * t * size)
        offsets = [(0, 1) if s > 1 else near(n) for s, n in zip(self.strides, (rows, columns), strict=True)]
        taps = tuple((dy, dx) for dy in offsets[0] for dx in offsets[1])
        return TapConv(self.features, taps, self.dtype, name="conv")(blocks)[:, :rows, :columns]


class Up(nn.Module):
    """A transposed convolution with strides (s, t): a 3x3 convolution that makes s x t pixels of each pixel."""

    features: int
    strides: tuple[int, int]
    dtype: str

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, s H, t W, features]."""
        (batch, height, width, _), (s, t) = x_BHWC.shape, self.strides
        blocks = TapConv(s * t * self.features, around(x_BHWC), self.dtype, name="conv")(x_BHWC)
        rows = blocks.reshape(batch, height, width, s, t, self.features).swapaxes(2, 3)
        return rows.reshape(batch, s * height, t * width, self.features)


class Residual(nn.Module):
    """x + W gelu(conv(gelu(x))), with a 3x3 convolution that is not masked."""

    features: int
    dtype: str

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        h = TapConv(self.features, around(x_BHWC), self.dtype, name="conv")(nn.gelu(x_BHWC))
        return x_BHWC + TapMix(self.features, self.dtype, name="mix")(nn.gelu(h))


class PartAtPixels(nn.Module):
    """One local part at the pixels of an event: its values embedded, then `Down` from a finer grid or `Up` from a
    coarser one, in stages of prime factors with gelu between them. Levels are embedded by a table and, as they are
    ordered, by a linear map of their intensity, 0 to 1.
    """

    part: EventSpec
    grid: tuple[int, int]
    width: int
    dtype: str

    @nn.compact
    def __call__(self, values: jax.Array) -> jax.Array:
        """[B, *grid of the part, *value] -> [B, H, W, E]."""
        batch, plane = len(values), as_plane(pixels(self.part.grid_shape))
        size = self.part.num_sites // math.prod(plane) * self.part.value_size  # colour channels are values of a pixel
        pixel = EventSpec((1,), (size,), self.part.kind, self.part.num_levels)
        values, exists = known_values(values.reshape(batch, *plane, size), pixel)
        h = value_vectors(values, pixel, value_map(pixel, self.width, self.dtype))
        if self.part.kind == "levels":
            intensity = pixel_inputs(values, pixel, self.dtype)
            h = h + TapMix(self.width, self.dtype, use_bias=False, name="intensity")(intensity)
        h = jnp.where(exists[..., None], h, 0)
        down = stages(*(max(n // m, 1) for n, m in zip(plane, self.grid, strict=True)))
        up = stages(*(max(m // n, 1) for n, m in zip(plane, self.grid, strict=True)))
        layers = [("down", Down, strides) for strides in down] + [("up", Up, strides) for strides in up]
        for i, (name, layer, strides) in enumerate(layers):
            h = nn.gelu(h) if i else h
            h = layer(self.width, strides, self.dtype, name=f"{name}_{i}")(h)
        return h


def as_plane(grid: tuple[int, ...]) -> tuple[int, int]:
    """A line as an image of one row."""
    return (1, *grid) if len(grid) == 1 else (grid[0], grid[1])


class LocalEncoder(nn.Module):
    """The context at the pixels of an event, {part: [B, ...]} -> [B, *pixels, E]: the sum of all local parts
    (`PartAtPixels`) and the vector of the other parts, through `num_blocks` residual blocks.
    """

    spec: ContextSpec
    event: EventSpec
    width: int
    dtype: str
    num_blocks: int = 1

    @nn.compact
    def __call__(self, context: Context) -> jax.Array:
        grid = pixels(self.event.grid_shape)
        maps = [
            PartAtPixels(part, as_plane(grid), self.width, self.dtype, name=f"part_{name}")(context[name])
            for name, part in self.spec.at_sites.parts
        ]
        if self.spec.as_whole:
            vector_BE = ContextEncoder(self.spec.as_whole, self.width, self.dtype, name="whole")(context)
            maps.append(vector_BE[:, None, None])
        h = sum(maps[1:], maps[0])
        for i in range(self.num_blocks):
            h = Residual(self.width, self.dtype, name=f"block_{i}")(h)
        return h.reshape(len(h), *grid, self.width)


class FeatureEncoder(ContextEncoder):
    """A `ContextEncoder` whose vectors are features of all sites, [B, D * F]."""

    FROM_CONTEXT = ("table", "linear", "summary")


class LocalFeatures(nn.Module):
    """Features of each site, [B, D * F]: a linear map of gelu(`LocalEncoder`), one for each colour channel."""

    spec: ContextSpec
    event: EventSpec
    num_features: int
    dtype: str
    width: int = LOCAL_WIDTH
    num_blocks: int = 1

    READOUT = ("out",)

    @nn.compact
    def __call__(self, context: Context) -> jax.Array:
        encoder = LocalEncoder(self.spec, self.event, self.width, self.dtype, self.num_blocks, name="encoder")
        h = nn.gelu(encoder(context))
        channels = self.event.num_sites // math.prod(pixels(self.event.grid_shape))
        return TapMix(channels * self.num_features, self.dtype, name="out")(h).reshape(len(h), -1)


class LocalSummary(nn.Module):
    """One vector of the whole context, [B, E]: a linear map of the features of all pixels."""

    spec: ContextSpec
    event: EventSpec
    width: int
    dtype: str
    per_pixel: int = 8

    @nn.compact
    def __call__(self, context: Context) -> jax.Array:
        h = LocalEncoder(self.spec, self.event, self.per_pixel, self.dtype, name="encoder")(context)
        return Dense(self.width, dtype=self.dtype, name="summary")(nn.gelu(h).reshape(len(h), -1))


def context_encoder(spec: ContextSpec, event: EventSpec, width: int, dtype: str) -> ContextEncoder | LocalEncoder:
    """The encoder of a context for a network: context -> e, [B, E] or with local parts [B, *pixels, E]."""
    return LocalEncoder(spec, event, width, dtype) if spec.local else ContextEncoder(spec, width, dtype)


def site_encoder(spec: ContextSpec, event: EventSpec, width: int, dtype: str) -> ContextEncoder | LocalFeatures:
    """Returns an encoder of a context as one vector for each site, [B, D * E]."""
    return (
        LocalFeatures(spec, event, width, dtype) if spec.local else ContextEncoder(spec, event.num_sites * width, dtype)
    )


def feature_encoder(
    spec: ContextSpec, event: EventSpec, num_features: int, dtype: str, width: int = LOCAL_WIDTH, num_blocks: int = 1
) -> FeatureEncoder | LocalFeatures:
    """An encoder of a context as features of each site, [B, D * F]; `width` and `num_blocks` are for local parts."""
    if spec.local:
        return LocalFeatures(spec, event, num_features, dtype, width, num_blocks)
    return FeatureEncoder(spec, event.num_sites * num_features, dtype)


def summary_encoder(spec: ContextSpec, event: EventSpec, width: int, dtype: str) -> ContextEncoder | LocalSummary:
    """An encoder of a context as one vector, [B, E], whether it has local parts or not."""
    return LocalSummary(spec, event, width, dtype) if spec.local else ContextEncoder(spec, width, dtype)


def everywhere(e: jax.Array, ndim: int) -> jax.Array:
    """e against an array [B, *pixels, F] of `ndim` axes: a vector [B, E] gets an axis for each of the pixels."""
    return e.reshape(len(e), *[1] * (ndim - 2), e.shape[-1]) if e.ndim == 2 else e


def add_context(y: jax.Array, e: jax.Array | None) -> jax.Array:
    """y [B, *pixels, F] + e, if there is a context."""
    return y if e is None else y + everywhere(e, y.ndim)


def of_sites(e: jax.Array, sites: jax.Array | np.ndarray, event: EventSpec) -> jax.Array:
    """e at sites int[...] (the last one for those that do not exist) -> [B, ..., E]; [B, 1, ..., E] of a vector."""
    if e.ndim == 2:
        return e.reshape(-1, *[1] * np.ndim(sites), e.shape[-1])
    flat = e.reshape(len(e), -1, e.shape[-1])
    return jnp.take(flat, jnp.asarray(sites) // (event.num_sites // flat.shape[1]), axis=1, mode="clip")


def of_row(e: jax.Array, r: jax.Array) -> jax.Array:
    """e at row r, [B, W, E]; a vector is the same everywhere."""
    return e if e.ndim == 2 else jax.lax.dynamic_index_in_dim(e, r, axis=1, keepdims=False)


def of_pixel(e: jax.Array, r: jax.Array, c: jax.Array) -> jax.Array:
    """e at one pixel, [B, E]; a vector is the same everywhere."""
    return e if e.ndim == 2 else jax.lax.dynamic_index_in_dim(of_row(e, r), c, axis=1, keepdims=False)
