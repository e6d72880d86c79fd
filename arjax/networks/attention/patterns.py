"""Patterns of attention between the steps, for tokens that attend to some of the earlier ones only.

A pattern is a set of pairs (i, j): step i attends to step j <= i. Its layout avoids arrays of S x S: blocks of queries,
each with the keys that it may need, and a mask within the block. The M tokens of a step attend to the same steps.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from arjax.factorization.orderings import tiles
from arjax.networks.layers.attention import KeysValues, KVCache, LoopCache
from arjax.networks.layers.causal import join, put_in_ring, ring_steps, windows


class Pattern(Protocol):
    """The layout of a pattern, for whole sequences and for one step."""

    def within(self, num_steps: int) -> Pattern:
        """Returns the pattern over this number of steps, with blocks that are no longer."""
        return self

    def queries(self, x_BNTH: jax.Array, block_size: int) -> jax.Array:
        """Tokens [B, N, S*M, H] in blocks of queries, [B, N, G, Q, H]."""

    def keys(self, x_BNTH: jax.Array, block_size: int) -> jax.Array:
        """Tokens [B, N, S*M, H] -> the keys or values that each block may need, [B, N, G, K, H]."""

    def mask(self, num_steps: int, block_size: int) -> jax.Array:
        """bool[G or 1, Q, K]: whether each query of a block attends to each key."""

    def restore(self, out_BNGQH: jax.Array, num_steps: int, block_size: int) -> jax.Array:
        """Blocks of queries -> tokens [B, N, S*M, H]."""

    #: Whether a cache has an axis of the indices of a step, the last but one.
    SLOTS: ClassVar[bool] = True

    def places(self, num_steps: int, block_size: int) -> tuple[int, ...]:
        """The axes of a cache [B, N, *places, H] for the keys and values that later steps need."""

    def step(self, cache: LoopCache, new: KeysValues, t: jax.Array) -> tuple[LoopCache, KeysValues, jax.Array]:
        """Adds the keys and values [B*N, M, H] of step t to a cache that `for_loop` has made.

        Returns the cache, keys and values [B*N, K, H], and bool[K], whether step t attends to each.
        """

    def extend(self, cache: KVCache, new: KeysValues, t: jax.Array) -> tuple[Any, KeysValues, jax.Array]:
        """Adds the keys and values [B, N, k, M, H] of the steps t, t + 1, ...; t + k may be beyond the end.

        Returns the input of `keep`, keys and values [B, N, G, K, H] for the queries in G equal groups, and
        bool[G, Q or 1, K], whether each query of a group attends to each key.
        """

    def keep(self, carries: Any, n: jax.Array) -> KVCache:
        """The cache after the first n of these steps: all, if later steps overwrite the others before they are read."""
        return carries

    def graph(self, num_steps: int) -> np.ndarray:
        """The definition: bool[S, S], [i, j] iff step i attends to step j."""


def per_token(mask: jax.Array, block_size: int) -> jax.Array:
    """A mask [..., Q, K] or [K] between steps -> between their tokens."""
    mask = jnp.repeat(mask, block_size, axis=-1)
    return jnp.repeat(mask, block_size, axis=-2) if mask.ndim > 1 else mask


def flat_tokens(cache: jax.Array, groups: int = 1) -> jax.Array:
    """[B, N, (G,) steps, M, H] -> [B, N, G, K, H]."""
    return cache.reshape(*cache.shape[:2], groups, -1, cache.shape[-1])


def for_loop(pattern: Pattern, cache: KVCache) -> LoopCache:
    """A cache with one axis for examples and heads, and one for steps and indices: see `LoopCache`."""
    merged = [a.reshape(-1, *a.shape[2:]) for a in cache]
    return LoopCache(*(a.reshape(*a.shape[:-3], -1, a.shape[-1]) if pattern.SLOTS else a for a in merged))


def write(cache: LoopCache, new: KeysValues, start: tuple) -> LoopCache:
    """Both caches with the new keys and values written at `start`."""
    return LoopCache(*(jax.lax.dynamic_update_slice(old, value, start) for old, value in zip(cache, new, strict=True)))


def put(cache: KVCache, new: KeysValues, places: tuple[jax.Array, ...]) -> KVCache:
    """Both caches [B, N, ...] with the new keys and values at these places, where they exist."""
    pairs = zip(cache, new, strict=True)
    return KVCache(*(old.at[:, :, *places].set(fresh, mode="drop") for old, fresh in pairs))


@dataclasses.dataclass(frozen=True)
class Near(Pattern):
    """Blocks of `size` steps attend to themselves and `memory` steps before, at most `window` - 1 steps back.

    Attributes:
      window: number of steps that a step attends to, itself included; 0 for no other bound than the block.
    """

    size: int
    memory: int
    window: int = 0

    def within(self, num_steps):
        return dataclasses.replace(self, size=min(self.size, num_steps), memory=min(self.memory, num_steps))

    def sees(self, i, j):
        """Whether step i attends to step j, given that j <= i."""
        bound = i // self.size * self.size - self.memory
        return (j >= bound) & (j > i - self.window) if self.window else j >= bound

    def queries(self, x_BNTH, block_size):
        return windows(x_BNTH, 2, self.size * block_size)

    def keys(self, x_BNTH, block_size):
        return windows(x_BNTH, 2, self.size * block_size, before=self.memory * block_size)

    def mask(self, num_steps, block_size):
        i_Q1 = self.memory + np.arange(self.size)[:, None]  # within the block of keys
        j_K = np.arange(self.memory + self.size)
        near_QK = (j_K <= i_Q1) & ((j_K > i_Q1 - self.window) if self.window else True)
        exists_GK = jnp.arange(-(-num_steps // self.size))[:, None] * self.size + j_K >= self.memory
        return per_token(jnp.asarray(near_QK), block_size) & jnp.repeat(exists_GK, block_size, axis=-1)[:, None]

    def restore(self, out_BNGQH, num_steps, block_size):
        return join(out_BNGQH, 2, num_steps * block_size)

    def places(self, num_steps, block_size):
        """A ring: step j has the index j modulo its length."""
        return min(self.window or self.memory + self.size, num_steps), block_size

    def step(self, cache, new, t):
        block_size = new[0].shape[1]
        ring = cache[0].shape[1] // block_size
        cache = write(cache, new, (0, t % ring * block_size, 0))
        j_K = t - (t - jnp.arange(ring)) % ring  # the last step up to t with this index
        return cache, cache, per_token((j_K >= 0) & self.sees(t, j_K), block_size)

    def extend(self, cache, new, t):
        """The ring is not written yet: a step that is not kept would overwrite keys that are still needed."""
        ring, block_size, i_k = cache[0].shape[2], cache[0].shape[3], t + jnp.arange(new[0].shape[2])
        j_K, i_k1 = jnp.concatenate([ring_steps(t, ring), i_k]), i_k[:, None]
        seen = tuple(flat_tokens(jnp.concatenate(pair, 2)) for pair in zip(cache, new, strict=True))
        visible = (j_K >= 0) & (j_K <= i_k1) & self.sees(i_k1, j_K)
        return (cache, new, t), seen, per_token(visible, block_size)[None]

    def keep(self, carries, n):
        cache, new, t = carries
        return KVCache(*(put_in_ring(ring, fresh, t, n, axis=2) for ring, fresh in zip(cache, new, strict=True)))

    def graph(self, num_steps):
        i, j = np.indices((num_steps, num_steps))
        return (j <= i) & self.sees(i, j)


@dataclasses.dataclass(frozen=True)
class Strided(Pattern):
    """Step i attends to the steps i, i - stride, i - 2 stride, ...; with `skip`, only to those further back than it.

    Child et al., "Generating Long Sequences with Sparse Transformers" (2019), section 4.3: A(2) of the strided pattern.
    """

    stride: int
    skip: int = -1

    def queries(self, x_BNTH, block_size):
        rows = windows(x_BNTH, 2, self.stride * block_size)  # [B, N, S / stride, stride * M, H]
        rows = rows.reshape(*rows.shape[:3], self.stride, block_size, rows.shape[-1])
        columns = jnp.moveaxis(rows, 3, 2)  # one block per remainder
        return columns.reshape(*columns.shape[:3], -1, columns.shape[-1])

    keys = queries

    def mask(self, num_steps, block_size):
        row = jnp.arange(-(-num_steps // self.stride))
        return per_token(self.stride * (row[:, None] - row) > self.skip, block_size)[None]

    def restore(self, out_BNGQH, num_steps, block_size):
        rows = jnp.moveaxis(out_BNGQH.reshape(*out_BNGQH.shape[:3], -1, block_size, out_BNGQH.shape[-1]), 2, 3)
        return rows.reshape(*rows.shape[:2], -1, rows.shape[-1])[:, :, : num_steps * block_size]

    def places(self, num_steps, block_size):
        """One row per remainder, so that the keys of a step are contiguous."""
        return self.stride, -(-num_steps // self.stride), block_size

    def step(self, cache, new, t):
        remainder, row = t % self.stride, t // self.stride
        block_size = new[0].shape[1]
        cache = write(cache, tuple(a[:, None] for a in new), (0, remainder, row * block_size, 0))
        seen = tuple(jax.lax.dynamic_index_in_dim(a, remainder, 1, keepdims=False) for a in cache)
        visible = self.stride * (row - jnp.arange(seen[0].shape[1] // block_size)) > self.skip
        return cache, seen, per_token(visible, block_size)

    def extend(self, cache, new, t):
        """One group of queries per step: each attends to the row of its remainder."""
        row_k, remainder_k = jnp.divmod(t + jnp.arange(new[0].shape[2]), self.stride)
        cache = put(cache, new, (remainder_k, row_k))
        seen = tuple(flat_tokens(a[:, :, remainder_k], len(row_k)) for a in cache)
        visible = self.stride * (row_k[:, None, None] - jnp.arange(cache[0].shape[3])) > self.skip
        return cache, seen, jnp.repeat(visible, cache[0].shape[4], axis=-1)

    def graph(self, num_steps):
        i, j = np.indices((num_steps, num_steps))
        return (j <= i) & ((i - j) % self.stride == 0) & (i - j > self.skip)


@dataclasses.dataclass(frozen=True)
class Summary(Pattern):
    """Every step attends to `count` earlier steps of each block of `size`: with `skip`, of earlier blocks only.

    They are the last steps of the block, except for the `offset` after them. Child et al. (2019), section 4.3: A(2) of
    the fixed pattern, where `size` is l and `count` is c.
    """

    size: int
    count: int
    offset: int = 0
    skip: bool = False

    @property
    def first(self) -> int:
        """Position in a block at which its summary begins."""
        return self.size - self.offset - self.count

    def _steps(self, num: int) -> jax.Array:
        """The steps that are part of a summary, int[num]."""
        n = jnp.arange(num)
        return n // self.count * self.size + self.first + n % self.count

    def sees(self, i, j):
        """Whether step i attends to step j, given that j is part of a summary."""
        return j // self.size < i // self.size if self.skip else j <= i

    def queries(self, x_BNTH, block_size):
        return x_BNTH[:, :, None]

    def keys(self, x_BNTH, block_size):
        tokens = slice(self.first * block_size, (self.first + self.count) * block_size)
        rows = windows(x_BNTH, 2, self.size * block_size)[:, :, :, tokens]
        return rows.reshape(*rows.shape[:2], 1, -1, rows.shape[-1])

    def mask(self, num_steps, block_size):
        j_K = self._steps(-(-num_steps // self.size) * self.count)
        return per_token(self.sees(jnp.arange(num_steps)[:, None], j_K), block_size)[None]

    def restore(self, out_BNGQH, num_steps, block_size):
        return out_BNGQH[:, :, 0]

    def places(self, num_steps, block_size):
        """The summaries, and one more place, to which all other steps are written."""
        return -(-num_steps // self.size) * self.count + 1, block_size

    def step(self, cache, new, t):
        block_size = new[0].shape[1]
        length = cache[0].shape[1] // block_size
        place = t % self.size - self.first
        kept = (place >= 0) & (place < self.count)
        place = jnp.where(kept, t // self.size * self.count + place, length - 1)
        cache = write(cache, new, (0, place * block_size, 0))
        j_K = self._steps(length)  # the last index would be of a step that does not exist
        return cache, cache, per_token((j_K <= t) & self.sees(t, j_K), block_size)

    def extend(self, cache, new, t):
        length, block_size, i_k = cache[0].shape[2], cache[0].shape[3], t + jnp.arange(new[0].shape[2])
        place_k = i_k % self.size - self.first
        kept_k = (place_k >= 0) & (place_k < self.count)
        place_k = jnp.where(kept_k, i_k // self.size * self.count + place_k, length)
        cache = put(cache, new, (place_k,))
        j_K, i_k1 = self._steps(length - 1), i_k[:, None]
        visible = (j_K <= i_k1) & self.sees(i_k1, j_K)
        return cache, tuple(flat_tokens(a[:, :, :-1]) for a in cache), per_token(visible, block_size)[None]

    def graph(self, num_steps):
        i, j = np.indices((num_steps, num_steps))
        place = j % self.size - self.first
        return (j <= i) & (place >= 0) & (place < self.count) & self.sees(i, j)


@dataclasses.dataclass(frozen=True)
class TileGrid(Pattern):
    """Local attention in two dimensions, for pixels generated tile by tile, one pixel per step (Parmar et al., "Image
    Transformer", 2018, section 3.3).

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
