"""PixelCNN++ (Salimans, Karpathy, Chen & Kingma, 2017)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.networks.base import NETWORKS, Network
from arjax.networks.convolution import Taps
from arjax.networks.embedding import ContextEncoder
from arjax.networks.gated_pixelcnn import add_vector
from arjax.networks.grids import (
    check_raster_like,
    from_raster,
    input_size,
    picture_inputs,
    put_previous,
    turn_dependencies,
)
from arjax.networks.two_streams import PictureView, PixelView, RowView, State, Values, empty_state
from arjax.networks.weight_norm import NormalisedConv, NormalisedMix, NormalisedStretch

#: Kernels of the two streams: 2x3, the rows above and its own; 2x2, shifted to the right, the pixels to the left too.
DOWN: Taps = tuple((dy, dx) for dy in (-1, 0) for dx in (-1, 0, 1))
DOWN_RIGHT: Taps = tuple((dy, dx) for dy in (-1, 0) for dx in (-1, 0))
#: First layers, shifted so that no pixel reads itself: 2x3 one row down; 1x3 one row down, and 2x1 one column right.
FIRST_DOWN: Taps = tuple((dy, dx) for dy in (-2, -1) for dx in (-1, 0, 1))
FIRST_ABOVE: Taps = tuple((-1, dx) for dx in (-1, 0, 1))
FIRST_LEFT: Taps = ((-1, -1), (0, -1))


def concat_elu(x: jax.Array) -> jax.Array:
    """[elu(x), elu(-x)], [..., F] -> [..., 2F] (Shang et al., 2016, with elu)."""
    return nn.elu(jnp.concatenate([x, -x], -1))


class GatedResnet(nn.Module):
    """x + a sigma(b), [a, b] = conv_2(drop(f(conv_1(f(x)) + W f(aux)))) + V e: f is concat_elu, e the context (2.5)."""

    filters: int
    taps: Taps
    has_aux: bool
    conditional: bool
    dropout: float
    dtype: str

    def setup(self):
        self.conv_in = NormalisedConv(self.filters, self.taps, self.dtype)
        self.conv_out = NormalisedConv(2 * self.filters, self.taps, self.dtype, gain=0.1)
        self.drop = nn.Dropout(self.dropout)
        if self.has_aux:
            self.aux = NormalisedMix(self.filters, self.dtype)
        if self.conditional:
            self.context = nn.Dense(2 * self.filters, use_bias=False, dtype=self.dtype)

    def __call__(self, x: jax.Array, view: PictureView, aux: jax.Array | None, e_BE: jax.Array | None, train: bool):
        y = view.read(self.conv_in, concat_elu(x))
        if aux is not None:
            y = y + self.aux(concat_elu(aux))
        y = view.read(self.conv_out, self.drop(concat_elu(y), deterministic=not train))
        a, b = jnp.split(y if e_BE is None else add_vector(y, self.context(e_BE)), 2, -1)
        return x + a * nn.sigmoid(b)


class Resolution(nn.Module):
    """The layers of one stream at one resolution, on the way down and on the way up, with what leads to the next one.

    The upper stream reads itself alone; the other also what the upper stream has at the same layer and pixel.
    """

    filters: int
    num_down: int
    num_up: int
    lowest: bool
    upper: bool
    conditional: bool
    dropout: float
    dtype: str

    def setup(self):
        taps = DOWN if self.upper else DOWN_RIGHT

        def layer(name: str, has_aux: bool) -> GatedResnet:
            return GatedResnet(self.filters, taps, has_aux, self.conditional, self.dropout, self.dtype, name=name)

        self.down_layers = [layer(f"down_{i}", not self.upper) for i in range(self.num_down)]
        self.up_layers = [layer(f"up_{i}", True) for i in range(self.num_up)]
        if not self.lowest:
            self.shrink = NormalisedConv(self.filters, taps, self.dtype)
            self.stretch = NormalisedStretch(self.filters, 3 if self.upper else 2, self.dtype)

    def down(self, x, view: PictureView, guide: Values | None, e_BE, train: bool) -> list[jax.Array]:
        """The input and the output of each layer."""
        values = [x]
        for i, layer in enumerate(self.down_layers):
            values.append(layer(values[-1], view, None if guide is None else guide.down[i + 1], e_BE, train))
        return values

    def up(self, x, skips: list, view: PictureView, guide: Values | None, e_BE, train: bool) -> list[jax.Array]:
        """The output of each layer; the last of the skips enters first."""
        values = []
        for i, (layer, skip) in enumerate(zip(self.up_layers, reversed(skips), strict=True)):
            aux = skip if guide is None else jnp.concatenate([guide.up[i], skip], -1)
            x = layer(x, view, aux, e_BE, train)
            values.append(x)
        return values


@NETWORKS.register("pixelcnn_pp")
class PixelCNNPP(Network):
    """Two streams of gated residual layers over several resolutions, in a raster-like order, a whole pixel per step.

    The upper stream sees the rows above a pixel, the other also the pixels to its left and the upper stream. Both go
    down through `num_scales` resolutions by strided convolutions and up again by transposed ones (section 2.3); each
    layer on the way up also reads its mirror image on the way down (2.4), and the context enters every gate. Side
    lengths need not be even: a lower resolution has the ceiling of the half, and what sticks out is cut off.

    All layers are weight-normalised, without the data-dependent initial values. Levels enter as intensities from 0 to
    1, beside a channel of ones which tells a picture from its padding. The usual conditional is
    `discretized_logistic_mixture`, whose channels are coupled.

    The step form keeps two rows per convolution. It runs the upper stream once a row, and each lower resolution at
    every second row and column of the one above.

    Options: `num_filters`, `num_resnets` per resolution on the way down, `num_scales`, `dropout`.
    """

    num_filters: int = 160
    num_resnets: int = 5
    num_scales: int = 3
    dropout: float = 0.5

    SMALL = {"num_filters": 8, "num_resnets": 1, "num_scales": 2, "dropout": 0.0}

    @classmethod
    def check(cls, event, factorization, options):
        check_raster_like("pixelcnn_pp", event, factorization)

    def setup(self):
        conditional = self.context_spec.kind != "none"
        self.first_down = NormalisedConv(self.num_filters, FIRST_DOWN, self.dtype, shifted=(1, 0))
        self.first_above = NormalisedConv(self.num_filters, FIRST_ABOVE, self.dtype, shifted=(1, 0))
        self.first_left = NormalisedConv(self.num_filters, FIRST_LEFT, self.dtype, shifted=(0, 1))

        def stream(name: str) -> list[Resolution]:
            return [
                Resolution(
                    self.num_filters,
                    down,
                    up,
                    lowest=level + 1 == self.num_scales,
                    upper=name == "upper",
                    conditional=conditional,
                    dropout=self.dropout,
                    dtype=self.dtype,
                    name=f"{name}_{level}",
                )
                for level, (down, up) in enumerate(self._num_layers())
            ]

        self.upper, self.lower = stream("upper"), stream("lower")
        self.out = NormalisedMix(self.num_features, self.dtype)
        if conditional:
            self.context = ContextEncoder(self.context_spec, self.num_filters, self.dtype)

    def _num_layers(self) -> list[tuple[int, int]]:
        """Layers down and up of each resolution: up again as many as there are values to be read."""
        lowest = self.num_scales - 1
        return [(self.num_resnets, self.num_resnets + (level < lowest)) for level in range(self.num_scales)]

    def _run(self, level: int, x, view: PictureView, state: State | None, guide: State | None, e_BE, train=False):
        """One stream from resolution `level` downwards and back: its new state. `guide` is that of the upper one."""
        layers = (self.upper if guide is None else self.lower)[level]
        seen = None if guide is None else view.pick(guide.kept)
        down = layers.down(x, view, seen, e_BE, train)
        if level + 1 == self.num_scales:
            below, x, skips = None, down[-1], down[:-1]
        else:

            def run(network: PixelCNNPP, old: State | None, kept: jax.Array) -> State:
                stream = network.upper if guide is None else network.lower
                small, deeper = view.shrink(stream[level].shrink, kept), None if guide is None else guide.below
                return network._run(level + 1, small, view.half(old), old, deeper, e_BE, train)

            below = view.when_due(self, run, None if state is None else state.below, view.keep(down[-1]))
            x = view.stretch(layers.stretch, view.half(below).output(below.kept))
            skips = down
        up = layers.up(x, skips, view, seen, e_BE, train)
        return State(view.planes, view.store(Values(down, up), state), below)

    def _features(self, lower: jax.Array) -> jax.Array:
        return self.out(nn.elu(lower))

    def __call__(self, x, factorization, context=None, *, train=False):
        inputs = picture_inputs(x, self.event, factorization, self.dtype)
        inputs = jnp.concatenate([inputs, jnp.ones_like(inputs[..., :1])], -1)
        e_BE = None if context is None else self.context(context)
        view = PictureView(factorization.grid_shape)
        upper = self._run(0, self.first_down(inputs), view, None, None, e_BE, train)
        first = self.first_above(inputs) + self.first_left(inputs)
        lower = self._run(0, first, view, None, upper, e_BE, train)
        return from_raster(self._features(view.output(lower.kept)), factorization)

    def init_carry(self, batch_size, factorization, context=None):
        """The inputs with their channel of ones, the states of both streams, and the context."""
        grid = factorization.grid_shape
        zeros = jnp.zeros((batch_size, *grid, input_size(self.event)), self.dtype)
        inputs = jnp.concatenate([zeros, jnp.ones_like(zeros[..., :1])], -1)
        upper, lower = (
            empty_state(grid, batch_size, self.num_filters, self._num_layers(), upper=is_upper, dtype=self.dtype)
            for is_upper in (True, False)
        )
        return inputs, upper, lower, None if context is None else self.context(context)

    def step(self, carry, canvas, t, factorization, context=None):
        inputs, upper, lower, e_BE = carry
        grid = factorization.grid_shape
        r, c = jnp.divmod(t, grid[1])
        inputs = put_previous(inputs, canvas, t, self.event, factorization)

        def next_row(network: PixelCNNPP, upper: State, inputs: jax.Array) -> State:
            first = network.first_down.row(inputs, r)
            return network._run(0, first, RowView(grid, upper, r), upper, None, e_BE)

        upper = nn.cond(c == 0, next_row, lambda network, upper, inputs: upper, self, upper, inputs)
        first = self.first_above.at(inputs, r, c) + self.first_left.at(inputs, r, c)
        view = PixelView(grid, lower, r, c)
        lower = self._run(0, first, view, lower, upper, e_BE)
        features_BF = self._features(view.output(lower.kept)).astype(jnp.float32)
        return (inputs, upper, lower, e_BE), features_BF[:, None]

    def dependencies(self, factorization):
        """The same composition on sets of pixels instead of features."""
        height, width = factorization.grid_shape
        pixels_HWD = np.eye(height * width, dtype=bool).reshape(height, width, -1)
        upper = self._reach(0, _spread(pixels_HWD, FIRST_DOWN), None)
        lower = self._reach(0, _spread(pixels_HWD, (*FIRST_ABOVE, *FIRST_LEFT)), upper)
        return turn_dependencies(lower.kept.up[-1].reshape(height * width, -1), factorization)

    def _reach(self, level: int, x: np.ndarray, guide: State | None) -> State:
        """`_run` on sets bool[H, W, D]."""
        taps = DOWN if guide is None else DOWN_RIGHT
        down, up, below = [x], [], None
        for i in range(self.num_resnets):
            x = _resnet_reach(x, taps, *([] if guide is None else [guide.kept.down[i + 1]]))
            down.append(x)
        if level + 1 == self.num_scales:
            skips = down[:-1]
        else:
            small = _spread(x, taps)[::2, ::2]
            below = self._reach(level + 1, small, None if guide is None else guide.below)
            x, skips = _stretched(below.kept.up[-1], x.shape[:2], centred=guide is None), down
        for i, skip in enumerate(reversed(skips)):
            x = _resnet_reach(x, taps, skip, *([] if guide is None else [guide.kept.up[i]]))
            up.append(x)
        return State([], Values(down, up), below)


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
