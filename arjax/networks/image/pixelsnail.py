"""PixelSNAIL (Chen, Mishra, Rohaninejad & Abbeel, "PixelSNAIL: An Improved Autoregressive Generative Model", 2018)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.options import depth_option, rate_option
from arjax.core.programs import gathered_if_small, is_for_cpu, rows_over_all_axes
from arjax.networks.base import NETWORKS, fields_from, once
from arjax.networks.image.gated_resnet import GatedResnet, GatedStack, Mask, dropout_masks
from arjax.networks.image.shifted_streams import DOWN_RIGHT, ImageView, PixelView, ShiftedNetwork, State
from arjax.networks.layers.attention import attention
from arjax.networks.layers.blocks import stacked
from arjax.networks.layers.convolution import CENTRE
from arjax.networks.layers.dense import only_products
from arjax.networks.layers.grids import image_inputs, input_size, put_previous
from arjax.networks.layers.local_context import of_pixel
from arjax.networks.layers.steps import to_grid
from arjax.networks.layers.weight_norm import NormalisedMix, normalised_weights


def background(grid: tuple[int, int]) -> np.ndarray:
    """The position of each pixel, float32[H, W, 2]: row and column, from -1/2 to 1/2."""
    height, width = grid
    row, column = np.indices(grid)
    return np.stack([(row - height / 2) / height, (column - width / 2) / width], -1).astype(np.float32)


class SnailBlock(nn.Module):
    """Residual blocks of 2x2 convolutions, then attention to all earlier pixels (Figure 2). Keys and values are
    computed from [x, h, position], queries from [h, position], each by a gated layer of 1x1 convolutions; so a pixel
    attends to the values of earlier pixels, not only to their predictions. The result enters h through one more gated
    layer.
    """

    filters: int
    num_inputs: int
    num_resnets: int
    key_size: int
    value_size: int
    context_size: int
    dropout: float
    dtype: str
    normalised: bool = False

    def setup(self):
        def gated(filters: int, has_aux: bool = False) -> GatedResnet:
            return GatedResnet(
                filters, CENTRE, has_aux, self.context_size > 0, self.dropout, self.dtype, self.normalised
            )

        sizes = 0, self.context_size, self.dropout
        self.resnets = GatedStack(self.num_resnets, self.filters, DOWN_RIGHT, *sizes, self.dtype)
        self.content = gated(self.num_inputs + self.filters + 2)
        self.key_value = NormalisedMix(self.key_size + self.value_size, self.dtype, normalised=self.normalised)
        self.asking = gated(self.filters + 2)
        self.query = NormalisedMix(self.key_size, self.dtype, normalised=self.normalised)
        self.merge = gated(self.filters, has_aux=True)

    def _keys_and_values(self, x, h, place, view: ImageView, e, train: bool) -> tuple[jax.Array, jax.Array]:
        inputs = jnp.concatenate([x, h, place], -1)
        content = self.content(inputs, view, None, e, self._mask(train, inputs.shape))
        keys, values = jnp.split(self.key_value(content), [self.key_size], -1)
        return keys, values

    def _queries(self, h, place, view: ImageView, e, train: bool) -> jax.Array:
        inputs = jnp.concatenate([h, place], -1)
        return self.query(self.asking(inputs, view, None, e, self._mask(train, inputs.shape)))

    def _masks(self, train: bool, shape: tuple[int, ...]) -> jax.Array | None:
        """Masks for dropout in layers with inputs of this shape, the first axis the layers; or None."""
        return dropout_masks(self, self.dropout, train, (*shape[:-1], 2 * shape[-1]))

    def _mask(self, train: bool, shape: tuple[int, ...]) -> Mask | None:
        masks = self._masks(train, (1, *shape))
        return None if masks is None else (masks, 0)

    def __call__(self, h_BHWC: jax.Array, x_BHWn: jax.Array, e: jax.Array | None, train: bool):
        """All pixels; in the form (carry) -> (carry, None) of a scan over blocks."""
        batch, height, width, _ = h_BHWC.shape
        view, masks = ImageView((height, width)), self._masks(train, (self.num_resnets + 1, *h_BHWC.shape))
        for_resnets, for_merge = (None, None) if masks is None else ((masks, 0), (masks, self.num_resnets))
        layer, weights = self.resnets.layer(), self.resnets.weights()
        h = view.run_layers(layer, weights, for_resnets, h_BHWC, None, e, upwards=False)[-1]
        place = jnp.broadcast_to(jnp.asarray(background(view.grid), h.dtype), (batch, height, width, 2))
        queries = self._queries(h, place, view, e, train)
        keys, values = self._keys_and_values(x_BHWn, h, place, view, e, train)
        q, k, v = (y.reshape(batch, 1, height * width, -1) for y in (queries, keys, values))
        position = jnp.arange(q.shape[2])
        mixed = attention(q, k, v, position[:, None] > position[None, :])
        mixed = jnp.where(position[:, None] > 0, mixed, 0)  # the first pixel has nothing to attend to
        return self.merge(h, view, mixed.reshape(batch, height, width, -1), e, for_merge), None

    def init_cache(self, batch_size: int, grid: tuple[int, int]) -> tuple:
        """Two rows of the input of each convolution; keys and values of all pixels; h of the last pixel."""
        planes = [
            jnp.zeros((batch_size, 2, grid[1], 2 * self.filters), self.dtype) for _ in range(2 * self.num_resnets)
        ]
        keys, values = (
            jnp.zeros((batch_size, 1, grid[0] * grid[1], size), self.dtype) for size in (self.key_size, self.value_size)
        )
        return planes, keys, values, jnp.zeros((batch_size, self.filters), self.dtype)

    def step(self, cache: tuple, weights: list, h_BC: jax.Array, x_Bn: jax.Array, t: jax.Array, grid, e):
        """Pixel t, from the inputs `x` of pixel t - 1, which give its key and value, and `weights` for the residual
        layers.
        """
        planes, keys, values, previous_BC = cache
        last = jnp.maximum(t - 1, 0)
        here, before = (None if e is None else of_pixel(e, *jnp.divmod(n, grid[1])) for n in (t, last))
        view = PixelView(grid, State(planes, None, None), *jnp.divmod(t, grid[1]))
        h = view.run_layers(self.resnets.layer(), weights, None, h_BC, None, here, upwards=False)[-1]
        places = jnp.asarray(background(grid), h.dtype).reshape(-1, 2)

        def place(n: jax.Array) -> jax.Array:
            return jnp.broadcast_to(places[n], (h.shape[0], 2))

        k, v = self._keys_and_values(x_Bn, previous_BC, place(last), view, before, False)
        keys = jax.lax.dynamic_update_slice(keys, k[:, None, None], (0, 0, last, 0))
        values = jax.lax.dynamic_update_slice(values, v[:, None, None], (0, 0, last, 0))
        q = self._queries(h, place(t), view, here, False)[:, None, None]
        mixed = attention(q, keys, values, jnp.arange(keys.shape[2]) < t)[:, 0, 0]
        out = self.merge(h, view, jnp.where(t > 0, mixed, 0), here, None)
        return (view.planes, keys, values, h), out


@NETWORKS.register("pixelsnail")
class PixelSNAIL(ShiftedNetwork):
    """Alternating shifted convolutions and causal attention, in a raster-like order, a whole pixel per step. The gated
    residual layers are as in the lower stream of PixelCNN++, without lower resolutions. Attention, with one head and
    small keys, provides the long range, so every pixel reads all earlier ones. All layers are weight-normalised,
    without data-dependent initial values; the context enters every gate. The step form keeps two rows per convolution,
    and the keys and values of all pixels: O(t) per step.

    Options: `num_filters`, `num_blocks`, each of `num_resnets` residual layers and one attention, `key_size`,
    `value_size`, `dropout`, `remat` (recompute a block in the backward pass).
    """

    num_filters: int = 256
    num_blocks: int = depth_option(12)
    num_resnets: int = depth_option(4)
    key_size: int = 16
    value_size: int = 128
    dropout: float = rate_option(0.5)
    remat: bool = False

    SMALL = {"num_filters": 8, "num_blocks": 2, "num_resnets": 1, "key_size": 4, "value_size": 6, "dropout": 0.0}

    def setup(self):
        super().setup()
        policy = None if is_for_cpu() else only_products
        blocks = stacked(SnailBlock, self.num_blocks, unroll=1, remat=self.remat, static=(4,), policy=policy)
        if not self.is_initializing():
            blocks = nn.map_variables(blocks, "params", gathered_if_small)
        self.blocks = blocks(**self._block_fields(), name="blocks")

    def _block_fields(self) -> dict[str, Any]:
        sizes = {"filters": self.num_filters, "num_inputs": input_size(self.event)}
        return fields_from(self, SnailBlock, context_size=self.num_filters if self.context_spec else 0, **sizes)

    @rows_over_all_axes()
    def __call__(self, x, factorization, context=None, *, train=False):
        inputs = image_inputs(x, self.event, factorization, self.dtype)
        first = self._first(self._with_ones(inputs))
        h, _ = self.blocks(first, inputs, self._encoded(context, factorization), train)
        return to_grid(self._features(h), factorization)

    def start(self, batch_size, factorization, context=None):
        """The inputs with their channel of ones, a cache per block, and the context."""
        grid, block = factorization.grid_shape, SnailBlock(**self._block_fields(), parent=None)
        caches = [block.init_cache(batch_size, grid) for _ in range(self.num_blocks)]
        return self._empty_inputs(batch_size, grid), caches, self._encoded(context, factorization)

    def prepare(self):
        self._step_weights()

    def _step_weights(self) -> list[tuple[Any, list]]:
        """Returns the normalised weights of each block, and of its residual layers."""
        return once(self, "blocks_of_steps", self._take_apart)

    def _take_apart(self) -> list[tuple[Any, list]]:
        stacked = self.blocks.variables["params"]
        normalised = normalised_weights({name: part for name, part in stacked.items() if name != "resnets"}, self.dtype)
        normalised = {**normalised, "resnets": stacked["resnets"]}
        block, weights = SnailBlock(**self._block_fields(), parent=None), []
        for i in range(self.num_blocks):
            of_block = jax.tree.map(lambda leaf, i=i: leaf[i], normalised)
            of_resnets: Any = block.apply({"params": of_block}, method=lambda block: block.resnets.steps())
            weights.append((of_block, of_resnets))
        return weights

    def step(self, carry, canvas, t, factorization, context=None):
        inputs, old, e = carry
        grid = factorization.grid_shape
        inputs = put_previous(inputs, canvas, t, self.event, factorization)
        h = self._first_at(inputs, *jnp.divmod(t, grid[1]))
        before = jnp.divmod(jnp.maximum(t - 1, 0), grid[1])
        x_Bn = jax.lax.dynamic_slice(inputs, (0, *before, 0), (h.shape[0], 1, 1, inputs.shape[-1] - 1))[:, 0, 0]
        # The blocks one by one, not scanned: each cache is then updated in place, where a scan would copy it.
        block, caches = SnailBlock(**self._block_fields(), normalised=True, parent=None), []
        for (params, weights), cache in zip(self._step_weights(), old, strict=True):
            cache, h = block.apply({"params": params}, cache, weights, h, x_Bn, t, grid, e, method="step")
            caches.append(cache)
        return (inputs, caches, e), self._features(h).astype(jnp.float32)[:, None]
