"""Gated PixelCNN (van den Oord et al., "Conditional Image Generation with PixelCNN Decoders", 2016)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.options import depth_option
from arjax.core.programs import rows_over_all_axes
from arjax.networks.base import NETWORKS
from arjax.networks.image.pixelcnn import MaskedNetwork
from arjax.networks.layers.convolution import TapConv, TapMix, Taps, channel_graph, compose, put_pixel
from arjax.networks.layers.dense import Dense
from arjax.networks.layers.grids import flip_dependencies, image_inputs, input_size, num_channels, put_previous
from arjax.networks.layers.local_context import add_context, of_pixel, of_row
from arjax.networks.layers.steps import to_grid

Pair = tuple[jax.Array, jax.Array]
#: Gain of the initial kernels before a gate: tanh(y) sigma(y) is about y / 2, and the vertical stack has no residuals.
GATE_GAIN = 2.0


def gate(y: jax.Array) -> jax.Array:
    """tanh(y_f) * sigma(y_g), equation 2: 2p maps to p."""
    y_f, y_g = jnp.split(y, 2, -1)
    return jnp.tanh(y_f) * nn.sigmoid(y_g)


class GatedLayer(nn.Module):
    """One layer of both stacks (Figure 2):

    v' = W_v v + V_v e       h' = W_h h + W_vh v' + V_h e        2p maps each, W_v and W_h convolutions, e the context
    v <- gate(v')            h <- W_o gate(h') + h               in the first layer without "+ h"
    """

    size: int
    above: Taps
    left: Taps
    first: bool
    conditional: bool
    channels: int
    dropout: float
    dtype: str

    def setup(self):
        self.vertical = TapConv(2 * self.size, self.above, self.dtype, gain=GATE_GAIN)
        self.vertical_to_horizontal = TapMix(2 * self.size, self.dtype, use_bias=False)
        colours = {"channels": self.channels, "strict": self.first, "parts": 2, "gain": GATE_GAIN}
        self.horizontal = TapConv(2 * self.size, self.left, self.dtype, **colours)
        self.out = TapMix(self.size, self.dtype, channels=self.channels)
        self.drop = nn.Dropout(self.dropout)
        if self.conditional:
            self.vertical_context = Dense(2 * self.size, use_bias=False, dtype=self.dtype)
            self.horizontal_context = Dense(2 * self.size, use_bias=False, dtype=self.dtype)

    def from_context(self, e: jax.Array) -> Pair:
        """V_v e and V_h e, [B, 2p] each (equation 4); of local parts at each pixel (equation 5)."""
        return self.vertical_context(e), self.horizontal_context(e)

    def _across(self, from_left: jax.Array, from_above: jax.Array, h: jax.Array, bias, train: bool) -> jax.Array:
        """The horizontal stack from W_h h and W_vh v', for any number of pixels."""
        gated = gate(add_context(from_left + from_above, bias))
        out = self.out(self.drop(gated, deterministic=not train))
        return out if self.first else h + out

    def __call__(self, v_BHWC: jax.Array, h_BHWC: jax.Array, biases, train: bool) -> Pair:
        raw = add_context(self.vertical(v_BHWC), biases[0])
        from_above = self.vertical_to_horizontal(raw)
        return gate(raw), self._across(self.horizontal(h_BHWC), from_above, h_BHWC, biases[1], train)

    def row(self, v_BRWC: jax.Array, r: int, bias) -> Pair:
        """Row r of the vertical stack and its contribution to the horizontal one, [B, W, p] and [B, W, 2p]."""
        raw = add_context(self.vertical.row(v_BRWC, r), bias)
        return gate(raw), self.vertical_to_horizontal(raw)

    def at(self, h_B1WC: jax.Array, c: jax.Array, from_above_BWC: jax.Array, bias) -> jax.Array:
        """The horizontal stack at one pixel, [B, p], from its row up to this pixel."""
        from_above = jax.lax.dynamic_index_in_dim(from_above_BWC, c, axis=1, keepdims=False)
        h = jax.lax.dynamic_index_in_dim(h_B1WC[:, 0], c, axis=1, keepdims=False)
        return self._across(self.horizontal.at(h_B1WC, 0, c), from_above, h, bias, train=False)


