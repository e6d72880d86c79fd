"""Image Transformer (Parmar, Vaswani, Uszkoreit, Kaiser, Shazeer, Ku & Tran, 2018): local attention on images."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import UserError
from arjax.core.options import opt
from arjax.factorization import Factorization
from arjax.factorization.orderings import tiles
from arjax.networks.attention.patterns import Near, Pattern, flat_tokens, put, write
from arjax.networks.attention.sparse_attention import PatternNetwork
from arjax.networks.base import ACTIVATIONS, NETWORKS
from arjax.networks.layers.attention import KeysValues, KVCache, LoopCache
from arjax.networks.layers.windows import windows


@dataclasses.dataclass(frozen=True)
class Tiles(Pattern):
    """Local attention in two dimensions, for pixels generated tile by tile, one pixel per step.

    The queries of a tile attend to the pixels generated so far in the tile itself and in a margin above, to
    the left and to the right of it.

    Attributes:
      grid: (rows, columns) of the image.
      tile: (rows, columns) of a block of queries; must divide the grid.
      margin: rows above and columns on either side.
    """

    grid: tuple[int, int]
    tile: tuple[int, int]
    margin: tuple[int, int]

    SLOTS = False

    def _steps(self) -> np.ndarray:
        """The step of each pixel of the image and its margin, int[H + above, W + 2 aside]; S in the margin."""
        order = tiles(self.grid, *self.tile)
        steps = np.empty(len(order), np.int32)
        steps[order] = np.arange(len(order))
        above, aside = self.margin
        return np.pad(steps.reshape(self.grid), ((above, 0), (aside, aside)), constant_values=len(order))

    def _around(self, plane: jax.Array, axis: int) -> jax.Array:
        """Rows and columns at `axis` and behind it -> [tiles, above + h, aside + w + aside]."""
        (height, width), (above, aside) = self.tile, self.margin
        rows = windows(plane, axis, height, before=above)
        both = windows(rows, axis + 2, width, before=aside, after=aside)  # [H / h, above + h, W / w, ...]
        both = jnp.moveaxis(both, axis + 2, axis + 1)
        return both.reshape(*both.shape[:axis], -1, *both.shape[axis + 2 :])

    def queries(self, x_BNTH, block_size):
        return windows(x_BNTH, 2, self.tile[0] * self.tile[1])

    def keys(self, x_BNTH, block_size):
        (rows, columns), (height, width) = self.grid, self.tile
        tiled = x_BNTH.reshape(*x_BNTH.shape[:2], rows // height, columns // width, height, width, x_BNTH.shape[-1])
        plane = jnp.swapaxes(tiled, 3, 4).reshape(*x_BNTH.shape[:2], rows, columns, x_BNTH.shape[-1])
        around = self._around(plane, 2)
        return around.reshape(*around.shape[:3], -1, around.shape[-1])

    def mask(self, num_steps, block_size):
        above, aside = self.margin
        inner = self._steps()[above:, aside : aside + self.grid[1]]
        keys = self._around(jnp.asarray(inner) - num_steps, 0) + num_steps  # beyond the image: S
        seen_GK = keys.reshape(keys.shape[0], -1)
        queries_GQ = jnp.arange(num_steps).reshape(-1, self.tile[0] * self.tile[1])
        return seen_GK[:, None] <= queries_GQ[..., None]

    def restore(self, out_BNGQH, num_steps, block_size):
        return out_BNGQH.reshape(*out_BNGQH.shape[:2], num_steps, out_BNGQH.shape[-1])

    def _place(self, t: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """Row and column of the first pixel of the tile of step t, and of its own pixel within the tile."""
        (_, columns), (height, width) = self.grid, self.tile
        tile, inside = t // (height * width), t % (height * width)
        across = columns // width
        return tile // across * height, tile % across * width, inside // width, inside % width

    def places(self, num_steps, block_size):
        """The image with its margin."""
        return self.grid[0] + self.margin[0], self.grid[1] + 2 * self.margin[1]

    def step(self, cache: LoopCache, new: KeysValues, t: jax.Array):
        (height, width), (above, aside) = self.tile, self.margin
        top, left, row, column = self._place(t)
        place = 0, top + above + row, left + aside + column, 0
        cache = write(cache, (new[0][:, None], new[1][:, None]), place)
        sides = above + height, width + 2 * aside
        around = [jax.lax.dynamic_slice(a, (0, top, left, 0), (len(a), *sides, a.shape[-1])) for a in cache]
        steps = jax.lax.dynamic_slice(jnp.asarray(self._steps()), (top, left), sides)
        seen = tuple(a.reshape(len(a), -1, a.shape[-1]) for a in around)
        return cache, seen, steps.ravel() <= t

    def extend(self, cache: KVCache, new: KeysValues, t: jax.Array):
        (height, width), (above, aside), steps = self.tile, self.margin, self._steps()
        i_k = t + jnp.arange(new[0].shape[2])
        top_k, left_k, row_k, column_k = self._place(i_k)
        exists_k = i_k < self.grid[0] * self.grid[1]
        y_k = jnp.where(exists_k, top_k + above + row_k, len(steps))
        cache = put(cache, (new[0][:, :, :, 0], new[1][:, :, :, 0]), (y_k, left_k + aside + column_k))
        rows, columns = np.indices(steps.shape)
        down, right = rows - top_k[:, None, None], columns - left_k[:, None, None]
        near = (down >= 0) & (down < above + height) & (right >= 0) & (right < width + 2 * aside)
        visible = near & (steps <= i_k[:, None, None])
        return cache, tuple(flat_tokens(a) for a in cache), visible.reshape(1, len(i_k), -1)

    def graph(self, num_steps):
        rows, columns = np.divmod(tiles(self.grid, *self.tile), self.grid[1])  # of the pixel of each step
        top, left = (place // side * side for place, side in zip((rows, columns), self.tile, strict=True))
        (height, width), (above, aside) = self.tile, self.margin
        down, right = rows[None] - top[:, None], columns[None] - left[:, None]
        near = (-above <= down) & (down < height) & (-aside <= right) & (right < width + aside)
        return near & np.tri(num_steps, dtype=bool)


@NETWORKS.register("image_transformer")
class ImageTransformer(PatternNetwork):
    """Blocks of queries attend to a memory block around them (section 3.3 of the paper), in one or two dimensions.

    One number each, `query_block=(l_q,)` and `memory=(l_m,)`: blocks of l_q steps attend to themselves and the l_m
    steps before, in any order and partition. Two numbers, (h_q, w_q) and (h_m, w_m): rectangles attend to themselves,
    h_m rows above and w_m columns on either side; the image is then generated rectangle by rectangle, with
    `model.ordering=tiles(...)`.

    Normalisation comes before each branch, as in all our Transformers; in the paper it comes after.

    Options: as `BlockNetwork`; `query_block`, `memory`.
    """

    query_block: tuple[int, ...] = opt((256,), fewest=1)
    memory: tuple[int, ...] = opt((256,), least=0, fewest=1)
    activation: str = opt("relu", choices=ACTIVATIONS)

    SMALL = {"width": 24, "num_layers": 2, "num_heads": 2, "query_block": (2,), "memory": (1,)}

    def check(self, factorization):
        super().check(factorization)
        block, memory = self.query_block, self.memory
        if len(block) != len(memory) or len(block) not in (1, 2):
            raise UserError(
                "network.query_block and network.memory must be one or two whole numbers each, "
                f"not {block} and {memory}"
            )
        if len(block) == 2:
            check_tiles(factorization, block)

    def patterns(self):
        if len(self.query_block) == 1:
            return ((Near(min(self.query_block[0], self.event.num_sites), self.memory[0]), self.num_heads),)
        return ((Tiles(self.event.grid_shape, self.query_block, self.memory), self.num_heads),)


def check_tiles(factorization: Factorization, block: tuple[int, int]) -> None:
    """Raises `UserError` unless the order visits single sites rectangle by rectangle."""
    grid_shape = factorization.grid_shape
    if len(grid_shape) != 2 or any(length % side for length, side in zip(grid_shape, block, strict=True)):
        raise UserError(f"network.query_block={block} must divide a grid of two dimensions, not {grid_shape}")
    order = tiles(grid_shape, *block)
    if factorization.block_size > 1 or not np.array_equal(factorization.order, order):
        raise UserError(
            f"attention in two dimensions needs model.ordering=tiles(height={block[0]}, width={block[1]}) and "
            f"model.partition=sites"
        )
