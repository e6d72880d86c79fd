"""Convolutions on images over unmasked taps: a masked 3x3 kernel has 4 or 5 of 9, and masked ones cost as much."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.programs import by_rows, kernel_of_rows
from arjax.networks.base import fields_from
from arjax.networks.layers.dense import BilinearProduct

Taps = tuple[tuple[int, int], ...]
CENTRE: Taps = ((0, 0),)
#: Shifted copies of at most this size stay in a processor's cache, where they are fastest.
CACHED_BYTES = 3 * 2**20


def raster_taps(height: int, width: int, *, centre: bool) -> Taps:
    """Returns the offsets (dy, dx) that come before a pixel in raster order, up to `height` rows up and `width` columns
    to either side; `centre` adds the pixel itself (mask B of van den Oord et al., 2016; without: mask A).
    """
    above = [(dy, dx) for dy in range(-height, 0) for dx in range(-width, width + 1)]
    return (*above, *((0, dx) for dx in range(-width, 0)), *(CENTRE if centre else ()))


def square_taps(size: int, dilation: int = 1) -> Taps:
    """All offsets of a square kernel with an odd number of rows."""
    reach = [dilation * offset for offset in range(-(size // 2), size // 2 + 1)]
    return tuple((dy, dx) for dy in reach for dx in reach)


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


def tap_graph(height: int, width: int, taps: Taps) -> np.ndarray:
    """bool[HW, HW]: [i, j] iff some tap of pixel i is pixel j."""
    r, c = np.divmod(np.arange(height * width), width)
    graph = np.zeros((height * width,) * 2, bool)
    for dy, dx in taps:
        inside = (r + dy >= 0) & (r + dy < height) & (c + dx >= 0) & (c + dx < width)
        i = np.flatnonzero(inside)
        graph[i, (r[i] + dy) * width + c[i] + dx] = True
    return graph


def channel_graph(height: int, width: int, taps: Taps, channels: int, *, strict: bool = False) -> np.ndarray:
    """Returns bool[HWC, HWC] of a convolution on pixels of several channels. A channel reads all channels of the pixels
    at the taps; of its own pixel, if this is a tap, the channels up to itself, or with `strict` only those before it.
    """
    others = tap_graph(height, width, tuple(tap for tap in taps if tap not in CENTRE))
    graph = np.kron(others, np.ones((channels, channels), bool))
    if set(CENTRE) <= set(taps):
        within = np.tri(channels, k=-1 if strict else 0, dtype=bool)
        graph |= np.kron(np.eye(height * width, dtype=bool), within)
    return graph


def compose(*layers: np.ndarray) -> np.ndarray:
    """bool[D, D] of a stack, the last layer named first: [i, j] iff its output i depends on input j of the lowest."""
    reads = layers[-1].astype(np.float32)
    for layer in reversed(layers[:-1]):
        reads = ((layer.astype(np.float32) @ reads) > 0).astype(np.float32)
    return reads > 0


def channel_groups(size: int, channels: int, parts: int = 1) -> np.ndarray:
    """The colour channel of each feature map, int[size], ascending in each of `parts` parts (PixelRNN, section 3.4)."""
    return np.tile(np.arange(size // parts) * channels // (size // parts), parts)


@BilinearProduct
def convolve(x_BHWC: jax.Array, kernel_KCF: jax.Array, taps: Taps) -> jax.Array:
    """y[r, c] = sum_k x[r + dy_k, c + dx_k] W_k, zero outside: a convolution with the smallest kernel around the taps.
    It has custom gradients, since XLA's CPU compiler runs JAX's slowly, in compiled loops tens of times slower than
    outside.
    """
    (up, down), (left, right) = rows, columns = _reach(taps)
    window = [(dy, dx) for dy in range(-up, down + 1) for dx in range(-left, right + 1)]
    size, features = kernel_KCF.shape[1:]
    return jax.lax.conv_general_dilated(
        x_BHWC,
        _filled(kernel_KCF, taps, window).reshape(up + 1 + down, left + 1 + right, size, features),
        window_strides=(1, 1),
        padding=(rows, columns),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _filled(kernel_KCF: jax.Array, taps: Taps, window: list[tuple[int, int]]) -> jax.Array:
    """The kernel of all places of a window, [W, C, F]: zero at places without a tap."""
    for kernel, order in ((kernel_KCF, taps), (kernel_KCF[::-1], taps[::-1])):
        if list(order) == window:  # a gather would be a copy
            return kernel
    masked = jnp.zeros((1, *kernel_KCF.shape[1:]), kernel_KCF.dtype)
    places = np.array([taps.index(tap) if tap in taps else len(taps) for tap in window])
    return jnp.concatenate([kernel_KCF, masked])[places]


def _reach(taps: Taps) -> tuple[tuple[int, int], tuple[int, int]]:
    """The largest offsets of taps: up and down, left and right."""
    rows, columns = zip(*taps, strict=True)
    return (max(0, -min(rows)), max(0, *rows)), (max(0, -min(columns)), max(0, *columns))


@BilinearProduct
def kernel_gradient(x_BHWC: jax.Array, dy_BHWF: jax.Array, taps: Taps) -> jax.Array:
    """dW_k = sum over all pixels of x[r + dy_k, c + dx_k]' dy[r, c], [K, C, F]: summed in float32."""
    by_platform = {"cpu": _kernel_gradient_by_rows, "default": _kernel_gradient}
    dW_FKC = jax.lax.platform_dependent(
        x_BHWC, dy_BHWF, **{name: functools.partial(form, taps) for name, form in by_platform.items()}
    )
    return dW_FKC.reshape(-1, len(taps), x_BHWC.shape[-1]).transpose(1, 2, 0).astype(x_BHWC.dtype)


