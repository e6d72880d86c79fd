"""Pixel recurrent neural networks (van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel Recurrent Neural Networks", 2016):
a masked 7x7 convolution, residual LSTM layers, either Row LSTM (section 3.1) or Diagonal BiLSTM (3.2), and two layers
of 1x1 convolutions.

Shape letters here: H W the image, P the columns of the maps (W, and the margin), C maps of a condition, N positions
that are computed together, R states read by the gates of a position, G = 4U gates.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.options import depth_option, rate_option
from arjax.core.programs import by_rows, gathered, program_device, rows_over_all_axes
from arjax.core.spec import EventSpec
from arjax.networks.base import NETWORKS, Network, check_remat, fields_from
from arjax.networks.layers.blocks import Stack
from arjax.networks.layers.convolution import TapConv, TapMix, compose, pixel, raster_taps, tap_graph
from arjax.networks.layers.embedding import flat_sites, pixel_inputs
from arjax.networks.layers.grids import RasterNetwork, check_odd, flip_dependencies, image_inputs
from arjax.networks.layers.local_context import add_context, context_encoder
from arjax.networks.layers.steps import to_grid

#: Gathers the states that the gates of a step read: [..., N, U] -> [..., N, R].
ReadStates = Callable[[jax.Array], jax.Array]
#: Reads the inputs at some pixels: (rows int[K], columns int[K]), which may lie outside -> [B, K, n].
ReadPixels = Callable[[jax.Array, jax.Array], jax.Array]
#: The sites of pixels: (rows int[K], columns int[K]) -> int[K].
SiteAt = Callable[[jax.Array, jax.Array], jax.Array]
#: The 7x7 kernel of the first layer, mask A (section 4).
INPUT_TAPS = raster_taps(3, 3, centre=False)


def lstm_cell(z: jax.Array, c: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Equation 3: the gates o, f, i, g from their inputs z [..., 4U], and the cell c [..., U] -> (c, h). The cell is a
    long sum, and a forget gate near 1 would round to 1: both are float32 in any compute type.
    """
    size, gates = c.shape[-1], z.astype(jnp.float32)
    o, f, i = jnp.split(nn.sigmoid(gates[..., : 3 * size]), 3, axis=-1)
    c = f * c + i * jnp.tanh(gates[..., 3 * size :])
    return c, (o * jnp.tanh(c)).astype(z.dtype)


def _step(read: ReadStates, kernel: jax.Array, c: jax.Array, h: jax.Array, z: jax.Array):
    return lstm_cell(z + read(h) @ kernel.astype(z.dtype), c)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def lstm_scan(read: ReadStates, kernel: jax.Array, z_TNG: jax.Array) -> jax.Array:
    """All steps of a convolutional LSTM that starts from zeros, with the gates z + read(h) K: the states
    [T, ..., N, U]. The backward pass recomputes the gates: keeping them takes several times the memory and, on CPU, 1.4
    times as long.
    """
    return _scan(read, kernel, z_TNG)[1]