@NETWORKS.register("gated_pixelcnn")
class GatedPixelCNN(MaskedNetwork):
    """PixelCNN of two stacks without a blind spot, with gates, in a raster-like order (section 2.1-2.3). The vertical
    stack reads all rows above a pixel, the horizontal stack the pixels to its left and the vertical stack. The context
    enters all gates of all layers. The groups of colour channels are feature maps of the horizontal stack. The step
    form runs the vertical stack once a row, and keeps no more than the rows that the kernels reach.

    Options: `hidden_size` p of each stack, `num_layers` after the first, `kernel_size` and `first_kernel` (odd),
    `out_size` of the 1x1 layers before the output, `dropout` in the horizontal stack.
    """

    hidden_size: int = 32
    num_layers: int = depth_option(6)

    SMALL = {"hidden_size": 16, "num_layers": 2, "out_size": 16}

    def setup(self):
        super().setup()
        channels, conditional = num_channels(self.event), bool(self.context_spec)
        shared = {"conditional": conditional, "channels": channels, "dropout": self.dropout, "dtype": self.dtype}
        self.layers = [
            GatedLayer(self.hidden_size, *self._taps(i), first=i == 0, **shared, name=f"layer_{i}")
            for i in range(self.num_layers + 1)
        ]
        self.hidden = TapMix(self.out_size, self.dtype, channels=channels)

    def _taps(self, layer: int) -> tuple[Taps, Taps]:
        """The taps of the two stacks of a layer: the rows above in full width, and the pixels to the left. The first
        layer does not read the row of a pixel from above, nor the pixel itself where it has one channel.
        """
        reach = (self.kernel_size if layer else self.first_kernel) // 2
        above = tuple((dy, dx) for dy in range(-reach, 1 if layer else 0) for dx in range(-reach, reach + 1))
        reads_itself = layer > 0 or num_channels(self.event) > 1
        return above, tuple((0, dx) for dx in range(-reach, 1 if reads_itself else 0))

    def dependencies(self, factorization):
        (height, width), channels = factorization.grid_shape[:2], num_channels(self.event)
        vertical = horizontal = None
        for layer in range(self.num_layers + 1):
            above, left = self._taps(layer)
            down = channel_graph(height, width, above, 1).repeat(channels, 0).repeat(channels, 1)
            across = channel_graph(height, width, left, channels, strict=layer == 0)
            vertical = down if vertical is None else compose(down, vertical)
            horizontal = vertical | (across if horizontal is None else compose(across, horizontal))
        return flip_dependencies(horizontal, factorization)

    def _biases(self, e: jax.Array | None) -> list:
        """The contributions of an encoded context to the two stacks, layer by layer."""
        return [(None, None) if e is None else layer.from_context(e) for layer in self.layers]

    def _readout(self, h: jax.Array) -> jax.Array:
        return self.out(nn.relu(self.hidden(nn.relu(h))))

    @rows_over_all_axes()
    def __call__(self, x, factorization, context=None, *, train=False):
        v = h = image_inputs(x, self.event, factorization, self.dtype)
        for layer, biases in zip(self.layers, self._biases(self._encoded(context, factorization)), strict=True):
            v, h = layer(v, h, biases, train)
        return to_grid(self._readout(h), factorization)

    def start(self, batch_size, factorization, context=None):
        """By layer: the last rows that the vertical stack reads, its contribution to this row of the horizontal stack,
        and the inputs of this row; and the contributions of the context, or with local parts the encoded context.
        """
        width, sizes = factorization.grid_shape[1], [input_size(self.event)] + [self.hidden_size] * self.num_layers

        def zeros(rows: int, size: int) -> jax.Array:
            return jnp.zeros((batch_size, rows, width, size), self.dtype)

        reach = [-min(dy for dy, _ in layer.above) for layer in self.layers]
        above = [zeros(rows, size) for rows, size in zip(reach, sizes, strict=True)]
        from_above = [zeros(1, 2 * self.hidden_size)[:, 0] for _ in self.layers]
        e = self._encoded(context, factorization)
        known = e if self.context_spec.local else self._biases(e)
        return above, from_above, [zeros(1, size) for size in sizes], known

    def _next_row(self, above: list, inputs_B1WC: jax.Array, known: Any, r: jax.Array) -> tuple[list, list]:
        """The vertical stack of row r; `inputs` are the inputs of the row before it."""
        biases = self._biases(of_row(known, r)) if self.context_spec.local else known
        rows, from_above, v_BWC = [], [], inputs_B1WC[:, 0]
        for layer, old, bias in zip(self.layers, above, biases, strict=True):
            window = jnp.concatenate([old, v_BWC[:, None]], 1)
            rows.append(window[:, 1:])
            v_BWC, _from = layer.row(window, window.shape[1] - (not layer.first), bias[0])
            from_above.append(_from)
        return rows, from_above

    def step(self, carry, canvas, t, factorization, context=None):
        """One pixel of the horizontal stack; the vertical stack once, where a row begins."""
        above, from_above, left, known = carry
        channels = num_channels(self.event)
        r, c = jnp.divmod(t // channels, factorization.grid_shape[1])
        inputs = put_previous(left[0], canvas, t, self.event, factorization)
        begins, operands = t % (channels * factorization.grid_shape[1]) == 0, (above, from_above, inputs, known)

        def next_row(network, above, from_above, inputs, known):
            return network._next_row(above, inputs, known, r)

        above, from_above = nn.cond(begins, next_row, lambda network, *operands: operands[:2], self, *operands)
        planes, biases = [inputs], self._biases(of_pixel(known, r, c)) if self.context_spec.local else known
        for i, (layer, bias) in enumerate(zip(self.layers, biases, strict=True)):
            h = layer.at(planes[i], c, from_above[i], bias[1])
            if i < self.num_layers:
                planes.append(put_pixel(left[i + 1], h, 0, c))
        return (above, from_above, planes, known), self._of_channel(self._readout(h), t)