def _input_gradient(dy_BHWF: jax.Array, kernel_KCF: jax.Array, taps: Taps) -> jax.Array:
    """The convolution of dy with the taps flipped."""
    return convolve(dy_BHWF, jnp.swapaxes(kernel_KCF, 1, 2), tuple((-dy, -dx) for dy, dx in taps))


convolve.transposes(_input_gradient, lambda dy_BHWF, x_BHWC, taps: kernel_gradient(x_BHWC, dy_BHWF, taps))
kernel_gradient.transposes(
    lambda dW_KCF, dy_BHWF, taps: _input_gradient(dy_BHWF, dW_KCF, taps),
    lambda dW_KCF, x_BHWC, taps: convolve(x_BHWC, dW_KCF, taps),
)


def _kernel_gradient(taps: Taps, x_BHWC: jax.Array, dy_BHWF: jax.Array) -> jax.Array:
    """The sum over all pixels of dy' [x_1 ... x_K], float32[F, K * C], as a convolution, which makes no copies."""
    (up, _), (left, right) = rows, columns = _reach(taps)
    dW_HWCF = jax.lax.conv_general_dilated(
        x_BHWC,
        dy_BHWF,
        window_strides=(1, 1),
        padding=(rows, columns),
        dimension_numbers=("CHWN", "IHWO", "HWNC"),
        preferred_element_type=jnp.float32,
    )
    places = np.array([(dy + up) * (left + 1 + right) + dx + left for dy, dx in taps])
    dW_WCF = dW_HWCF.reshape(-1, *dW_HWCF.shape[2:])
    dW_KCF = dW_WCF if np.array_equal(places, np.arange(len(dW_WCF))) else dW_WCF[places]
    return dW_KCF.reshape(-1, dW_KCF.shape[-1]).T


def _kernel_gradient_by_rows(taps: Taps, x_BHWC: jax.Array, dy_BHWF: jax.Array) -> jax.Array:
    """The sum over several rows at a time, whose shifted copies stay in the processor's cache."""
    (up, down), (left, right) = _reach(taps)
    batch, height, width, size = x_BHWC.shape
    features, inputs = dy_BHWF.shape[-1], len(taps) * size
    rows = _rows_at_once(height, batch * width * inputs * x_BHWC.dtype.itemsize)
    padded = jnp.pad(x_BHWC, ((0, 0), (up, down), (left, right), (0, 0)))

    def add_rows(block: jax.Array, dW_FI: jax.Array) -> jax.Array:
        x = jax.lax.dynamic_slice_in_dim(padded, block * rows, up + rows + down, axis=1)
        copies = [x[:, up + dy : up + dy + rows, left + dx : left + dx + width] for dy, dx in taps]
        x_NI = jnp.concatenate(copies, -1).reshape(-1, inputs)
        dy_NF = jax.lax.dynamic_slice_in_dim(dy_BHWF, block * rows, rows, axis=1).reshape(-1, features)
        return dW_FI + jnp.matmul(dy_NF.T, x_NI, preferred_element_type=jnp.float32)

    return jax.lax.fori_loop(0, height // rows, add_rows, jnp.zeros((features, inputs), jnp.float32))


def _rows_at_once(height: int, row_bytes: int) -> int:
    """The largest divisor of the height whose rows fit in `CACHED_BYTES`; 1 where none does."""
    divisors = [rows for rows in range(1, height + 1) if height % rows == 0]
    return max(rows for rows in divisors if rows == 1 or rows * row_bytes <= CACHED_BYTES)


def shifted(x_BHWC: jax.Array, taps: Taps) -> jax.Array:
    """The image shifted by each of K taps, concatenated: [B, H, W, K * C]."""
    return jnp.concatenate([shift(x_BHWC, dy, dx) for dy, dx in taps], -1)


def mix(x: jax.Array, kernel: jax.Array, taps: Taps | None = None) -> jax.Array:
    """x W for a kernel [K * C, F], [B, ..., K * C] -> [B, ..., F]; with K taps, its convolution with images. On a mesh
    examples stay where they are.
    """
    x, kernel = by_rows(x), kernel_of_rows(kernel)
    if taps is None:  # pixels on one axis, which compiles faster on CPUs
        return by_rows((x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], -1))
    return by_rows(convolve(x, kernel.reshape(len(taps), -1, kernel.shape[-1]), taps))


