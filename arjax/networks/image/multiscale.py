"""Multi-Scale PixelRNN (van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel Recurrent Neural Networks", 2016, 3.6)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import refuse, say_once
from arjax.core.options import depth_option, opt
from arjax.factorization.orderings import multiscale, scales
from arjax.networks.base import NETWORKS, Context, check_remat, fields_from
from arjax.networks.image.pixel_rnn import DiagonalBiLSTMCore, PixelRNNFamily, ReadPixels, RowLSTMCore, pixel_reader
from arjax.networks.layers.convolution import TapConv, compose, square_taps, tap_graph
from arjax.networks.layers.embedding import flat_sites, pixel_inputs
from arjax.networks.layers.grids import check_image, check_odd
from arjax.networks.layers.local_context import add_context

CORES = {"row_lstm": RowLSTMCore, "diagonal_bilstm": DiagonalBiLSTMCore}
#: A 3x3 kernel, not masked: the whole coarse image is in the past.
AROUND = square_taps(3)


class Upsampler(nn.Module):
    """The deconvolutional network: a coarse image -> maps of the size of the finer one. 3x3 convolutions and relu on
    the coarse image; then a deconvolution with a kernel of 3 f and a stride of f, as a convolution to f x f pixels at
    each coarse one.
    """

    grid_shape: tuple[int, int]
    width: int
    num_layers: int
    factor: int
    dtype: str

    def setup(self):
        self.convs = [TapConv(self.width, AROUND, self.dtype, name=f"conv_{i}") for i in range(self.num_layers)]
        self.deconv = TapConv(self.factor**2 * self.width, AROUND, self.dtype)

    def __call__(self, inputs_BHWn: jax.Array) -> jax.Array:
        """[B, ceil(H / f), ceil(W / f), n] -> [B, H, W, C]."""
        h = inputs_BHWn
        for conv in self.convs:
            h = nn.relu(conv(h))
        (batch, height, width, _), f = h.shape, self.factor
        blocks = self.deconv(h).reshape(batch, height, width, f, f, self.width)
        pixels = jnp.swapaxes(blocks, 2, 3).reshape(batch, height * f, width * f, self.width)
        return nn.relu(pixels[:, : self.grid_shape[0], : self.grid_shape[1]])

    def reach(self) -> np.ndarray:
        """bool[D, K]: whether each of the D finer pixels reads each of the K coarse ones."""
        height, width = (-(-size // self.factor) for size in self.grid_shape)
        reads = compose(*[tap_graph(height, width, AROUND)] * (self.num_layers + 1))
        r, c = np.indices(self.grid_shape).reshape(2, -1) // self.factor
        return reads[r * width + c]


@NETWORKS.register("multiscale")
class Multiscale(PixelRNNFamily):
    """Multi-scale PixelRNN: a small image first, every `factor`-th pixel of every `factor`-th row; then the rest,
    conditioned on it. Each scale has a `PixelRNNCore`. The core of the small image is an ordinary PixelRNN; each layer
    of the next core is biased with maps that a deconvolutional network computes from the small image. With several
    `levels`, the small image is conditioned in the same way on a still smaller one. The conditional network of the
    paper generates the pixels of the small image once more; here each pixel is generated once, so that the product over
    all is a likelihood: the order is `multiscale`, with the same factor and levels.

    Options: as `PixelRNNFamily`; `core` ("diagonal_bilstm", or "row_lstm" with its `kernel_size`); `factor` and
    `levels`, as in the ordering; `upsample_layers`, convolutions on the small image before it is enlarged; `shared`:
    one conditional core and one deconvolutional network for all scales but the coarsest.
    """

    core: str = opt("diagonal_bilstm", choices=CORES)
    factor: int = opt(2, least=2)
    levels: int = depth_option(1)
    upsample_layers: int = depth_option(2)
    kernel_size: int = depth_option(3, least=3)
    shared: bool = False

    SMALL = {"hidden_size": 8, "num_layers": 1, "readout_size": 16, "upsample_layers": 1}

    def check(self, factorization):
        factor, levels, grid = self.factor, self.levels, self.event.grid_shape
        if self.core != "row_lstm" and self.kernel_size != type(self).kernel_size:
            say_once("network.kernel_size has no effect: it is an option of the core 'row_lstm'")
        check_image("multiscale", factorization)
        check_odd(self, "kernel_size")
        check_remat(self)
        few = len(np.unique(scales(grid, factor, levels))) <= levels
        words = f"two scales to share: network.levels of at least 2, not {levels}"
        refuse(
            (self.shared and levels < 2, f"network.shared needs {words}"),
            (few, f"a grid of {grid} has too few pixels for network.levels={levels} of factor {factor}"),
        )
        in_order = np.array_equal(factorization.order, multiscale(grid, factor, levels))
        refuse((not in_order, f"multiscale needs model.ordering=multiscale(factor={factor}, levels={levels})"))

    def setup(self):
        super().setup()
        owners = [k for k in range(self.levels + 1) if self._owner(k) == str(k)]
        self.cores = {str(k): self._core(k, name=f"scale_{k}") for k in owners}
        self.upsamplers = {str(k): self._upsampler(k, name=f"upsample_{k}") for k in owners if k < self.levels}

    def _grid(self, k: int) -> tuple[int, int]:
        """The size of the image at scale k; 0 is the whole one."""
        height, width = self.event.grid_shape
        return -(-height // self.factor**k), -(-width // self.factor**k)

    def _core(self, k: int, **names: Any):
        """The core of scale k; all but the coarsest are conditional."""
        core = CORES[self.core]
        conditioned = k < self.levels or bool(self.context_spec)
        return core(**fields_from(self, core, grid_shape=self._grid(k), conditioned=conditioned, **names))

    def _upsampler(self, k: int, **names: Any) -> Upsampler:
        return Upsampler(self._grid(k), 2 * self.hidden_size, self.upsample_layers, self.factor, self.dtype, **names)

    def _owner(self, k: int) -> str:
        """The scale whose parameters scale k uses, as a name."""
        return "0" if self.shared and k < self.levels else str(k)

    def _run_core(self, k: int, *args: Any, method: str = "__call__") -> Any:
        """Runs the core of scale k; scales that share run the core of scale 0 on an image of another size."""
        core = self.cores[self._owner(k)]
        if self._owner(k) == str(k):
            return getattr(core, method)(*args)
        rngs = {"dropout": self.make_rng("dropout")} if self.has_rng("dropout") else {}
        return self._core(k, parent=None).apply(core.variables, *args, rngs=rngs, method=method)

    def _enlarge(self, k: int, inputs_BHWn: jax.Array) -> jax.Array:
        """The image of scale k+1 as maps of the size of scale k, without dropout."""
        upsampler = self.upsamplers[self._owner(k)]
        if self._owner(k) == str(k):
            return upsampler(inputs_BHWn)
        maps: Any = self._upsampler(k, parent=None).apply(upsampler.variables, inputs_BHWn)
        return maps

    def _from_context(self, context: Context | None, k: int) -> jax.Array | None:
        """The context as a condition at the pixels of scale k, or the same for all of them."""
        e = None if context is None else self.context(context)
        return e if e is None or e.ndim == 2 else e[:, :: self.factor**k, :: self.factor**k]

    def _places(self, k: int) -> np.ndarray:
        """The sites of the image at scale k, int[H_k W_k]."""
        sites_HW = np.arange(self.event.num_sites).reshape(self.event.grid_shape)
        return sites_HW[:: self.factor**k, :: self.factor**k].ravel()

    def _inputs(self, x: jax.Array, k: int) -> jax.Array:
        """The image at scale k as inputs, [B, H_k, W_k, n]."""
        values_BKv = flat_sites(x, self.event)[:, self._places(k)]
        return pixel_inputs(values_BKv, self.event, self.dtype).reshape(x.shape[0], *self._grid(k), -1)

    def dependencies(self, factorization):
        depends = np.zeros((self.event.num_sites,) * 2, bool)
        for k in range(self.levels + 1):
            core, here = self._core(k, parent=None), self._places(k)
            depends[here] = False  # a pixel has the features of the coarsest scale that it belongs to
            depends[np.ix_(here, here)] = core.reach()
            if k < self.levels:
                reads = core.condition_reach(self._upsampler(k, parent=None).reach())
                depends[np.ix_(here, self._places(k + 1))] |= reads
        return depends

    def __call__(self, x, factorization, context=None, *, train=False):
        by_scale, place_D, start = [], np.zeros(self.event.num_sites, np.int32), 0
        for k in range(self.levels + 1):
            condition = self._from_context(context, k)
            if k < self.levels:
                condition = add_context(self._enlarge(k, self._inputs(x, k + 1)), condition)
            features = self._run_core(k, self._inputs(x, k), condition, train)
            by_scale.append(features.reshape(x.shape[0], -1, self.num_features))
            place_D[self._places(k)] = start + np.arange(features.shape[1] * features.shape[2])
            start += features.shape[1] * features.shape[2]
        # Each pixel has the features of the coarsest scale that it belongs to.
        features_BDF = jnp.concatenate(by_scale, 1)[:, place_D]
        return features_BDF.reshape(-1, *self.event.grid_shape, self.num_features)

    def prepare(self):
        for core in self.cores.values():
            core.prepare()

    def start(self, batch_size, factorization, context=None):
        """Of each scale: the carry of its core and its condition, which is computed when the scale begins."""
        carries = []
        for k in range(self.levels + 1):
            maps = jnp.zeros((batch_size, *self._grid(k), 2 * self.hidden_size), self.dtype)
            core = self._core(k, parent=None)
            carries.append((core.start(batch_size), maps if k < self.levels else self._from_context(context, k)))
        return carries

    def step(self, carry, canvas, t, factorization, context=None):
        """Advances the core of the scale that site t belongs to; the loops of the others make no iteration."""
        scale_D = scales(self.event.grid_shape, self.factor, self.levels)
        site, new, features_BF = jnp.asarray(factorization.order)[t], [None] * len(carry), 0.0
        for k in reversed(range(len(carry))):
            cores, condition = carry[k]
            here = jnp.asarray(scale_D)[site] == k
            if k < self.levels:
                begins = t == np.count_nonzero(scale_D > k)
                condition = self._begin(k, canvas, condition, begins, context)
            r, c = (place // self.factor**k for place in jnp.divmod(site, self.event.grid_shape[1]))
            upto = jnp.where(here, r * self._grid(k)[1] + c, -1)
            cores, features = self._run_core(k, cores, self._reader(canvas, k), condition, upto, method="advance")
            features_BF = jnp.where(here, features, features_BF)
            new[k] = cores, condition
        return new, features_BF[:, None]

    def _begin(self, k: int, canvas, condition_BHWC: jax.Array, begins: jax.Array, context) -> jax.Array:
        """The condition of a scale that begins; else the old one. A loop of one iteration or none works in place."""
        upsampler, variables = self._upsampler(k, parent=None), self.upsamplers[self._owner(k)].variables
        inputs_BHWn, from_context = self._inputs(canvas, k + 1), self._from_context(context, k)

        def enlarge(_, old: jax.Array) -> jax.Array:
            maps: Any = upsampler.apply(variables, inputs_BHWn)
            return add_context(maps, from_context)

        return jax.lax.fori_loop(0, begins.astype(jnp.int32), enlarge, condition_BHWC)

    def _reader(self, canvas: jax.Array, k: int) -> ReadPixels:
        spacing, width = self.factor**k, self.event.grid_shape[1]
        return pixel_reader(canvas, self.event, self.dtype, lambda r_K, c_K: (r_K * width + c_K) * spacing)
