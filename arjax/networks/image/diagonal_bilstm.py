"""Diagonal BiLSTM (van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel Recurrent Neural Networks", 2016, section 3.2)."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.networks.base import NETWORKS
from arjax.networks.image.pixel_rnn import PixelRNN, PixelRNNCore, PixelRNNLayer, gate_bias, lstm_cell, lstm_scan
from arjax.networks.layers.convolution import TapMix

#: Inputs of the gates outside the image: all gates are closed, so that cells and states are exactly 0 there.
SHUT = -1e9
#: Images side by side on CPUs, where less is wasted of each step.
CPU_STRIP = 4


def skew(x_BHWC: jax.Array, fill: float) -> jax.Array:
    """Offsets each row by one position to the row above, [B, H, W, C] -> [B, H, W + H - 1, C].

    Column d then holds the diagonal of pixels with r + c = d, and `fill` beyond its ends.
    """
    batch, height, width, channels = x_BHWC.shape
    padded = jnp.pad(x_BHWC, ((0, 0), (0, 0), (0, height), (0, 0)), constant_values=fill)
    flat = padded.reshape(batch, height * (width + height), channels)[:, : height * (width + height - 1)]
    return flat.reshape(batch, height, width + height - 1, channels)


def unskew(x_BHTC: jax.Array, width: int) -> jax.Array:
    """The inverse of `skew`: [B, H, W + H - 1, C] -> [B, H, W, C]."""
    batch, height, length, channels = x_BHTC.shape
    flat = jnp.pad(x_BHTC.reshape(batch, height * length, channels), ((0, 0), (0, height), (0, 0)))
    return flat.reshape(batch, height, length + 1, channels)[:, :, :width]


class DiagonalBiLSTMLayer(PixelRNNLayer):
    """Two LSTMs that run along the diagonals, one from the left corner and one from the right.

    The state of a pixel is computed from the states before it in its row and above it, a 2x1 convolution over the
    column of the skewed map; the cell from the one before it in its row. The gates read the map below at the pixel
    itself (1x1, mask B). The states from the right depend on pixels to the right, so they are shifted down by one row
    before they are added to those from the left: there, all these pixels are in the past.
    """

    strip: int

    DIRECTIONS = 2

    def setup(self):
        super().setup()
        size = self.hidden_size
        self.input_to_state = TapMix(8 * size, self.dtype, use_bias=False)
        shape = (2, 2 * size, 4 * size)
        init = nn.initializers.lecun_normal(batch_axis=(0,))
        self.state_kernel = self.param("state_to_state_kernel", init, shape)
        self.bias = self.param("bias", gate_bias, (2, 4 * size))

    def _both_gates(self, maps: jax.Array, condition: jax.Array | None) -> list[jax.Array]:
        """The inputs of the gates of both directions without the contribution of the states, [..., G] each."""
        return jnp.split(self._gates(self.input_to_state(maps), condition), 2, axis=-1)

    def _from_states(self, direction: int, before: jax.Array, above: jax.Array) -> jax.Array:
        """The contribution of the two previous states to the gates of a direction, [..., G]."""
        kernel = self.state_kernel[direction].astype(self.dtype)
        return jnp.concatenate([before, above], -1) @ kernel

    def __call__(self, carry, condition: jax.Array | None, train: bool):
        """(maps, to_output), [B, H, P, 2U] each; in the form (carry) -> (carry, None) of a scan over layers."""
        maps, to_output = carry
        left, right = self._both_gates(maps, condition)
        left, right = self._along_diagonals(jnp.stack([left, right[:, :, ::-1]]))
        right = jnp.pad(right[:, :-1, ::-1], ((0, 0), (1, 0), (0, 0), (0, 0)))
        return self._add(maps, to_output, left + right, train), None

    def _along_diagonals(self, z_2BHPG: jax.Array) -> jax.Array:
        """The states [2, B, H, P, U] of both directions, each from the left corner of its image.

        Half of the columns of a skewed image are empty. A strip of images side by side forms one wide image with fewer
        empty columns; a column of closed gates between them starts the next one from zeros. Without a `strip`, its
        length is the fastest one: single images need the fewest steps, which is best on accelerators.
        """
        _, batch, height, columns, gates = z_2BHPG.shape
        strip = math.gcd(batch, self.strip or (CPU_STRIP if jax.default_backend() == "cpu" else 1))
        shape = (2, batch // strip, strip, height, columns + 1)
        spaced = jnp.pad(z_2BHPG, ((0, 0),) * 3 + ((0, 1), (0, 0)), constant_values=SHUT)
        wide = jnp.swapaxes(spaced.reshape(*shape, gates), 2, 3).reshape(batch // strip * 2, height, -1, gates)
        z_T2NG = jnp.moveaxis(skew(wide, SHUT), 2, 0).reshape(-1, 2, batch // strip * height, gates)

        def read(h_2NU: jax.Array) -> jax.Array:
            by_row = h_2NU.reshape(2, -1, height, self.hidden_size)
            above = jnp.pad(by_row[:, :, :-1], ((0, 0), (0, 0), (1, 0), (0, 0)))
            return jnp.concatenate([h_2NU, above.reshape(h_2NU.shape)], -1)

        h_T2NU = lstm_scan(read, self.state_kernel, z_T2NG)
        skewed = jnp.moveaxis(h_T2NU.reshape(len(h_T2NU), -1, height, self.hidden_size), 0, 2)
        spaced = unskew(skewed, strip * (columns + 1)).reshape(2, -1, height, strip, columns + 1, self.hidden_size)
        return jnp.swapaxes(spaced[..., :columns, :], 2, 3).reshape(2, batch, height, columns, self.hidden_size)

    def init_cache(self, batch_size: int, map_shape: tuple[int, int]) -> dict[str, jax.Array]:
        """The cell and state left of a pixel; states from the left of this row, then of the row above; states from the
        right of the row above; and the inputs of the gates from the right in this row.
        """
        columns, size = map_shape[1], self.hidden_size
        return {
            "c": jnp.zeros((batch_size, size), jnp.float32),
            "h": jnp.zeros((batch_size, size), self.dtype),
            "left": jnp.zeros((batch_size, columns, size), self.dtype),
            "right": jnp.zeros((batch_size, columns, size), self.dtype),
            "z_right": jnp.zeros((batch_size, columns, 4 * size), self.dtype),
        }

    def step(self, cache, carry, condition, r, c):
        """One position: cache, (maps, to_output) [B, 2U] each -> the same above this layer."""
        z_left, z_right = self._both_gates(carry[0], condition)
        right = self._finish_row(cache, (r > 0) & (c == 0))  # at the start of the next row
        cell, before = (jnp.where(c > 0, cache[name], 0) for name in ("c", "h"))
        cell, h = lstm_cell(z_left + self._from_states(0, before, column(cache["left"], c)), cell)
        cache = {
            "c": cell,
            "h": h,
            "left": put_column(cache["left"], h, c),
            "right": right,
            "z_right": put_column(cache["z_right"], z_right, c),
        }
        return cache, self._add(*carry, h + column(right, c), train=False)

    def _finish_row(self, cache, complete: jax.Array) -> jax.Array:
        """The states from the right of the row above, [B, P, U]; the old ones where no row is complete."""
        columns = cache["right"].shape[1]

        def body(i, state):
            cell, before, right = state
            c = columns - 1 - i
            z = column(cache["z_right"], c) + self._from_states(1, before, column(right, c))
            cell, h = lstm_cell(z, cell)
            return cell, h, put_column(right, h, c)

        start = jnp.zeros_like(cache["c"]), jnp.zeros_like(cache["h"]), cache["right"]
        return jax.lax.fori_loop(0, jnp.where(complete, columns, 0), body, start)[2]


def column(row_BPC: jax.Array, c: jax.Array) -> jax.Array:
    """[B, C]."""
    return jax.lax.dynamic_index_in_dim(row_BPC, c, axis=1, keepdims=False)


def put_column(row_BPC: jax.Array, value_BC: jax.Array, c: jax.Array) -> jax.Array:
    """The row with one column replaced."""
    return jax.lax.dynamic_update_index_in_dim(row_BPC, value_BC, c, axis=1)


class DiagonalBiLSTMCore(PixelRNNCore):
    """The Diagonal BiLSTM on an image in raster order, with one column of margin.

    A map at a pixel depends on the values before it. Without a margin no map of a row would depend on the row's last
    value. Pixels on the far left of the next row could not read it, as states from the right are shifted by a row. With
    the margin, these states start from the whole row, and the receptive field is the whole past, as in the paper.
    """

    strip: int = 0

    LAYER = DiagonalBiLSTMLayer
    MARGIN = 1

    def layer_reach(self):
        height, columns = self.map_shape
        left = np.zeros((height, columns, height, columns), bool)
        right = np.zeros_like(left)
        for r, c in np.ndindex(height, columns):
            left[r, c, : r + 1, : c + 1] = True
            right[r, c, :r, c:] = True  # of the row above
        return (left | right).reshape(height * columns, -1)


@NETWORKS.register("diagonal_bilstm")
class DiagonalBiLSTM(PixelRNN):
    """PixelRNN with Diagonal BiLSTM layers, on images in raster-like orders; every pixel depends on the whole past.

    Options: as `PixelRNNFamily`.
    """

    CORE = DiagonalBiLSTMCore
    SMALL = {"hidden_size": 8, "num_layers": 2, "readout_size": 16}