class TapMix(nn.Module):
    """y = b + [x_1 ... x_K] W: the product inside a convolution, and by itself a convolution of size 1. With several
    colour `channels`, feature maps are split into that many groups. At the tap on the pixel itself (number `centre`) a
    group reads the groups up to itself, or with `strict` those before it (masks B and A).
    """

    features: int
    dtype: str
    use_bias: bool = True
    num_taps: int = 1
    centre: int = 0
    channels: int = 1
    strict: bool = False
    parts: int = 1
    gain: float = 1.0
    bias_scale: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, taps: Taps | None = None) -> jax.Array:
        """[..., K * C] -> [..., features]; with `taps`, the convolution of an image [B, H, W, C]."""
        size = x.shape[-1] * (1 if taps is None else self.num_taps)
        init = nn.initializers.variance_scaling(self.gain**2, "fan_in", "truncated_normal")
        kernel = self.param("kernel", init, (size, self.features))
        if self.channels > 1:
            kernel = jnp.where(self._mask(size // self.num_taps), kernel, 0)
        y = mix(x.astype(self.dtype), kernel.astype(self.dtype), taps)
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.normal(self.bias_scale), (self.features,)).astype(self.dtype)
        return y

    def _mask(self, size: int) -> np.ndarray:
        """bool[K * C, features]."""
        read, write = channel_groups(size, self.channels), channel_groups(self.features, self.channels, self.parts)
        mask = np.ones((self.num_taps, size, self.features), bool)
        mask[self.centre] = read[:, None] < write if self.strict else read[:, None] <= write
        return mask.reshape(-1, self.features)


class TapConv(nn.Module):
    """y[r, c] = b + sum_k x[r + dy_k, c + dx_k] W_k over the taps (dy_k, dx_k), zero outside the image. `channels`,
    `strict` and `parts` are as in `TapMix`; they need the centre among the taps. `gain` scales the initial kernel
    relative to one that keeps the scale of its inputs; `bias_scale` is the scale of the initial biases.
    """

    features: int
    taps: Taps
    dtype: str
    use_bias: bool = True
    channels: int = 1
    strict: bool = False
    parts: int = 1
    gain: float = 1.0
    bias_scale: float = 0.0

    def setup(self):
        centre = self.taps.index((0, 0)) if self.channels > 1 else 0
        self.mix = TapMix(**fields_from(self, TapMix, num_taps=len(self.taps), centre=centre))

    def __call__(self, x_BHWC: jax.Array, unmasked_HWK: jax.Array | None = None) -> jax.Array:
        """All pixels, [B, H, W, C] -> [B, H, W, features]; `unmasked_HWK` switches taps on or off pixel by pixel."""
        if unmasked_HWK is None:
            return self.mix(x_BHWC, self.taps)
        copies = shifted(x_BHWC, self.taps).reshape(*x_BHWC.shape[:3], len(self.taps), -1)
        return self.mix(jnp.where(unmasked_HWK[..., None], copies, 0).reshape(*x_BHWC.shape[:3], -1))

    def at(self, plane_BHWC: jax.Array, r: jax.Array, c: jax.Array) -> jax.Array:
        """One pixel, from a plane that holds its inputs at all taps: [B, features]."""
        return self.mix(jnp.concatenate([pixel(plane_BHWC, r + dy, c + dx) for dy, dx in self.taps], -1))

    def row(self, rows_BRWC: jax.Array, r: int) -> jax.Array:
        """All pixels of row r, [B, W, features], from the rows that the taps reach."""
        return self.mix(jnp.concatenate([shift(rows_BRWC[:, r + dy, None], 0, dx)[:, 0] for dy, dx in self.taps], -1))


class WholeImage:
    """Runs convolutions on whole images; `unmasked`: by taps, which of them each pixel reads; None for all."""

    def __init__(self, unmasked: Mapping[Taps, jax.Array] | None = None):
        self._unmasked = unmasked

    def read(self, conv: TapConv, x_BHWC: jax.Array) -> jax.Array:
        return conv(x_BHWC) if self._unmasked is None else conv(x_BHWC, self._unmasked[conv.taps])


class Cursor:
    """Runs the same convolutions on one pixel, so a network in terms of `read` has both forms at once. A plane for each
    convolution keeps the inputs of earlier pixels, with zeros at all others.
    """

    def __init__(self, grid: tuple[int, int], r: jax.Array, c: jax.Array, planes: list[jax.Array] | None = None):
        self._grid, self._place, self._old = grid, (r, c), planes
        self.planes: list[jax.Array] = []

    def read(self, conv: TapConv, x_BC: jax.Array) -> jax.Array:
        """The convolution at the pixel; makes an empty plane if there are none to begin with."""
        if self._old is None:
            plane = jnp.zeros((x_BC.shape[0], *self._grid, x_BC.shape[-1]), x_BC.dtype)
        else:
            plane = put_pixel(self._old[len(self.planes)], x_BC, *self._place)
        self.planes.append(plane)
        return conv.at(plane, *self._place)
