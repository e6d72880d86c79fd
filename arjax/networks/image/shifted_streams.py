"""The three forms of PixelCNN++: whole images, the next row of the upper stream, and the next pixel of the lower one. A
network in terms of these views is written once for all three. The upper stream reads the rows above a pixel only, so a
step runs it when a row begins. A lower resolution is due at every second row (and column) of the one above.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.programs import is_for_cpu
from arjax.networks.layers.convolution import CENTRE, Taps, put_pixel
from arjax.networks.layers.dense import only_products
from arjax.networks.layers.grids import RasterNetwork, input_size
from arjax.networks.layers.local_context import context_encoder, of_pixel, of_row
from arjax.networks.layers.weight_norm import NormalisedConv, NormalisedMix, NormalisedStretch

#: Kernel of the lower stream: 2x2, shifted to the right; the pixels above and to the left.
DOWN_RIGHT: Taps = tuple((dy, dx) for dy in (-1, 0) for dx in (-1, 0))
#: First layers of the lower stream, shifted so that no pixel reads itself: 1x3 one row down, and 2x1 one column right.
FIRST_ABOVE: Taps = tuple((-1, dx) for dx in (-1, 0, 1))
FIRST_LEFT: Taps = ((-1, -1), (0, -1))

#: `(weights, x, view, aux, context, mask) -> y`: a layer of any form.
Layer = Callable[..., jax.Array]
#: Values of equal layers: a list, or of whole images one array [L, B, H, W, C].
Outputs = list[jax.Array] | jax.Array


class Values(NamedTuple):
    """The outputs of the layers of one resolution. `down` has the input of the first layer and the output of each; `up`
    has the outputs of the upward pass from the last layer to the first: each has the index of its counterpart in
    `down`.
    """

    down: Outputs
    up: Outputs


class State(NamedTuple):
    """A resolution of one stream. `planes` keep the inputs of its convolutions, the last two rows [B, 2, W, C] each;
    `kept` are the values for other resolutions and streams: `Values`, or this row of the last layer [B, W, C]; `below`
    is the next lower resolution.
    """

    planes: list[jax.Array]
    kept: Any
    below: State | None


class ImageView:
    """Whole images [B, H, W, C]; `stride`: rows of the highest resolution for each one of this."""

    def __init__(self, grid: tuple[int, int], stride: int = 1):
        self.grid, self.stride = grid, stride
        self.planes: list[jax.Array] = []

    def half(self, state: State | None) -> ImageView:
        """The view of the next lower resolution, from its old state."""
        return ImageView(half(self.grid), 2 * self.stride)

    def here(self, e: jax.Array | None) -> jax.Array | None:
        """The encoded context of the highest resolution at the pixels of the view: every `stride`-th row and column."""
        return e if e is None or e.ndim == 2 else e[:, :: self.stride, :: self.stride]

    def run_layers(self, layer: Layer, weights: Any, masks, x: jax.Array, aux: Any, e, *, upwards: bool) -> Outputs:
        """A stack of equal layers: the output of each. Layer i has `weights[i]` and reads `aux[i]`, if there is any;
        its mask for dropout is number `first` + i of (masks, first), or None. With `upwards`, the last one comes first.
        """

        def one(x: jax.Array, of_layer: tuple) -> tuple[jax.Array, jax.Array]:
            weights, aux, i = of_layer
            y = layer(weights, x, self, aux, e, None if masks is None else (masks[0], masks[1] + i))
            return y, y

        if not is_for_cpu():  # there, elementwise operations cost less than to store their results
            one = jax.checkpoint(one, policy=only_products, prevent_cse=False)
        numbers = jnp.arange(len(jax.tree.leaves(weights)[0]))
        return jax.lax.scan(one, x, (weights, aux, numbers), reverse=upwards)[1]

    def with_input(self, x: jax.Array, values: Outputs) -> Outputs:
        """The input of the first layer, followed by the values of the layers."""
        return jnp.concatenate([x[None], jnp.asarray(values)])

    def keep(self, x: jax.Array) -> jax.Array:
        """Stores the input of a convolution; returns the array that the convolution reads."""
        return x

    def read(self, conv: NormalisedConv, x: jax.Array) -> jax.Array:
        """A convolution of the resolution of its input."""
        return conv(x)

    def shrink(self, conv: NormalisedConv, kept: jax.Array) -> jax.Array:
        """A convolution of stride 2, of the array that `keep` returned."""
        return conv(kept, 2)

    def stretch(self, conv: NormalisedStretch, low: jax.Array) -> jax.Array:
        """A transposed convolution, cut to this resolution."""
        return conv(low)[:, : self.grid[0], : self.grid[1]]

    def pick(self, values: Values) -> Values:
        """The values of the upper stream at the position of the view."""
        return values

    def store(self, values: Values, state: State | None) -> Any:
        """The part of the values that `State.kept` holds."""
        return values

    def output(self, kept: Any) -> jax.Array:
        """The output of the last layer, from the result of `store`."""
        return kept.up[0]

    def when_due(self, network: nn.Module, run: Callable, state: State | None, kept: jax.Array) -> State:
        """`run(network, state, kept)` where the next lower resolution is due, else the old state."""
        return run(network, state, kept)


class RowView(ImageView):
    """Row r of the upper stream, [B, W, C]."""

    def __init__(self, grid: tuple[int, int], state: State, r: jax.Array, stride: int = 1):
        super().__init__(grid, stride)
        self._old, self._r = state.planes, r

    def half(self, state):
        return RowView(half(self.grid), state, self._r // 2, 2 * self.stride)

    def here(self, e):
        return e if e is None else of_row(super().here(e), self._r)

    def run_layers(self, layer, weights, masks, x, aux, e, *, upwards):
        # One by one: each plane is then updated in place, where a loop would copy it.
        order = range(len(weights))
        values = [x] * len(weights)
        for i in reversed(order) if upwards else order:
            here = tuple(part[i] for part in aux) if isinstance(aux, tuple) else None if aux is None else aux[i]
            values[i] = x = layer(weights[i], x, self, here, e, None)
        return values

    def with_input(self, x, values):
        return [x, *values]

    def keep(self, x):
        plane = jax.lax.dynamic_update_slice(self._old[len(self.planes)], x[:, None], (0, self._r % 2, 0, 0))
        self.planes.append(plane)
        return plane

    def read(self, conv, x):
        return conv.mix(x) if conv.taps == CENTRE else conv.row(self.keep(x), self._r)

    def shrink(self, conv, kept):
        return conv.row(kept, self._r, 2)

    def stretch(self, conv, low):
        return conv.row(low, self._r % 2, self.grid[1])

    def when_due(self, network, run, state, kept):
        return nn.cond(self._due(), run, lambda network, state, kept: state, network, state, kept)

    def _due(self) -> jax.Array:
        return self._r % 2 == 0


class PixelView(RowView):
    """Pixel (r, c) of the lower stream, which reads its own row, [B, C]."""

    def __init__(self, grid: tuple[int, int], state: State, r: jax.Array, c: jax.Array, stride: int = 1):
        super().__init__(grid, state, r, stride)
        self._c = c

    def half(self, state):
        return PixelView(half(self.grid), state, self._r // 2, self._c // 2, 2 * self.stride)

    def here(self, e):
        return e if e is None else of_pixel(ImageView.here(self, e), self._r, self._c)

    def keep(self, x):
        self.planes.append(put_pixel(self._old[len(self.planes)], x, self._r % 2, self._c))
        return self.planes[-1]

    def read(self, conv, x):
        return conv.mix(x) if conv.taps == CENTRE else conv.at(self.keep(x), self._r, self._c)

    def shrink(self, conv, kept):
        return conv.at(kept, self._r, self._c)

    def stretch(self, conv, low):
        return conv.at(low, self._r % 2, self._c % 2)

    def pick(self, values):
        return jax.tree.map(self._here, values)

    def store(self, values, state):
        """This row up to this pixel: the pixels of two rows of a higher resolution read it."""
        return jax.lax.dynamic_update_index_in_dim(state.kept, values.up[0], self._c, axis=1)

    def output(self, kept):
        return self._here(kept)

    def _here(self, row_BWC: jax.Array) -> jax.Array:
        return jax.lax.dynamic_index_in_dim(row_BWC, self._c, axis=1, keepdims=False)

    def _due(self):
        return (self._r % 2 == 0) & (self._c % 2 == 0)


class ShiftedNetwork(RasterNetwork):
    """A network whose first layers are shifted convolutions, so that no pixel reads itself. Images have a channel of
    ones that distinguishes them from their padding.
    """

    READOUT = ("out",)

    def setup(self):
        self.first_above = NormalisedConv(self.num_filters, FIRST_ABOVE, self.dtype, shifted=(1, 0))
        self.first_left = NormalisedConv(self.num_filters, FIRST_LEFT, self.dtype, shifted=(0, 1))
        self.out = NormalisedMix(self.num_features, self.dtype)
        if self.context_spec:
            self.context = context_encoder(self.context_spec, self.event, self.num_filters, self.dtype)

    def _with_ones(self, inputs: jax.Array) -> jax.Array:
        return jnp.concatenate([inputs, jnp.ones_like(inputs[..., :1])], -1)

    def _empty_inputs(self, batch_size: int, grid: tuple[int, ...]) -> jax.Array:
        """The inputs of an image without values."""
        return self._with_ones(jnp.zeros((batch_size, *grid, input_size(self.event)), self.dtype))

    def _first(self, inputs: jax.Array) -> jax.Array:
        """The first layers, at all pixels."""
        return self.first_above(inputs) + self.first_left(inputs)

    def _first_at(self, inputs: jax.Array, r: jax.Array, c: jax.Array) -> jax.Array:
        """The first layers, at one pixel."""
        return self.first_above.at(inputs, r, c) + self.first_left.at(inputs, r, c)

    def _features(self, h: jax.Array) -> jax.Array:
        return self.out(nn.elu(h))


def half(grid: tuple[int, int]) -> tuple[int, int]:
    """The grid of every second row and column."""
    return (grid[0] + 1) // 2, (grid[1] + 1) // 2


def empty_state(
    grid: tuple[int, int], batch_size: int, filters: int, layers: list[tuple[int, int]], *, upper: bool, dtype: str
) -> State:
    """The state before the first row; `layers`: the numbers of downward and upward layers of each resolution."""
    (down, up), width = layers[0], grid[1]
    row = jnp.zeros((batch_size, width, filters), dtype)
    sizes = [2 * filters] * 2 * down + [filters] * (len(layers) > 1) + [2 * filters] * 2 * up
    planes = [jnp.zeros((batch_size, 2, width, size), dtype) for size in sizes]
    below = empty_state(half(grid), batch_size, filters, layers[1:], upper=upper, dtype=dtype) if layers[1:] else None
    return State(planes, Values([row] * (down + 1), [row] * up) if upper else row, below)
