"""The pattern of the fixed Sparse Transformer: each block of steps is seen through a summary, some of its steps."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from arjax.networks.attention.patterns import ByStep, flat_tokens, per_token, windows, write


@dataclasses.dataclass(frozen=True)
class Summary(ByStep):
    """Every step attends to `count` earlier steps of each block of `size`: with `skip`, of earlier blocks only.

    They are the last steps of the block, except for the `offset` after them. Child et al. (2019), section 4.3: A(2) of
    the fixed pattern, where `size` is l and `count` is c.
    """

    size: int
    count: int
    offset: int = 0
    skip: bool = False

    SLOTS = True

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

    def init_cache(self, shape, num_steps, block_size, dtype):
        """The summaries, and one more place, to which all other steps are written."""
        batch, heads, size = shape
        zeros = jnp.zeros((batch, heads, -(-num_steps // self.size) * self.count + 1, block_size, size), dtype)
        return zeros, zeros

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
        pairs = zip(cache, new, strict=True)
        cache = tuple(old.at[:, :, place_k].set(fresh, mode="drop") for old, fresh in pairs)
        j_K, i_k1 = self._steps(length - 1), i_k[:, None]
        visible = (j_K <= i_k1) & self.sees(i_k1, j_K)
        return cache, tuple(flat_tokens(a[:, :, :-1]) for a in cache), per_token(visible, block_size)[None]

    def graph(self, num_steps):
        i, j = np.indices((num_steps, num_steps))
        place = j % self.size - self.first
        return (j <= i) & (place >= 0) & (place < self.count) & self.sees(i, j)
