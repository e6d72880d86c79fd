"""PixelCNN++ (Salimans, Karpathy, Chen & Kingma, 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.options import depth_option, rate_option
from arjax.core.programs import kernel_of_rows, rows_over_all_axes
from arjax.networks.base import NETWORKS
from arjax.networks.image import shifted_streams as streams
from arjax.networks.image.gated_resnet import GatedStack, dropout_masks, layers_of
from arjax.networks.layers.convolution import Taps
from arjax.networks.layers.grids import flip_dependencies, image_inputs, put_previous
from arjax.networks.layers.steps import to_grid
from arjax.networks.layers.weight_norm import NormalisedConv, NormalisedStretch

#: Kernels of the upper stream: 2x3, the rows above and its own; in the first layer one row down.
DOWN: Taps = tuple((dy, dx) for dy in (-1, 0) for dx in (-1, 0, 1))
FIRST_DOWN: Taps = tuple((dy, dx) for dy in (-2, -1) for dx in (-1, 0, 1))


class Layers(NamedTuple):
    """Equal layers: weights in a form of `GatedStack`; masks for dropout and the index of the first, or None."""

    weights: Any
    masks: tuple[jax.Array, int] | None


#: The layers of each resolution, in the downward and in the upward pass.
Levels = list[tuple[Layers, Layers]]


class Stream(nn.Module):
    """The parameters of one stream: the gated layers of the downward and of the upward pass, one stack each for all
    resolutions, and the layers that change the resolution. `num_layers` are (downward, upward) of each resolution. The
    lower stream also reads the upper stream at the same layer and pixel.
    """

    filters: int
    num_layers: tuple[tuple[int, int], ...]
    upper: bool
    conditional: bool
    dropout: float
    dtype: str

    def setup(self):
        taps, columns = (DOWN, 3) if self.upper else (streams.DOWN_RIGHT, 2)

        def stack(num_layers: int, num_aux: int) -> GatedStack:
            sizes = num_aux * self.filters, self.filters if self.conditional else 0
            return GatedStack(num_layers, self.filters, taps, *sizes, self.dropout, self.dtype)

        num_down, num_up = (sum(nums) for nums in zip(*self.num_layers, strict=True))
        self.down = stack(num_down, 0 if self.upper else 1)
        self.up = stack(num_up, 1 if self.upper else 2)
        gaps = range(len(self.num_layers) - 1)
        self.shrink = [NormalisedConv(self.filters, taps, self.dtype, name=f"shrink_{level}") for level in gaps]
        self.stretch = [NormalisedStretch(self.filters, columns, self.dtype, name=f"stretch_{level}") for level in gaps]

    def layers(self, masks: list[jax.Array]) -> Levels:
        """For whole images; `masks` [L, ...] of each resolution: upper stream down and up, lower stream down and up."""
        down, up = jax.tree.map(kernel_of_rows, (self.down.weights(), self.up.weights()))
        return self._by_level(down, up, masks or [None] * len(self.num_layers))

    def steps(self) -> Levels:
        """For steps, without dropout."""
        return self._by_level(self.down.steps(), self.up.steps(), [None] * len(self.num_layers))

    def _by_level(self, down: Any, up: Any, masks: Sequence[jax.Array | None]) -> Levels:
        """Cuts both stacks into the layers of each resolution."""
        levels, ends = [], np.cumsum(self.num_layers, 0)
        for (num_down, num_up), (end_down, end_up), mask in zip(self.num_layers, ends, masks, strict=True):
            first = 0 if self.upper else num_down + num_up
            masks_down, masks_up = (None, None) if mask is None else ((mask, first), (mask, first + num_down))
            here = Layers(layers_of(down, end_down - num_down, end_down), masks_down)
            levels.append((here, Layers(layers_of(up, end_up - num_up, end_up), masks_up)))
        return levels


@NETWORKS.register("pixelcnn_pp")
class PixelCNNPP(streams.ShiftedNetwork):
    """Two streams of gated residual layers over several resolutions, in a raster-like order, a whole pixel per step.

    The upper stream reads the rows above a pixel, the lower one also the pixels to its left and the upper stream. Both
    go down through `num_scales` resolutions by strided convolutions and up again by transposed ones (section 2.3); a
    lower resolution has the ceiling of half the sides. Each upward layer also reads its downward counterpart (2.4), and
    the context enters every gate. All layers are weight-normalised, without the data-dependent initial values. Levels
    enter as intensities from 0 to 1, beside a channel of ones that distinguishes an image from its padding. The usual
    conditional is `discretized_logistic_mixture`, with coupled channels.

    The step form keeps two rows per convolution. It runs the upper stream once a row, and each lower resolution at
    every second row and column of the one above. Options: `num_filters`, `num_resnets` per resolution of the downward
    pass, `num_scales`, `dropout`.
    """

    num_filters: int = 160
    num_resnets: int = depth_option(5)
    num_scales: int = depth_option(3)
    dropout: float = rate_option(0.5)

    SMALL = {"num_filters": 8, "num_resnets": 1, "num_scales": 2, "dropout": 0.0}

    def setup(self):
        super().setup()
        self.first_down = NormalisedConv(self.num_filters, FIRST_DOWN, self.dtype, shifted=(1, 0))
        shared = {"conditional": bool(self.context_spec), "dropout": self.dropout, "dtype": self.dtype}
        self.upper = Stream(self.num_filters, self._num_layers(), upper=True, **shared)
        self.lower = Stream(self.num_filters, self._num_layers(), upper=False, **shared)

    def _num_layers(self) -> tuple[tuple[int, int], ...]:
        """Layers down and up of each resolution: up again as many as there are values to be read."""
        lowest = self.num_scales - 1
        return tuple((self.num_resnets, self.num_resnets + (level < lowest)) for level in range(self.num_scales))

    def _masks(self, batch: int, grid: tuple[int, int], train: bool) -> list[jax.Array]:
        """The masks for dropout at each resolution, of all its layers; none without dropout."""
        masks = []
        for num in map(sum, self._num_layers()):
            masks.append(dropout_masks(self, self.dropout, train, (2 * num, batch, *grid, 2 * self.num_filters)))
            grid = streams.half(grid)
        return [mask for mask in masks if mask is not None]

    def _run(
        self, layers: Levels, x, view: streams.ImageView, state: streams.State | None, guide: streams.State | None, e
    ) -> streams.State:
        """One stream at the resolutions of `layers`, down and up: its new state; `guide` is the upper one's."""
        level = self.num_scales - len(layers)
        stream = self.upper if guide is None else self.lower
        seen, here = None if guide is None else view.pick(guide.kept), view.here(e)

        def run(stack: GatedStack, layers: Layers, x, aux, *, upwards: bool):
            return view.run_layers(stack.layer(), *layers, x, aux, here, upwards=upwards)

        outputs = run(stream.down, layers[0][0], x, None if seen is None else seen.down[1:], upwards=False)
        down = view.with_input(x, outputs)
        if level + 1 == self.num_scales:
            below, x, skips = None, down[-1], down[:-1]
        else:

            def deeper(network: PixelCNNPP, old: streams.State | None, kept: jax.Array) -> streams.State:
                stream = network.upper if guide is None else network.lower
                small, half_guide = view.shrink(stream.shrink[level], kept), None if guide is None else guide.below
                return network._run(layers[1:], small, view.half(old), old, half_guide, e)

            below = view.when_due(self, deeper, None if state is None else state.below, view.keep(down[-1]))
            x, skips = view.stretch(stream.stretch[level], view.half(below).output(below.kept)), down
        up = run(stream.up, layers[0][1], x, skips if seen is None else (seen.up, skips), upwards=True)
        return streams.State(view.planes, view.store(streams.Values(down, up), state), below)

    @rows_over_all_axes(on_tpus=False)  # the compiler took all 24 GB of a machine
    def __call__(self, x, factorization, context=None, *, train=False):
        inputs = self._with_ones(image_inputs(x, self.event, factorization, self.dtype))
        e = self._encoded(context, factorization)
        view = streams.ImageView(factorization.grid_shape)
        masks = self._masks(x.shape[0], factorization.grid_shape, train)
        upper = self._run(self.upper.layers(masks), self.first_down(inputs), view, None, None, e)
        lower = self._run(self.lower.layers(masks), self._first(inputs), view, None, upper, e)
        return to_grid(self._features(view.output(lower.kept)), factorization)

    def prepare(self):
        self.upper.steps()
        self.lower.steps()

    def start(self, batch_size, factorization, context=None):
        """The inputs with their channel of ones, the states of both streams, and the context."""
        grid = factorization.grid_shape
        upper, lower = (
            streams.empty_state(
                grid, batch_size, self.num_filters, self._num_layers(), upper=is_upper, dtype=self.dtype
            )
            for is_upper in (True, False)
        )
        return self._empty_inputs(batch_size, grid), upper, lower, self._encoded(context, factorization)

    def step(self, carry, canvas, t, factorization, context=None):
        inputs, upper, lower, e = carry
        upper_layers, lower_layers = self.upper.steps(), self.lower.steps()
        grid = factorization.grid_shape
        r, c = jnp.divmod(t, grid[1])
        inputs = put_previous(inputs, canvas, t, self.event, factorization)

        def next_row(network: PixelCNNPP, upper: streams.State, inputs: jax.Array) -> streams.State:
            first = network.first_down.row(inputs, r)
            return network._run(upper_layers, first, streams.RowView(grid, upper, r), upper, None, e)

        upper = nn.cond(c == 0, next_row, lambda network, upper, inputs: upper, self, upper, inputs)
        view = streams.PixelView(grid, lower, r, c)
        lower = self._run(lower_layers, self._first_at(inputs, r, c), view, lower, upper, e)
        features_BF = self._features(view.output(lower.kept)).astype(jnp.float32)
        return (inputs, upper, lower, e), features_BF[:, None]

    def dependencies(self, factorization):
        """The same composition on sets of pixels instead of features."""
        height, width = factorization.grid_shape
        pixels_HWD = np.eye(height * width, dtype=bool).reshape(height, width, -1)
        upper = self._reach(0, _spread(pixels_HWD, FIRST_DOWN), None)
        lower = self._reach(0, _spread(pixels_HWD, (*streams.FIRST_ABOVE, *streams.FIRST_LEFT)), upper)
        return flip_dependencies(lower.kept.up[0].reshape(height * width, -1), factorization)

    def _reach(self, level: int, x: np.ndarray, guide: streams.State | None) -> streams.State:
        """`_run` on sets bool[H, W, D]."""
        taps = DOWN if guide is None else streams.DOWN_RIGHT
        down: list[Any] = [x]
        up: list[Any] = []
        below = None
        for i in range(self.num_resnets):
            x = _resnet_reach(x, taps, *([] if guide is None else [guide.kept.down[i + 1]]))
            down.append(x)
        if level + 1 == self.num_scales:
            skips = down[:-1]
        else:
            small = _spread(x, taps)[::2, ::2]
            below = self._reach(level + 1, small, None if guide is None else guide.below)
            x, skips = _stretched(below.kept.up[0], x.shape[:2], centred=guide is None), down
        for i, skip in reversed(list(enumerate(skips))):
            x = _resnet_reach(x, taps, skip, *([] if guide is None else [guide.kept.up[i]]))
            up.insert(0, x)
        return streams.State([], streams.Values(down, up), below)


def _spread(x_HWD: np.ndarray, taps: Taps) -> np.ndarray:
    """The union over the taps."""
    height, width, _ = x_HWD.shape
    padded = np.pad(x_HWD, ((2, 2), (2, 2), (0, 0)))
    copies = [padded[2 + dy : 2 + dy + height, 2 + dx : 2 + dx + width] for dy, dx in taps]
    return np.logical_or.reduce(copies)


def _resnet_reach(x: np.ndarray, taps: Taps, *aux: np.ndarray) -> np.ndarray:
    return _spread(np.logical_or.reduce([_spread(x, taps), *aux]), taps)


def _stretched(low: np.ndarray, grid: tuple[int, int], *, centred: bool) -> np.ndarray:
    """Sets of the doubled resolution; odd columns of a centred kernel also read the next pixel."""
    high = low.repeat(2, 0).repeat(2, 1)
    if centred:
        high[:, 1:-1:2] |= high[:, 2::2]
    return high[: grid[0], : grid[1]]
