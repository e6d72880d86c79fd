"""Self-attention along sparse patterns, in memory and time proportional to the number of pairs, and its networks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import refuse
from arjax.core.options import opt
from arjax.networks.attention.patterns import Near, Pattern, Strided, for_loop
from arjax.networks.attention.transformer import BlockNetwork, ChunkedTokens, through_tokens
from arjax.networks.base import ACTIVATIONS, NETWORKS, tell_cut
from arjax.networks.layers.attention import Cache, KVCache, LoopCache, MultiHead

#: Patterns, each with its number of heads.
HeadPatterns = tuple[tuple[Pattern, int], ...]
#: The score of a key that is not seen: finite, so that differences of two of them are no NaN.
UNSEEN = -1e30


def masked_attention(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array) -> jax.Array:
    """softmax(q k' / sqrt(H)) v over the keys in the mask, 0 if it is empty: q [..., Q, H], k and v [..., K, H], mask
    [..., Q or 1, K] -> [..., Q, H].
    """
    scores = jnp.einsum("...qh,...kh->...qk", q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    scores = jnp.where(mask, scores, UNSEEN)
    largest = jax.lax.stop_gradient(scores.max(-1, keepdims=True))
    weights = jnp.where(mask, jnp.exp(scores - largest), 0.0)
    total = weights.sum(-1, keepdims=True)
    # not a small number: the derivative of the quotient divides by its square
    total = jnp.where(total > 0, total, 1.0)
    return jnp.einsum("...qk,...kh->...qh", (weights / total).astype(v.dtype), v)


class PatternAttention(MultiHead):
    """Self-attention in which each group of heads follows one of the `patterns`, each with its number of heads."""

    patterns: HeadPatterns = ()

    def _groups(self) -> list[tuple[Pattern, slice]]:
        ends = np.cumsum([count for _, count in self.patterns])
        return [(p, slice(int(end) - n, int(end))) for (p, n), end in zip(self.patterns, ends, strict=True)]

    def __call__(self, x_BTE: jax.Array, block_size: int) -> jax.Array:
        """All tokens, [B, S*M, E] -> [B, S*M, E]."""
        num_steps = x_BTE.shape[1] // block_size
        qkv = self._project(x_BTE)
        parts = []
        for pattern, heads in self._groups():
            q, k, v = (a[:, heads] for a in qkv)
            pattern = pattern.within(num_steps)
            blocks = pattern.queries(q, block_size), pattern.keys(k, block_size), pattern.keys(v, block_size)
            out = masked_attention(*blocks, pattern.mask(num_steps, block_size))
            parts.append(pattern.restore(out, num_steps, block_size))
        return self._merge(jnp.concatenate(parts, axis=1))

    def init_cache(self, batch_size: int, num_steps: int, block_size: int) -> list[KVCache]:
        caches = []
        for pattern, heads in self._groups():
            shape = batch_size, heads.stop - heads.start, *pattern.places(num_steps), block_size, self.kv_shape[1]
            zeros = jnp.zeros(shape, self.dtype)
            caches.append(KVCache(zeros, zeros))
        return caches

    def step(self, cache: list[Cache], x_BME: jax.Array, t: jax.Array) -> tuple[list[Cache], jax.Array]:
        qkv, kept, parts = self._project(x_BME), [], []
        for (pattern, heads), old in zip(self._groups(), cache, strict=True):
            shape = qkv[0][:, heads].shape
            q, k, v = (a[:, heads].reshape(-1, *shape[2:]) for a in qkv)
            looped = old if isinstance(old, LoopCache) else for_loop(old)
            new, (keys, values), visible = pattern.step(looped, (k, v), t)
            kept.append(type(old)(*(after.reshape(before.shape) for after, before in zip(new, old, strict=True))))
            parts.append(masked_attention(q, keys, values, visible).reshape(shape))
        return kept, self._merge(jnp.concatenate(parts, axis=1))

    def loop_carry(self, cache: list[KVCache], tokens: int, past: list[LoopCache] | None = None) -> list[LoopCache]:
        """The caches in the form that a loop updates in place; they have one size in all steps."""
        return past or list(map(for_loop, cache))

    def extend(
        self, cache: list[KVCache], x_BTE: jax.Array, t: jax.Array, block_size: int
    ) -> tuple[list[Any], jax.Array]:
        qkv, carries, parts = self._project(x_BTE), [], []
        for (pattern, heads), old in zip(self._groups(), cache, strict=True):
            q, k, v = (a[:, heads] for a in qkv)
            by_step = (*k.shape[:2], -1, block_size, k.shape[-1])
            new = k.reshape(by_step), v.reshape(by_step)
            after, (keys, values), visible = pattern.extend(old, new, t)
            carries.append(after)
            groups = keys.shape[2]
            out = masked_attention(q.reshape(*q.shape[:2], groups, -1, q.shape[-1]), keys, values, visible)
            parts.append(out.reshape(q.shape))
        return carries, self._merge(jnp.concatenate(parts, axis=1))

    def keep(self, carries: list[Any], n: jax.Array) -> list[KVCache]:
        return [pattern.keep(after, n) for (pattern, _), after in zip(self._groups(), carries, strict=True)]


class PatternNetwork(BlockNetwork, ChunkedTokens):
    """Transformer blocks with heads that follow patterns: subclasses define `patterns() -> HeadPatterns`, the patterns
    of each layer.
    """

    def make_attention(self):
        return self.heads_of(PatternAttention, patterns=self.patterns())

    def dependencies(self, factorization):
        itself = np.eye(factorization.num_steps, dtype=bool)
        graphs = [pattern.graph(factorization.num_steps) for pattern, _ in self.patterns()]
        return through_tokens(np.logical_or.reduce([itself, *graphs]), self.num_layers, factorization)


@NETWORKS.register("local_transformer")
class LocalTransformer(PatternNetwork):
    """Tokens attend to the last `window` steps, their own included, so L layers reach L (window - 1) steps back
    (Beltagy, Peters & Cohan, "Longformer: The Long-Document Transformer", 2020, section 3.1, and many others).

    Memory and time grow as length times window; the step form keeps the keys and values of one window. Options: as
    `BlockNetwork`, and `window`.
    """

    window: int = 64

    TRAITS = PatternNetwork.TRAITS | {"unbounded"}
    SMALL = {"width": 24, "num_layers": 2, "num_heads": 2, "window": 3}

    def check(self, factorization):
        super().check(factorization)
        tell_cut(self, factorization, window=factorization.num_steps)

    @property
    def traits(self):
        """Unbounded only if the window is not longer than what was seen in training."""
        return super().traits - ({"unbounded"} if self.window > self.event.num_sites else set())

    def patterns(self):
        window = min(self.window, self.event.num_sites)
        return ((Near(window, window - 1, window), self.num_heads),)


@NETWORKS.register("sparse_transformer")
class SparseTransformer(PatternNetwork):
    """Tokens attend along two sparse patterns of about sqrt(S) steps each, which connect all steps in two hops: half of
    the heads to the last l steps and the step itself, half to each l-th step back from it (Child, Gray, Radford &
    Sutskever, "Generating Long Sequences with Sparse Transformers", 2019, section 4.3, the strided pattern). In step
    form a step attends to O(l + S / l) steps. Options: as `BlockNetwork`, and `stride` l.
    """

    stride: int = 32

    SMALL = {"width": 24, "num_layers": 2, "num_heads": 2, "stride": 2}

    def check(self, factorization):
        super().check(factorization)
        refuse((self.num_heads % 2, f"the two patterns need an even number of heads, not {self.num_heads}"))

    def patterns(self):
        stride, half = self.stride, self.num_heads // 2
        return (Near(stride, stride, stride + 1), half), (Strided(stride), half)


@NETWORKS.register("image_transformer")
class ImageTransformer(PatternNetwork):
    """Blocks of `query_block` steps attend to themselves and to the `memory` steps before, in any order and partition
    (Parmar, Vaswani, Uszkoreit, Kaiser, Shazeer, Ku & Tran, "Image Transformer", 2018, section 3.3, local attention in
    one dimension). Normalisation comes before each branch, as in all our Transformers; in the paper it comes after.
    Options: as `BlockNetwork`; `query_block`, `memory`.
    """

    query_block: int = 256
    memory: int = opt(256, least=0)
    activation: str = opt("relu", choices=ACTIVATIONS)

    SMALL = {"width": 24, "num_layers": 2, "num_heads": 2, "query_block": 2, "memory": 1}

    def patterns(self):
        return ((Near(min(self.query_block, self.event.num_sites), self.memory), self.num_heads),)
