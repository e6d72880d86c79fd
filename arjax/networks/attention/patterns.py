"""Patterns of attention between the steps, for tokens that attend to some of the earlier ones only. A pattern is a set
of pairs (i, j): all tokens of step i attend to those of step j <= i. Blocks of queries, each with the keys that it may
need and a mask, avoid arrays of S x S.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.arrays import Array
from arjax.networks.layers.attention import KeysValues, KVCache, LoopCache
from arjax.networks.layers.causal import join, put_in_ring, ring_steps, windows


class Pattern:
    """The pairs of a pattern, and where its queries, keys and caches stand; subclasses are frozen dataclasses. A cache
    [B, N, *places, M, H] keeps the keys and values that later steps need.
    """

    def sees(self, i: Array, j: Array) -> Array:
        """The definition: whether step i attends to step j, for numbers of steps with 0 <= j <= i."""
        raise NotImplementedError

    def within(self, num_steps: int) -> Pattern:
        """Returns the pattern over this number of steps, with blocks that are no longer."""
        return self

    def queries(self, x_BNTH: jax.Array, block_size: int) -> jax.Array:
        """Tokens [B, N, S*M, H] in blocks of queries, [B, N, G, Q, H]; zeros behind the last step."""
        raise NotImplementedError

    def keys(self, x_BNTH: jax.Array, block_size: int) -> jax.Array:
        """Tokens [B, N, S*M, H] -> the keys or values that each block may need, [B, N, G, K, H]; zeros for no step."""
        raise NotImplementedError

    def restore(self, out_BNGQH: jax.Array, num_steps: int, block_size: int) -> jax.Array:
        """Blocks of queries -> tokens [B, N, S*M, H]."""
        raise NotImplementedError

    def places(self, num_steps: int) -> tuple[int, ...]:
        """The shape of the places in a cache."""
        raise NotImplementedError

    def place(self, step: jax.Array, places: tuple[int, ...]) -> tuple[jax.Array, ...]:
        """The place of a step in a cache of that shape, out of range if it has none."""
        raise NotImplementedError

    def read(self, cache: LoopCache, t: jax.Array, places: tuple[int, ...]) -> tuple[KeysValues, jax.Array]:
        """The keys and values [B*N, K*M, H] that step t may need, and their steps int[K], out of range for none."""
        raise NotImplementedError

    def read_window(self, cache: KVCache, step_k: jax.Array) -> tuple[KeysValues, jax.Array]:
        """The keys and values [B, N, G, K*M, H] that steps in G equal groups may need, and their steps int[G, K]."""
        raise NotImplementedError

    def graph(self, num_steps: int) -> np.ndarray:
        """bool[S, S]: [i, j] iff step i attends to step j."""
        i, j = np.indices((num_steps, num_steps))
        return (j <= i) & self.sees(i, j)

    def visible(self, i_GQ: jax.Array, j_GK: jax.Array, block_size: int) -> jax.Array:
        """bool[G, Q*M, K*M]: whether each token of the steps i attends to each of the steps j; below 0 is no step."""
        i, j = i_GQ[..., None], j_GK[:, None]
        between_steps = (j >= 0) & (j <= i) & self.sees(i, j)
        return jnp.repeat(jnp.repeat(between_steps, block_size, axis=-1), block_size, axis=-2)

    def mask(self, num_steps: int, block_size: int) -> jax.Array:
        """bool[G, Q, K]: whether each query of a block attends to each key."""
        from_one = jnp.arange(1, num_steps + 1)[None, None, :, None]
        i_GQ, j_GK = (layout(from_one, 1)[0, 0, ..., 0] - 1 for layout in (self.queries, self.keys))
        return self.visible(i_GQ, j_GK, block_size)

    def step(self, cache: LoopCache, new: KeysValues, t: jax.Array) -> tuple[LoopCache, KeysValues, jax.Array]:
        """Adds the keys and values [B*N, M, H] of step t to a cache that `for_loop` has made. Returns the cache, keys
        and values [B*N, K, H], and bool[1, M, K], whether step t attends to each.
        """
        block_size, axes = new[0].shape[1], cache.keys.shape[1:-1]
        places = (*axes[:-1], axes[-1] // block_size)
        *outer, last = self.place(t, places)
        fresh = tuple(a.reshape(len(a), *[1] * len(outer), *a.shape[1:]) for a in new)
        start: tuple[Any, ...] = (0, *outer, last * block_size, 0)
        pairs = zip(cache, fresh, strict=True)
        cache = LoopCache(*(jax.lax.dynamic_update_slice(old, value, start) for old, value in pairs))
        seen, steps_K = self.read(cache, t, places)
        return cache, seen, self.visible(jnp.reshape(t, (1, 1)), steps_K[None], block_size)

    def extend(self, cache: KVCache, new: KeysValues, t: jax.Array) -> tuple[Any, KeysValues, jax.Array]:
        """Adds the keys and values [B, N, k, M, H] of the steps t, t + 1, ...; t + k may be beyond the end. Returns the
        input of `keep`, keys and values [B, N, G, K, H] for the queries in G equal groups, and bool[G, Q, K], whether
        each query of a group attends to each key.
        """
        step_k = t + jnp.arange(new[0].shape[2])
        places = self.place(step_k, cache.keys.shape[2:-2])
        pairs = zip(cache, new, strict=True)
        cache = KVCache(*(old.at[:, :, *places].set(fresh, mode="drop") for old, fresh in pairs))
        seen, steps_GK = self.read_window(cache, step_k)
        return cache, seen, self.visible(step_k.reshape(len(steps_GK), -1), steps_GK, new[0].shape[3])

    def keep(self, carries: Any, n: jax.Array) -> KVCache:
        """The cache after the first n of these steps: all, if later steps overwrite the others before they are read."""
        return carries


def flat_tokens(cache: jax.Array, groups: int = 1) -> jax.Array:
    """[B, N, (G,) *places, M, H] -> [B, N, G, K, H]."""
    return cache.reshape(*cache.shape[:2], groups, -1, cache.shape[-1])


def for_loop(cache: KVCache) -> LoopCache:
    """A cache with one axis for examples and heads, and one for the last places and indices: see `LoopCache`."""
    return LoopCache(*(a.reshape(-1, *a.shape[2:-3], a.shape[-3] * a.shape[-2], a.shape[-1]) for a in cache))


@dataclasses.dataclass(frozen=True)
class Near(Pattern):
    """Blocks of `size` steps attend to themselves and to `memory` steps before. With a `window`, a step attends to no
    more than the last `window` steps, itself included.
    """

    size: int
    memory: int
    window: int = 0

    def sees(self, i, j):
        bound = i // self.size * self.size - self.memory
        return (j >= bound) & (j > i - self.window) if self.window else j >= bound

    def within(self, num_steps):
        return dataclasses.replace(self, size=min(self.size, num_steps), memory=min(self.memory, num_steps))

    def queries(self, x_BNTH, block_size):
        return windows(x_BNTH, 2, self.size * block_size)

    def keys(self, x_BNTH, block_size):
        return windows(x_BNTH, 2, self.size * block_size, before=self.memory * block_size)

    def restore(self, out_BNGQH, num_steps, block_size):
        return join(out_BNGQH, 2, num_steps * block_size)

    def places(self, num_steps):
        return (min(self.window or self.memory + self.size, num_steps),)

    def place(self, step, places):
        """In a ring: step j has the index j modulo its length."""
        return (step % places[0],)

    def read(self, cache, t, places):
        return cache, ring_steps(t + 1, places[0])

    def extend(self, cache, new, t):
        """The ring is not written yet: a step that is not kept would overwrite keys that are still needed."""
        step_k = t + jnp.arange(new[0].shape[2])
        steps_K = jnp.concatenate([ring_steps(t, cache.keys.shape[2]), step_k])
        seen = tuple(flat_tokens(jnp.concatenate(pair, 2)) for pair in zip(cache, new, strict=True))
        return (cache, new, t), seen, self.visible(step_k[None], steps_K[None], new[0].shape[3])

    def keep(self, carries, n):
        cache, new, t = carries
        return KVCache(*(put_in_ring(ring, fresh, t, n, axis=2) for ring, fresh in zip(cache, new, strict=True)))


@dataclasses.dataclass(frozen=True)
class Strided(Pattern):
    """Step i attends to the steps i, i - stride, i - 2 stride, ...: A(2) of the strided pattern of Child et al.,
    "Generating Long Sequences with Sparse Transformers" (2019), section 4.3.
    """

    stride: int

    def sees(self, i, j):
        return (i - j) % self.stride == 0

    def queries(self, x_BNTH, block_size):
        rows = windows(x_BNTH, 2, self.stride * block_size)  # [B, N, S / stride, stride * M, H]
        rows = rows.reshape(*rows.shape[:3], self.stride, block_size, rows.shape[-1])
        columns = jnp.moveaxis(rows, 3, 2)  # one block per remainder
        return columns.reshape(*columns.shape[:3], -1, columns.shape[-1])

    keys = queries

    def restore(self, out_BNGQH, num_steps, block_size):
        rows = jnp.moveaxis(out_BNGQH.reshape(*out_BNGQH.shape[:3], -1, block_size, out_BNGQH.shape[-1]), 2, 3)
        return rows.reshape(*rows.shape[:2], -1, rows.shape[-1])[:, :, : num_steps * block_size]

    def places(self, num_steps):
        """One row per remainder, so that the keys of a step are contiguous."""
        return self.stride, -(-num_steps // self.stride)

    def place(self, step, places):
        return step % self.stride, step // self.stride

    def read(self, cache, t, places):
        seen = tuple(jax.lax.dynamic_index_in_dim(a, t % self.stride, 1, keepdims=False) for a in cache)
        return seen, t % self.stride + self.stride * jnp.arange(places[1])

    def read_window(self, cache, step_k):
        """One group of queries per step: each attends to the row of its remainder."""
        remainder_k = step_k % self.stride
        seen = tuple(flat_tokens(a[:, :, remainder_k], len(step_k)) for a in cache)
        return seen, remainder_k[:, None] + self.stride * jnp.arange(cache.keys.shape[3])