def _scan(read: ReadStates, kernel: jax.Array, z_TNG: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The cells and the states."""

    def body(state, z_NG):
        state = _step(read, kernel, *state, z_NG)
        return state, state

    return jax.lax.scan(body, _zeros(z_TNG), z_TNG)[1]


def _zeros(z_TNG: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The cells and states before the first step."""
    shape = (*z_TNG.shape[1:-1], z_TNG.shape[-1] // 4)
    return jnp.zeros(shape, jnp.float32), jnp.zeros(shape, z_TNG.dtype)


@lstm_scan.defjvp
def _lstm_scan_jvp(read: ReadStates, primals: tuple, tangents: tuple):
    (kernel, z_TNG), (d_kernel, d_z_TNG) = primals, tangents
    cells, states = _scan(read, kernel, z_TNG)
    start = _zeros(z_TNG)
    before = [jnp.concatenate([zero[None], all[:-1]]) for zero, all in zip(start, (cells, states), strict=True)]

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def body(tangent, inputs):
        c, h, z, d_z = inputs
        _, tangent = jax.jvp(functools.partial(_step, read), (kernel, c, h, z), (d_kernel, *tangent, d_z))
        return tangent, tangent[1]

    _, d_states = jax.lax.scan(body, start, (*before, z_TNG, d_z_TNG))
    return states, d_states


def gate_bias(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """0, and 1 for the forget gate (the second of four), so that a new cell remembers (Jozefowicz et al., 2015)."""
    size = shape[-1] // 4
    return jnp.zeros(shape).at[..., size : 2 * size].set(1.0)


class PixelRNNLayer(nn.Module):
    """The parts that all layers share: the inputs of the gates, and the maps that states add to the output."""

    hidden_size: int
    dropout: float
    conditioned: bool
    dtype: str

    #: Recurrences of a layer, with gates of their own.
    DIRECTIONS: ClassVar[int] = 1

    def setup(self):
        if self.conditioned:
            self.from_condition = TapMix(4 * self.DIRECTIONS * self.hidden_size, self.dtype, use_bias=False)
        self.up = TapMix(4 * self.hidden_size, self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def _gates(self, from_maps: jax.Array, condition: jax.Array | None) -> jax.Array:
        """The inputs of the gates without the contribution of the states."""
        z = from_maps + self.bias.astype(self.dtype).reshape(-1)
        return z if condition is None else add_context(z, self.from_condition(condition))

    def _add(self, maps: jax.Array, to_output: jax.Array, h: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Two 1x1 convolutions of the states: one is added to the maps, one is sent to the output."""
        up, out = jnp.split(self.up(self.drop(h, deterministic=not train)), 2, axis=-1)
        return maps + up, to_output + out


class PixelRNNCore(Stack):
    """Maps the inputs of an image in raster order to features, [B, H, W, n] -> [B, H, W, F] (figure 5, right). Layers
    read and add to maps of 2U features; each also sends maps to the output ("layer-to-output connections", section 4).
    Then come relu and a 1x1 convolution twice, and the parameters of the distribution. A condition is mapped to the
    gates of every layer and added to their inputs (section 3.6). `MARGIN` columns beyond the right edge are computed
    like pixels, without a value. Subclasses name the layer, and define `layer_reach()`, bool[H P, H P]: [i, j] iff the
    output of a layer at position i reads its input at position j.
    """

    grid_shape: tuple[int, int]
    num_features: int
    hidden_size: int
    num_layers: int
    readout_size: int
    dropout: float
    remat: bool
    unroll: int
    conditioned: bool
    dtype: str

    MARGIN: ClassVar[int] = 0
    READOUT = ("out",)

    def setup(self):
        self.input = TapConv(2 * self.hidden_size, INPUT_TAPS, self.dtype)
        self.layers = self.stack(unroll=min(self.unroll, self.num_layers), num_inputs=2, static=(3,))
        self.hidden_0 = TapMix(self.readout_size, self.dtype)
        self.hidden_1 = TapMix(self.readout_size, self.dtype)
        self.out = TapMix(self.num_features, self.dtype)

    @property
    def map_shape(self) -> tuple[int, int]:
        """(H, P)."""
        return self.grid_shape[0], self.grid_shape[1] + self.MARGIN

    def readout(self, maps: jax.Array, to_output: jax.Array) -> jax.Array:
        """Maps [..., 2U] and the sum of the layer-to-output connections [..., 2U] -> float32 features [..., F]."""
        hidden = self.hidden_0(nn.relu(maps + to_output))
        return self.out(nn.relu(self.hidden_1(nn.relu(hidden)))).astype(jnp.float32)

    @rows_over_all_axes()
    def __call__(self, inputs_BHWn: jax.Array, condition: jax.Array | None, train: bool) -> jax.Array:
        """`condition` is [B, H, W, C], [B, C] (the same for all pixels), or None."""
        if condition is not None and condition.ndim == 4:
            condition = jnp.pad(condition, ((0, 0), (0, 0), (0, self.MARGIN), (0, 0)))
        maps = by_rows(self.input(jnp.pad(inputs_BHWn, ((0, 0), (0, 0), (0, self.MARGIN), (0, 0)))))
        (maps, to_output), _ = self.layers((maps, jnp.zeros_like(maps)), condition, train)
        width = self.grid_shape[1]
        return self.readout(maps[:, :, :width], to_output[:, :, :width])

    def start(self, batch_size: int) -> tuple[jax.Array, list[Any]]:
        """The number of positions computed so far, and the caches of the layers."""
        layer: Any = self.one_layer()
        return jnp.int32(0), [layer.init_cache(batch_size, self.map_shape) for _ in range(self.num_layers)]

    def _input_at(self, read: ReadPixels, r: jax.Array, c: jax.Array) -> jax.Array:
        """The first layer at one position, [B, 2U]."""
        taps = np.array(INPUT_TAPS)
        rows_K, columns_K = r + taps[:, 0], c + taps[:, 1]
        inside_K = (rows_K >= 0) & (columns_K >= 0) & (columns_K < self.grid_shape[1])
        inputs_BKn = jnp.where(inside_K[:, None], read(rows_K, columns_K), 0)
        return self.input.mix(inputs_BKn.reshape(inputs_BKn.shape[0], -1))

    def position(self, caches, read: ReadPixels, condition: jax.Array | None, r: jax.Array, c: jax.Array):
        """One position of the maps: caches -> (caches, (maps, to_output)), [B, 2U] each."""
        maps = self._input_at(read, r, c)
        here = pixel(condition, r, c) if condition is not None and condition.ndim == 4 else condition
        return self.through_layers(caches, (maps, jnp.zeros_like(maps)), here, r, c, method="step")

    def advance(self, carry, read: ReadPixels, condition: jax.Array | None, site: jax.Array):
        """Computes all positions up to a site (its number in raster order): carry -> (carry, features [B, F]). This is
        one position for most sites, and more where positions without a value lie between.
        """
        done, caches = carry
        columns = self.map_shape[1]
        upto = site // self.grid_shape[1] * columns + site % self.grid_shape[1]
        core, variables = self.clone(parent=None), self.variables

        def body(state):
            n, caches, _ = state
            place = n // columns, n % columns
            return n + 1, *core.apply(variables, caches, read, condition, *place, method="position")

        zeros = jnp.zeros((jax.tree.leaves(caches)[0].shape[0], 2 * self.hidden_size), self.dtype)
        done, caches, maps = jax.lax.while_loop(lambda state: state[0] <= upto, body, (done, caches, (zeros, zeros)))
        return (done, caches), self.readout(*maps)

    def reach(self) -> np.ndarray:
        """bool[D, D]: [i, j] iff a path through all layers leads from pixel j to the features of pixel i."""
        real = self._real()
        return self._through_layers(tap_graph(*self.map_shape, INPUT_TAPS))[np.ix_(real, real)]

    def condition_reach(self, condition_DK: np.ndarray) -> np.ndarray:
        """bool[D, K]: the dependencies of the features on the K inputs of a condition; `condition_DK` are its own."""
        enters = np.zeros((self._real().size, condition_DK.shape[1]), bool)
        enters[self._real()] = condition_DK
        return self._through_layers(enters)[self._real()]

    def _through_layers(self, reads: np.ndarray) -> np.ndarray:
        return compose(*[self.layer_reach()] * self.num_layers, reads)

    def _real(self) -> np.ndarray:
        """bool[H P]: whether each position is a pixel, not margin."""
        height, columns = self.map_shape
        return np.tile(np.arange(columns) < self.grid_shape[1], height)


def pixel_reader(canvas: jax.Array, event: EventSpec, dtype: str, site_at: SiteAt) -> ReadPixels:
    """Reads the inputs at the pixels of an image from a canvas, with the value of each pixel at its site."""
    values_BDv = flat_sites(canvas, event)

    def read(rows_K: jax.Array, columns_K: jax.Array) -> jax.Array:
        sites_K = site_at(rows_K, columns_K)
        return pixel_inputs(jnp.take(values_BDv, sites_K, axis=1, mode="clip"), event, dtype)

    return read


class PixelRNNFamily(Network):
    """Options shared by networks with one core and with several, and the context as a condition of their cores:
    `hidden_size` U (the maps between layers have 2U features), `num_layers`, `readout_size` of the two 1x1 layers,
    `dropout` on the states, `remat` (recompute layers in the backward pass; needs `unroll=1`), `unroll` (layers per
    iteration of the scan over layers: 1 compiles fastest, `num_layers` runs fastest).
    """

    hidden_size: int = 32
    num_layers: int = depth_option(7)
    readout_size: int = 64
    dropout: float = rate_option()
    remat: bool = False
    unroll: int = 7

    def setup(self):
        if self.context_spec:
            self.context = context_encoder(self.context_spec, self.event, 2 * self.hidden_size, self.dtype)


class PixelRNN(PixelRNNFamily, RasterNetwork):
    """One core on an image in a raster-like order; subclasses name the core."""

    CORE: ClassVar[type[PixelRNNCore]]

    def check(self, factorization):
        super().check(factorization)
        check_remat(self)

    def core_fields(self) -> dict[str, Any]:
        return fields_from(self, self.CORE, grid_shape=self.event.grid_shape, conditioned=bool(self.context_spec))

    def setup(self):
        super().setup()
        self.core = self.CORE(**self.core_fields())

    def dependencies(self, factorization):
        return flip_dependencies(self.CORE(**self.core_fields(), parent=None).reach(), factorization)

    def __call__(self, x, factorization, context=None, *, train=False):
        inputs_BHWn = image_inputs(x, self.event, factorization, self.dtype)
        features = self.core(inputs_BHWn, self._encoded(context, factorization), train)
        return to_grid(features, factorization)

    def prepare(self):
        self.core.prepare()

    def start(self, batch_size, factorization, context=None):
        return self.core.start(batch_size), self._encoded(context, factorization)

    def step(self, carry, canvas, t, factorization, context=None):
        carry, condition = carry
        width, order_D = self.event.grid_shape[1], jnp.asarray(factorization.order)

        def site_at(rows_K: jax.Array, columns_K: jax.Array) -> jax.Array:
            return jnp.take(order_D, rows_K * width + columns_K, mode="clip")

        read = pixel_reader(canvas, self.event, self.dtype, site_at)
        carry, features_BF = self.core.advance(carry, read, condition, t)
        return (carry, condition), features_BF[:, None]


class RowLSTMLayer(PixelRNNLayer):
    """An LSTM that runs down the image, a whole row at a time (equation 3). The gates read the map below by a k x 1
    convolution along the row with mask B, for all rows at once, and the state of the row above by a k x 1 convolution
    without a mask. So a state depends on a triangle above it.
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

        z_HNG = by_rows(z_HBWG, 1).reshape(height, batch * width, gates)
        h_HNU = lstm_scan(read, gathered(self.state_kernel), z_HNG)
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
    """PixelRNN with Row LSTM layers, on images in raster-like orders. The receptive field is not the whole past: a
    pixel depends on a triangle of the rows above it, and on the pixels to its left as far as `num_layers` layers reach.
    Options: as `PixelRNNFamily`, and `kernel_size` k of both convolutions (odd, at least 3).
    """

    kernel_size: int = depth_option(3, least=3)

    CORE = RowLSTMCore
    SMALL = {"hidden_size": 10, "num_layers": 2, "readout_size": 16}

    def check(self, factorization):
        check_odd(self, "kernel_size")
        super().check(factorization)


#: Inputs of the gates outside the image: all gates are closed, so that cells and states are exactly 0 there.
SHUT = -1e9
#: Images side by side on CPUs, where less is wasted of each step.
CPU_STRIP = 4


def skew(x_HWC: jax.Array, fill: float) -> jax.Array:
    """Offsets each row by one position to the row above, [..., H, W, C] -> [..., H, W + H - 1, C]: column d holds the
    diagonal of pixels with r + c = d, and `fill` beyond its ends.
    """
    *batch, height, width, channels = x_HWC.shape
    padded = jnp.pad(x_HWC, ((0, 0),) * (len(batch) + 1) + ((0, height), (0, 0)), constant_values=fill)
    flat = padded.reshape(*batch, height * (width + height), channels)[..., : height * (width + height - 1), :]
    return flat.reshape(*batch, height, width + height - 1, channels)


def unskew(x_HTC: jax.Array, width: int) -> jax.Array:
    """The inverse of `skew`: [..., H, W + H - 1, C] -> [..., H, W, C]."""
    *batch, height, length, channels = x_HTC.shape
    flat = x_HTC.reshape(*batch, height * length, channels)
    flat = jnp.pad(flat, ((0, 0),) * len(batch) + ((0, height), (0, 0)))
    return flat.reshape(*batch, height, length + 1, channels)[..., :width, :]


class DiagonalBiLSTMLayer(PixelRNNLayer):
    """Two LSTMs that run along the diagonals, one from the left corner and one from the right. The state of a pixel is
    computed from the states before it in its row and above it, a 2x1 convolution over the column of the skewed map; the
    cell from the one before it in its row. The gates read the map below at the pixel itself (1x1, mask B). The states
    from the right depend on pixels to the right, so they are shifted down by one row before they are added to those
    from the left: there, all these pixels are in the past.
    """

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
        """The states [2, B, H, P, U] of both directions, each from the left corner of its image. On CPUs a strip of
        images side by side, with a column of closed gates after each, forms one wide image, since half of the columns
        of a skewed image are empty. On accelerators single images are best, as they need the fewest steps.
        """
        z_2BHPG, (_, batch, height, columns, gates) = by_rows(z_2BHPG, 1), z_2BHPG.shape
        strip = math.gcd(batch, CPU_STRIP if program_device().platform == "cpu" else 1)
        shape = (2, batch // strip, strip, height, columns + 1)
        spaced = jnp.pad(z_2BHPG, ((0, 0),) * 3 + ((0, 1), (0, 0)), constant_values=SHUT)
        wide = jnp.swapaxes(spaced.reshape(*shape, gates), 2, 3).reshape(2, batch // strip, height, -1, gates)
        z_T2NG = jnp.moveaxis(skew(wide, SHUT), 3, 0).reshape(-1, 2, batch // strip * height, gates)

        def read(h_2NU: jax.Array) -> jax.Array:
            by_row = h_2NU.reshape(2, -1, height, self.hidden_size)
            above = jnp.pad(by_row[:, :, :-1], ((0, 0), (0, 0), (1, 0), (0, 0)))
            return jnp.concatenate([h_2NU, above.reshape(h_2NU.shape)], -1)

        h_T2NU = lstm_scan(read, gathered(self.state_kernel), z_T2NG)
        skewed = jnp.moveaxis(h_T2NU.reshape(len(h_T2NU), 2, -1, height, self.hidden_size), 0, 3)
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
    """The Diagonal BiLSTM on an image in raster order, with one column of margin. Without it no map of a row would
    depend on the last value of the row, and pixels on the far left of the next row could not read it, as states from
    the right are shifted by a row. With it these states start from the whole row, and the receptive field is the whole
    past.
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
    """PixelRNN with Diagonal BiLSTM layers, on images in raster-like orders; every pixel depends on the whole past."""

    CORE = DiagonalBiLSTMCore
    SMALL = {"hidden_size": 8, "num_layers": 2, "readout_size": 16}
