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

from arjax.networks.layers.attention import KeysValues, KVCache, LoopCache
from arjax.networks.layers.windows import join, put_in_ring, ring_steps, windows


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
