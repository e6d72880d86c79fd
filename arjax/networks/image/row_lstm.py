"""Row LSTM (van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel Recurrent Neural Networks", 2016, section 3.1)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.options import depth_option
from arjax.networks.base import NETWORKS
from arjax.networks.image.pixel_rnn import PixelRNN, PixelRNNCore, PixelRNNLayer, gate_bias, lstm_cell, lstm_scan
from arjax.networks.layers.convolution import TapConv
from arjax.networks.layers.grids import check_odd


class RowLSTMLayer(PixelRNNLayer):
    """An LSTM that runs down the image, a whole row at a time (equation 3).

    The gates read the map below by a k x 1 convolution along the row with mask B, for all rows at once. They read the
    state by a k x 1 convolution of the row above, not masked. So a state depends on a triangle above it.
    """

    kernel_size: int

    def setup(self):
        super().setup()
        size, taps = self.hidden_size, self.kernel_size
        left = tuple((0, dx) for dx in range(-self.reach, 1))
        self.input_to_state = TapConv(4 * size, left, self.dtype, use_bias=False)
        self.state_kernel = self.param("state_to_state_kernel", nn.initializers.lecun_normal(), (taps * size, 4 * size))
        self.bias = self.param("bias", gate_bias, (4 * size,))

    @property
    def reach(self) -> int:
        """Number of columns of a kernel on either side of its centre."""
        return self.kernel_size // 2

    def __call__(self, carry, condition: jax.Array | None, train: bool):
        """(maps, to_output), [B, H, W, 2U] each; in the form (carry) -> (carry, None) of a scan over layers."""
        maps, to_output = carry
        z_HBWG = jnp.moveaxis(self._gates(self.input_to_state(maps), condition), 1, 0)
        height, batch, width, gates = z_HBWG.shape

        def read(h_NU: jax.Array) -> jax.Array:
            return self._taps(h_NU.reshape(batch, width, -1)).reshape(batch * width, -1)

        h_HNU = lstm_scan(read, self.state_kernel, z_HBWG.reshape(height, batch * width, gates))
        h_BHWU = jnp.moveaxis(h_HNU.reshape(height, batch, width, -1), 0, 1)
        return self._add(maps, to_output, h_BHWU, train), None

    def _taps(self, h_BWU: jax.Array) -> jax.Array:
        """The states under the kernel at each column, tap by tap, [B, W, k U]."""
        width = h_BWU.shape[1]
        padded = jnp.pad(h_BWU, ((0, 0), (self.reach, self.reach), (0, 0)))
        return jnp.concatenate([padded[:, k : k + width] for k in range(self.kernel_size)], -1)

    def init_cache(self, batch_size: int, map_shape: tuple[int, int]) -> dict[str, jax.Array]:
        """Cells of a row; states of two rows, with zeros beyond the edges; the maps just left of a pixel."""
        width, size = map_shape[1], self.hidden_size
        return {
            "c": jnp.zeros((batch_size, width, size), jnp.float32),
            "h": jnp.zeros((batch_size, 2, width + 2 * self.reach, size), self.dtype),
            "left": jnp.zeros((batch_size, self.reach, 2 * size), self.dtype),
        }

    def step(self, cache, carry, condition, r, c):
        """One pixel: cache, (maps, to_output) [B, 2U] each -> the same above this layer."""
        maps, to_output = carry
        batch, size = maps.shape[0], self.hidden_size
        left = jnp.where(c > 0, cache["left"], 0)
        seen = jnp.concatenate([left, maps[:, None]], 1)
        z = self._gates(self.input_to_state.mix(seen.reshape(batch, -1)), condition)
        above = jax.lax.dynamic_slice(cache["h"], (0, (r + 1) % 2, c, 0), (batch, 1, self.kernel_size, size))
        cell = jax.lax.dynamic_slice(cache["c"], (0, c, 0), (batch, 1, size))[:, 0]
        cell, h = lstm_cell(z + above.reshape(batch, -1) @ self.state_kernel.astype(self.dtype), cell)
        cache = {
            "c": jax.lax.dynamic_update_slice(cache["c"], cell[:, None], (0, c, 0)),
            "h": jax.lax.dynamic_update_slice(cache["h"], h[:, None, None], (0, r % 2, c + self.reach, 0)),
            "left": seen[:, 1:],
        }
        return cache, self._add(maps, to_output, h, train=False)


class RowLSTMCore(PixelRNNCore):
    """The Row LSTM on an image in raster order."""

    kernel_size: int = depth_option(3)

    LAYER = RowLSTMLayer

    def layer_reach(self):
        height, width = self.grid_shape
        side = self.kernel_size // 2
        reads = np.zeros((height, width, height, width), bool)
        for r, c in np.ndindex(height, width):
            reads[r, c, r, max(c - side, 0) : c + 1] = True
            if r:
                reads[r, c] |= reads[r - 1, max(c - side, 0) : c + side + 1].any(0)
        return reads.reshape(height * width, -1)


@NETWORKS.register("row_lstm")
class RowLSTM(PixelRNN):
    """PixelRNN with Row LSTM layers, on images in raster-like orders.

    The receptive field is not the whole past: a pixel depends on a triangle of the rows above it, and on the pixels to
    its left as far as `num_layers` layers reach.

    Options: as `PixelRNNFamily`, and `kernel_size` k of both convolutions (odd, at least 3).
    """

    kernel_size: int = depth_option(3, least=3)

    CORE = RowLSTMCore
    SMALL = {"hidden_size": 10, "num_layers": 2, "readout_size": 16}

    def check(self, factorization):
        check_odd(self, "kernel_size")
        super().check(factorization)
