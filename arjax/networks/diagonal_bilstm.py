"""Diagonal BiLSTM (van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel Recurrent Neural Networks", 2016, section 3.2)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.networks.base import NETWORKS
from arjax.networks.pixel_rnn import PixelRNN, PixelRNNCore, gate_bias, lstm_cell

#: Inputs of the gates outside the picture: all gates are shut, so that cells and states are exactly 0 there.
SHUT = -1e9


def skew(x_BHWC: jax.Array, fill: float) -> jax.Array:
    """Offsets each row by one position to the row above, [B, H, W, C] -> [B, H, W + H - 1, C].

    Column d then holds the diagonal of pixels with r + c = d, and `fill` where there are none.
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


class DiagonalBiLSTMLayer(nn.Module):
    """Two LSTMs that go along the diagonals, one from the left corner and one from the right.

    The state of a pixel follows from the states before it in its row and above it, a 2x1 convolution over the column of
    the skewed map; the cell from the one before it in its row. The gates read the map below at the pixel itself
    (1x1, mask B). The states from the right see what is right of a pixel, so they are shifted down by one row before
    they are added to those from the left: there, all of it is past.
    """

    hidden_size: int
    dropout: float
    conditioned: bool
    dtype: str

    def setup(self):
        size = self.hidden_size
        self.input_to_state = nn.Dense(8 * size, use_bias=False, dtype=self.dtype)
        shape = (2, 2 * size, 4 * size)
        init = nn.initializers.lecun_normal(batch_axis=(0,))
        self.state_kernel = self.param("state_to_state_kernel", init, shape)
        self.bias = self.param("bias", gate_bias, (2, 4 * size))
        if self.conditioned:
            self.from_condition = nn.Dense(8 * size, use_bias=False, dtype=self.dtype)
        self.up = nn.Dense(4 * size, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def _add(self, maps: jax.Array, to_output: jax.Array, h: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Two 1x1 convolutions of the states: one is added to the maps, one is sent to the output."""
        up, out = jnp.split(self.up(self.drop(h, deterministic=not train)), 2, axis=-1)
        return maps + up, to_output + out

    def _gates(self, maps: jax.Array, condition: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """What the gates of both directions know before the states are read, [..., G] each."""
        z = self.input_to_state(maps) + self.bias.astype(self.dtype).reshape(-1)
        if condition is not None:
            z = z + self.from_condition(condition)
        return tuple(jnp.split(z, 2, axis=-1))

    def _from_states(self, direction: int, before: jax.Array, above: jax.Array) -> jax.Array:
        """What the gates of a direction read of the two states that a state follows from."""
        kernel = self.state_kernel[direction].astype(self.dtype)
        return jnp.concatenate([before, above], -1) @ kernel

    def __call__(self, carry, condition: jax.Array | None, train: bool):
        """(maps, to_output), [B, H, P, 2U] each; in the form (carry) -> (carry, None) of a scan over layers."""
        maps, to_output = carry
        left, right = self._gates(maps, condition)
        left, right = self._along_diagonals(left, right[:, :, ::-1])
        right = jnp.pad(right[:, :-1, ::-1], ((0, 0), (1, 0), (0, 0), (0, 0)))
        return self._add(maps, to_output, left + right, train), None

    def _along_diagonals(self, *z_BHPG: jax.Array) -> list[jax.Array]:
        """The states [B, H, P, U] of both directions, each from the left corner of its picture."""
        batch, height, columns, _ = z_BHPG[0].shape
        z_TBHG = [jnp.moveaxis(skew(z, SHUT), 2, 0) for z in z_BHPG]

        def diagonal(states, zs):
            new = []
            for direction, ((c, h), z) in enumerate(zip(states, zs, strict=True)):
                above = jnp.pad(h[:, :-1], ((0, 0), (1, 0), (0, 0)))
                new.append(lstm_cell(z + self._from_states(direction, h, above), c))
            return new, [h for _, h in new]

        shape = (batch, height, self.hidden_size)
        start = [(jnp.zeros(shape, jnp.float32), jnp.zeros(shape, self.dtype)) for _ in z_BHPG]
        _, h_TBHU = jax.lax.scan(diagonal, start, z_TBHG)
        return [unskew(jnp.moveaxis(h, 0, 2), columns) for h in h_TBHU]

    def init_cache(self, batch_size: int, map_shape: tuple[int, int]) -> dict[str, jax.Array]:
        """The cell and state left of a pixel; states from the left of this row, then of the row above; states from the
        right of the row above; and what the gates from the right know of this row.
        """
        columns, size = map_shape[1], self.hidden_size
        return {
            "c": jnp.zeros((batch_size, size), jnp.float32),
            "h": jnp.zeros((batch_size, size), self.dtype),
            "left": jnp.zeros((batch_size, columns, size), self.dtype),
            "right": jnp.zeros((batch_size, columns, size), self.dtype),
            "z_right": jnp.zeros((batch_size, columns, 4 * size), self.dtype),
        }

    def step(self, cache, maps, to_output, condition, r, c):
        """One position: (cache, maps [B, 2U], to_output [B, 2U]) -> the same above this layer.

        The states from the right of the row above are computed when it is complete, at the start of a row.
        """
        z_left, z_right = self._gates(maps, condition)
        right = self._finish_row(cache, (r > 0) & (c == 0))
        cell, before = (jnp.where(c > 0, cache[name], 0) for name in ("c", "h"))
        cell, h = lstm_cell(z_left + self._from_states(0, before, column(cache["left"], c)), cell)
        cache = {
            "c": cell,
            "h": h,
            "left": put_column(cache["left"], h, c),
            "right": right,
            "z_right": put_column(cache["z_right"], z_right, c),
        }
        return cache, *self._add(maps, to_output, h + column(right, c), train=False)

    def _finish_row(self, cache, complete: jax.Array) -> jax.Array:
        """The states from the right of the row above [B, P, U], from those of the row before that: one column after
        another, or none where no row is complete.
        """
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
    """The Diagonal BiLSTM on a picture in raster order, with one column of margin.

    A map at a pixel knows the values before it, so without a margin no map of a row would know the row's last value,
    and pixels far left in the next row could not see it: states from the right come shifted by a row. With the margin,
    they begin where the whole row is known, and the receptive field is the whole past, as the paper has it.
    """

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
    """PixelRNN with Diagonal BiLSTM layers, on pictures in raster-like orders; every pixel sees the whole past.

    Options: `hidden_size` U (the maps between layers have 2U features), `num_layers`, `readout_size` of the two 1x1
    layers, `dropout` on the states, `remat` (recompute layers in the backward pass).
    """

    CORE = DiagonalBiLSTMCore
    SMALL = {"hidden_size": 8, "num_layers": 2, "readout_size": 16}
