"""Two-dimensional recurrences over an image, stacked as in van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel Recurrent
Neural Networks" (2016): a masked 7x7 convolution, residual LSTM layers, and two layers of 1x1 convolutions.

Shape letters here: H W the image, P the columns of the maps (W, and the margin), C maps of a condition, G = 4U gates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.spec import EventSpec
from arjax.factorization import Factorization
from arjax.networks.base import Context, Network, check_remat
from arjax.networks.layers.blocks import apply_layer, prepare_layers
from arjax.networks.layers.convolution import TapConv, TapMix, compose, raster_taps, tap_graph
from arjax.networks.layers.embedding import flat_sites
from arjax.networks.layers.grids import (
    check_raster_like,
    flip_dependencies,
    from_raster,
    image_inputs,
    pixel_inputs,
    raster_context,
)
from arjax.networks.layers.local_context import context_encoder, everywhere

#: Reads the inputs at some pixels: (rows int[K], columns int[K]), which may lie outside -> [B, K, n].
ReadPixels = Callable[[jax.Array, jax.Array], jax.Array]
#: The sites of pixels: (rows int[K], columns int[K]) -> int[K].
SiteAt = Callable[[jax.Array, jax.Array], jax.Array]
#: The 7x7 kernel of the first layer, mask A (section 4).
INPUT_TAPS = raster_taps(3, 3, centre=False)


def condition_at(condition_BHWC: jax.Array, r: jax.Array, c: jax.Array) -> jax.Array:
    """The condition of one position, [B, C]; a condition of one pixel is the same everywhere."""
    batch, height, width, channels = condition_BHWC.shape
    if (height, width) == (1, 1):
        return condition_BHWC[:, 0, 0]
    value = jax.lax.dynamic_slice(condition_BHWC, (0, r, c, 0), (batch, 1, 1, channels))[:, 0, 0]
    return jnp.where(c < width, value, 0)


class PixelRNNCore(nn.Module):
    """Maps the inputs of an image in raster order to features, [B, H, W, n] -> [B, H, W, F].

    Figure 5 (right): layers read and add to maps of 2U features; each also sends maps to the output ("layer-to-output
    connections", section 4). Then two times relu and a 1x1 convolution, and the parameters of the distribution. A
    condition is mapped to the gates of every layer and added to their inputs (section 3.6).

    Subclasses name the layer. `MARGIN` columns beyond the right edge are computed like pixels, without a value.
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

    LAYER: ClassVar[type[nn.Module]]
    MARGIN: ClassVar[int] = 0

    def setup(self):
        self.input = TapConv(2 * self.hidden_size, INPUT_TAPS, self.dtype)
        layer = nn.remat(self.LAYER, prevent_cse=False, static_argnums=(3,)) if self.remat else self.LAYER
        scanned = nn.scan(
            layer,
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=(nn.broadcast, nn.broadcast),
            length=self.num_layers,
            unroll=min(self.unroll, self.num_layers),
        )
        # An explicit name: toggling remat must change neither parameter paths nor initial values.
        self.layers = scanned(**self.layer_fields(), name="layers")
        self.hidden_0 = TapMix(self.readout_size, self.dtype)
        self.hidden_1 = TapMix(self.readout_size, self.dtype)
        self.out = TapMix(self.num_features, self.dtype)

    def layer_fields(self) -> dict[str, Any]:
        """The fields of a layer; subclasses with more options add to them."""
        return {
            "hidden_size": self.hidden_size,
            "dropout": self.dropout,
            "conditioned": self.conditioned,
            "dtype": self.dtype,
        }

    @property
    def map_shape(self) -> tuple[int, int]:
        """(H, P)."""
        return self.grid_shape[0], self.grid_shape[1] + self.MARGIN

    def readout(self, maps: jax.Array, to_output: jax.Array) -> jax.Array:
        """Maps [..., 2U] and the sum of the layer-to-output connections [..., 2U] -> float32 features [..., F]."""
        hidden = self.hidden_0(nn.relu(maps + to_output))
        return self.out(nn.relu(self.hidden_1(nn.relu(hidden)))).astype(jnp.float32)

    def __call__(self, inputs_BHWn: jax.Array, condition: jax.Array | None, train: bool) -> jax.Array:
        """`condition` is [B, H, W, C], [B, 1, 1, C] (the same for all pixels), or None."""
        if condition is not None and condition.shape[1:3] != (1, 1):
            condition = jnp.pad(condition, ((0, 0), (0, 0), (0, self.MARGIN), (0, 0)))
        maps = self.input(jnp.pad(inputs_BHWn, ((0, 0), (0, 0), (0, self.MARGIN), (0, 0))))
        (maps, to_output), _ = self.layers((maps, jnp.zeros_like(maps)), condition, train)
        width = self.grid_shape[1]
        return self.readout(maps[:, :, :width], to_output[:, :, :width])

    def prepare(self) -> None:
        """Slices the parameters of the layers."""
        prepare_layers(self.layers, self.num_layers)

    def init_carry(self, batch_size: int) -> tuple[jax.Array, list[Any]]:
        """The number of positions computed so far, and the caches of the layers."""
        layer = self.LAYER(**self.layer_fields(), parent=None)
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
        to_output, new = jnp.zeros_like(maps), []
        layer = self.LAYER(**self.layer_fields(), parent=None)
        here = None if condition is None else condition_at(condition, r, c)
        for i, cache in enumerate(caches):
            inputs = cache, maps, to_output, here, r, c
            cache, maps, to_output = apply_layer(layer, self.layers, i, *inputs, method="step")
            new.append(cache)
        return new, (maps, to_output)

    def advance(self, carry, read: ReadPixels, condition: jax.Array | None, site: jax.Array):
        """Computes all positions up to a site (its number in raster order): carry -> (carry, features [B, F]).

        One position for most sites; more where positions without a value of their own lie between.
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

    def layer_reach(self) -> np.ndarray:
        """bool[H P, H P]: [i, j] iff the output of a layer at position i reads its input at position j."""
        raise TypeError(f"{type(self).__name__} declares no reach")


def pixel_reader(canvas: jax.Array, event: EventSpec, dtype: str, site_at: SiteAt) -> ReadPixels:
    """Reads the inputs at the pixels of an image from a canvas, with the value of each pixel at its site."""
    values_BDv = flat_sites(canvas, event)

    def read(rows_K: jax.Array, columns_K: jax.Array) -> jax.Array:
        sites_K = site_at(rows_K, columns_K)
        return pixel_inputs(jnp.take(values_BDv, sites_K, axis=1, mode="clip"), event, dtype)

    return read


class PixelRNNFamily(Network):
    """Options shared by networks with one core and with several, and the context as a condition of their cores.

    Options: `hidden_size` U (the maps between layers have 2U features), `num_layers`, `readout_size` of the two 1x1
    layers, `dropout` on the states, `remat` (recompute layers in the backward pass; needs `unroll=1`), `unroll` (layers
    per iteration of the scan over layers: 1 compiles fastest, `num_layers` runs fastest).
    """

    hidden_size: int = 32
    num_layers: int = 7
    readout_size: int = 64
    dropout: float = 0.0
    remat: bool = False
    unroll: int = 7

    def setup(self):
        if self.context_spec:
            self.context = context_encoder(self.context_spec, self.event, 2 * self.hidden_size, self.dtype)

    def core_fields(self) -> dict[str, Any]:
        """The fields of a core for the whole image; subclasses with more options add to them."""
        return {
            "grid_shape": self.event.grid_shape,
            "num_features": self.num_features,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "readout_size": self.readout_size,
            "dropout": self.dropout,
            "remat": self.remat,
            "unroll": self.unroll,
            "conditioned": bool(self.context_spec),
            "dtype": self.dtype,
        }

    def _encoded(self, context: Context | None) -> jax.Array | None:
        """The encoded context; its pixels are those of the image as given."""
        return None if context is None else self.context(context)


class PixelRNN(PixelRNNFamily):
    """One core on an image in a raster-like order; subclasses name the core."""

    NAME: ClassVar[str]
    CORE: ClassVar[type[PixelRNNCore]]

    @classmethod
    def check(cls, event, factorization, options):
        check_raster_like(cls.NAME, event, factorization)
        check_remat(options)

    def setup(self):
        super().setup()
        self.core = self.CORE(**self.core_fields())

    def _from_context(self, context: Context | None, factorization: Factorization) -> jax.Array | None:
        """The context as a condition of the flipped or transposed image: [B, H, W, 2U] with local parts, else the same
        for all pixels, [B, 1, 1, 2U].
        """
        e = self._encoded(context)
        return None if e is None else everywhere(raster_context(e, factorization), 4)

    def dependencies(self, factorization):
        return flip_dependencies(self.CORE(**self.core_fields(), parent=None).reach(), factorization)

    def __call__(self, x, factorization, context=None, *, train=False):
        inputs_BHWn = image_inputs(x, self.event, factorization, self.dtype)
        features = self.core(inputs_BHWn, self._from_context(context, factorization), train)
        return from_raster(features, factorization)

    def prepare(self):
        self.core.prepare()

    def init_carry(self, batch_size, factorization, context=None):
        return self.core.init_carry(batch_size), self._from_context(context, factorization)

    def step(self, carry, canvas, t, factorization, context=None):
        carry, condition = carry
        width, order_D = self.event.grid_shape[1], jnp.asarray(factorization.order)

        def site_at(rows_K: jax.Array, columns_K: jax.Array) -> jax.Array:
            return jnp.take(order_D, rows_K * width + columns_K, mode="clip")

        read = pixel_reader(canvas, self.event, self.dtype, site_at)
        carry, features_BF = self.core.advance(carry, read, condition, t)
        return (carry, condition), features_BF[:, None]
