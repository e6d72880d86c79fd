"""PixelCNN (van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel Recurrent Neural Networks", 2016, sections 3.3-3.6)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.errors import refuse
from arjax.core.options import depth_option, rate_option
from arjax.core.programs import rows_over_all_axes
from arjax.networks.base import NETWORKS
from arjax.networks.layers import grids
from arjax.networks.layers.convolution import Cursor, TapConv, TapMix, WholeImage, channel_graph, compose, raster_taps
from arjax.networks.layers.local_context import add_context, context_encoder, of_pixel
from arjax.networks.layers.steps import to_grid


class MaskedBlock(nn.Module):
    """x + W_3 relu(conv(relu(W_1 relu(x)))): 2h maps to h, a masked convolution (mask B), and back (Figure 5, left)."""

    hidden_size: int
    kernel_size: int
    channels: int
    dropout: float
    dtype: str

    def setup(self):
        half, reach = self.hidden_size // 2, self.kernel_size // 2
        self.narrow = TapMix(half, self.dtype, channels=self.channels)
        self.conv = TapConv(half, raster_taps(reach, reach, centre=True), self.dtype, channels=self.channels)
        self.widen = TapMix(self.hidden_size, self.dtype, channels=self.channels)
        self.drop = nn.Dropout(self.dropout)

    def __call__(self, x: jax.Array, view: WholeImage | Cursor, train: bool) -> jax.Array:
        hidden = nn.relu(view.read(self.conv, nn.relu(self.narrow(nn.relu(x)))))
        return x + self.widen(self.drop(hidden, deterministic=not train))


class MaskedNetwork(grids.RasterNetwork):
    """Masked convolutions on images in a raster-like order: the first layer reads earlier pixels in a window of
    `first_kernel` rows and columns, the others one of `kernel_size`; then come two 1x1 layers of `out_size` maps. On a
    grid (H, W) the whole value of a pixel is generated at once. On a grid (H, W, C) the colour channels of a pixel are
    generated one after the other: the feature maps of all layers are split into C groups, and a group reads of its own
    pixel only the groups before it (mask A) or up to it (mask B; section 3.4).
    """

    hidden_size: int = 64
    num_layers: int = depth_option(7)
    kernel_size: int = depth_option(3)
    first_kernel: int = depth_option(7, least=3)
    out_size: int = 64
    dropout: float = rate_option()

    CHANNELS = True
    READOUT = ("out",)

    def check(self, factorization):
        super().check(factorization)
        grids.check_odd(self, "kernel_size", "first_kernel")
        channels = grids.num_channels(self.event)
        sizes = {"hidden_size": self.hidden_size, "out_size": self.out_size}.items()
        small = ((n < channels, f"network.{name}={n} is too small for {channels} colour channels") for name, n in sizes)
        refuse(*small)

    def setup(self):
        channels = grids.num_channels(self.event)
        self.out = TapMix(channels * self.num_features, self.dtype, channels=channels)
        if self.context_spec:
            self.context = context_encoder(self.context_spec, self.event, self.hidden_size, self.dtype)


@NETWORKS.register("pixelcnn")
class PixelCNN(MaskedNetwork):
    """Masked convolutions on images, in a raster-like order. Composed, the windows of its layers leave a blind spot to
    the right of a pixel in the rows above it: see `dependencies`. Options: `hidden_size` 2h of the residual blocks,
    `num_layers`, `kernel_size` and `first_kernel` (odd), `out_size` of the two 1x1 layers before the output, `dropout`
    within the blocks.
    """

    SMALL = {"hidden_size": 24, "num_layers": 2, "out_size": 16}

    def check(self, factorization):
        super().check(factorization)
        least = 2 * grids.num_channels(self.event)
        words = f"must be even and at least {least} (twice the number of colour channels), not {self.hidden_size}"
        wrong = self.hidden_size % 2 or self.hidden_size < least
        refuse((wrong, f"network.hidden_size of 'pixelcnn' {words}"))

    def setup(self):
        super().setup()
        channels = grids.num_channels(self.event)
        self.first = TapConv(self.hidden_size, self._first_taps(), self.dtype, channels=channels, strict=True)
        self.blocks = [
            MaskedBlock(self.hidden_size, self.kernel_size, channels, self.dropout, self.dtype, name=f"block_{i}")
            for i in range(self.num_layers)
        ]
        self.out_0 = TapMix(self.out_size, self.dtype, channels=channels)
        self.out_1 = TapMix(self.out_size, self.dtype, channels=channels)

    def _first_taps(self):
        """Mask A: where a pixel has one channel only, it does not read itself at all."""
        reach = self.first_kernel // 2
        return raster_taps(reach, reach, centre=grids.num_channels(self.event) > 1)

    def dependencies(self, factorization):
        height, width = factorization.grid_shape[:2]
        channels, reach = grids.num_channels(self.event), self.kernel_size // 2
        first = channel_graph(height, width, self._first_taps(), channels, strict=True)
        block = channel_graph(height, width, raster_taps(reach, reach, centre=True), channels, strict=False)
        return grids.flip_dependencies(compose(*[block] * self.num_layers, first), factorization)

    def _after_first(self, h: jax.Array, view: WholeImage | Cursor, train: bool) -> jax.Array:
        """All layers above the first: the same for whole images [B, H, W, 2h] and for one pixel [B, 2h]."""
        for block in self.blocks:
            h = block(h, view, train)
        h = self.out_1(nn.relu(self.out_0(nn.relu(h))))
        return self.out(nn.relu(h))

    @rows_over_all_axes()
    def __call__(self, x, factorization, context=None, *, train=False):
        h = self.first(grids.image_inputs(x, self.event, factorization, self.dtype))
        h = add_context(h, self._encoded(context, factorization))
        return to_grid(self._after_first(h, WholeImage(), train), factorization)

    def start(self, batch_size, factorization, context=None):
        """The inputs, a plane per residual block, and the context."""
        grid, hidden = factorization.grid_shape[:2], jnp.zeros((batch_size, self.hidden_size), self.dtype)
        inputs = jnp.zeros((batch_size, *grid, grids.input_size(self.event)), self.dtype)
        cursor = Cursor(grid, 0, 0)
        self._after_first(hidden, cursor, train=False)
        return inputs, cursor.planes, hidden if context is None else self._encoded(context, factorization)

    def step(self, carry, canvas, t, factorization, context=None):
        """One pixel of every layer, for each of its channels: maps of channels not drawn yet are overwritten later."""
        inputs, planes, e = carry
        inputs = grids.put_previous(inputs, canvas, t, self.event, factorization)
        r, c = jnp.divmod(t // grids.num_channels(self.event), factorization.grid_shape[1])
        cursor = Cursor(factorization.grid_shape[:2], r, c, planes)
        features = self._after_first(self.first.at(inputs, r, c) + of_pixel(e, r, c), cursor, train=False)
        return (inputs, cursor.planes, e), self._of_channel(features, t)
