"""Self-attention along sparse patterns, in memory and time proportional to the number of pairs, and its networks."""

from __future__ import annotations

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import refuse
from arjax.core.options import opt
from arjax.factorization import Factorization
from arjax.factorization.orderings import tiles
from arjax.networks.attention.patterns import Near, Pattern, Strided, Summary, TileGrid, for_loop
from arjax.networks.attention.transformer import BlockNetwork, ChunkedTokens, through_tokens
from arjax.networks.base import ACTIVATIONS, NETWORKS, tell_cut
from arjax.networks.layers.attention import Cache, KVCache, LoopCache, MultiHead

#: Patterns, each with its number of heads.
HeadPatterns = tuple[tuple[Pattern, int], ...]
#: Stands for the logarithm of 0: finite, so that differences of two of them are no NaN.
LOG_ZERO = -1e30


def partial_attention(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """softmax(q k' / sqrt(H)) v over the keys in the mask, 0 if it is empty, and the log of the softmax's sum: q
    [..., Q, H], k and v [..., K, H], mask [..., Q or 1, K] -> [..., Q, H] and float32[..., Q].
    """
    scores = jnp.einsum("...qh,...kh->...qk", q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    scores = jnp.where(mask, scores, LOG_ZERO)
    largest = jax.lax.stop_gradient(scores.max(-1, keepdims=True))
    weights = jnp.where(mask, jnp.exp(scores - largest), 0.0)
    total = weights.sum(-1, keepdims=True)
    seen = total > 0
    total = jnp.where(seen, total, 1.0)  # not a small number: the derivative of the quotient divides by its square
    out = jnp.einsum("...qk,...kh->...qh", (weights / total).astype(v.dtype), v)
    return out, jnp.where(seen, jnp.log(total) + largest, LOG_ZERO)[..., 0]


def unite(parts: list[tuple[jax.Array, jax.Array]]) -> jax.Array:
    """One softmax over disjoint sets, from `partial_attention` over each of them."""
    if len(parts) == 1:
        return parts[0][0]
    share = jax.nn.softmax(jnp.stack([log_sum for _, log_sum in parts]), axis=0)
    shares = (w[..., None].astype(out.dtype) * out for w, (out, _) in zip(share, parts, strict=True))
    return functools.reduce(operator.add, shares)


class PatternAttention(MultiHead):
    """Self-attention in which each group of heads follows one of the `patterns`, each given with its number of heads;
    or, if `merged`, all heads follow the union of all patterns, which must then be disjoint.
    """

    patterns: HeadPatterns = ()
    merged: bool = False

    def _groups(self) -> list[tuple[Pattern, slice]]:
        if self.merged:
            return [(pattern, slice(0, self.num_heads)) for pattern, _ in self.patterns]
        ends = np.cumsum([count for _, count in self.patterns])
        return [(p, slice(int(end) - n, int(end))) for (p, n), end in zip(self.patterns, ends, strict=True)]

    def _combine(self, parts: list[tuple[jax.Array, jax.Array]]) -> jax.Array:
        mixed_BNTH = unite(parts) if self.merged else jnp.concatenate([out for out, _ in parts], axis=1)
        return self._merge(mixed_BNTH)

    def __call__(self, x_BTE: jax.Array, block_size: int) -> jax.Array:
        """All tokens, [B, S*M, E] -> [B, S*M, E]."""
        num_steps = x_BTE.shape[1] // block_size
        qkv = self._project(x_BTE)
        parts = []
        for pattern, heads in self._groups():
            q, k, v = (a[:, heads] for a in qkv)
            pattern = pattern.within(num_steps)
            blocks = pattern.queries(q, block_size), pattern.keys(k, block_size), pattern.keys(v, block_size)
            out, log_sum = partial_attention(*blocks, pattern.mask(num_steps, block_size))
            restore = functools.partial(pattern.restore, num_steps=num_steps, block_size=block_size)
            parts.append((restore(out), restore(log_sum[..., None])[..., 0]))
        return self._combine(parts)

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
            out, log_sum = partial_attention(q, keys, values, visible)
            parts.append((out.reshape(shape), log_sum.reshape(shape[:-1])))
        return kept, self._combine(parts)

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
            out, log_sum = partial_attention(q.reshape(*q.shape[:2], groups, -1, q.shape[-1]), keys, values, visible)
            parts.append((out.reshape(q.shape), log_sum.reshape(q.shape[:-1])))
        return carries, self._combine(parts)

    def keep(self, carries: list[Any], n: jax.Array) -> list[KVCache]:
        return [pattern.keep(after, n) for (pattern, _), after in zip(self._groups(), carries, strict=True)]


class PatternNetwork(BlockNetwork, ChunkedTokens):
    """Transformer blocks with heads that follow patterns; subclasses define these."""

    def patterns(self) -> HeadPatterns:
        """The patterns of each layer, each with its number of heads."""
        raise TypeError(f"{type(self).__name__} has no patterns")

    def unites(self) -> bool:
        return False

    def make_attention(self):
        return self.heads_of(PatternAttention, patterns=self.patterns(), merged=self.unites())

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
    """Tokens attend along two sparse patterns of about sqrt(S) steps each, which connect all steps in two hops (Child,
    Gray, Radford & Sutskever, "Generating Long Sequences with Sparse Transformers", 2019, section 4.3; l is the
    stride):

    strided   A(1) = the last l steps and the step itself, A(2) = each l-th step back from it
    fixed     A(1) = the block of l steps around it, A(2) = the last c steps of each block

    Heads (section 5.2): "split", where half of them follow A(1) and half A(2) (in the fixed pattern each of these
    attends to c other steps of a block), or "merged", where all attend to the union. In step form a step attends to
    O(l + S / l) steps. Options: as `BlockNetwork`; `stride` l, `pattern`, `expressivity` c, `heads`.
    """

    stride: int = 32
    pattern: str = opt("strided", choices=("strided", "fixed"))
    expressivity: int = 4
    heads: str = opt("split", choices=("split", "merged"))

    SMALL = {"width": 24, "num_layers": 2, "num_heads": 2, "stride": 2, "expressivity": 1, "heads": "merged"}

    def check(self, factorization):
        super().check(factorization)
        split, heads = self.heads == "split", self.num_heads
        summaries = self.expressivity * (heads // 2 if split else 1)
        refuse(
            (split and heads % 2, f"network.heads=split needs an even number of heads, not {heads}"),
            (
                self.pattern == "fixed" and summaries > self.stride,
                f"the heads summarise {summaries} steps of each block, more than its network.stride={self.stride}",
            ),
        )

    def unites(self):
        return self.heads == "merged"

    def patterns(self):
        stride, count, half, merged = self.stride, self.expressivity, self.num_heads // 2, self.unites()
        if self.pattern == "strided":
            return (Near(stride, stride, stride + 1), half), (Strided(stride, skip=stride if merged else -1), half)
        if merged:
            return (Near(stride, 0), half), (Summary(stride, count, skip=True), half)
        return (Near(stride, 0), half), *((Summary(stride, count, head * count), 1) for head in range(half))


@NETWORKS.register("image_transformer")
class ImageTransformer(PatternNetwork):
    """Blocks of queries attend to a memory block around them, in one or two dimensions (Parmar, Vaswani, Uszkoreit,
    Kaiser, Shazeer, Ku & Tran, "Image Transformer", 2018, section 3.3).

    One number each, `query_block=(l_q,)` and `memory=(l_m,)`: blocks of l_q steps attend to themselves and the l_m
    steps before, in any order and partition. Two numbers, (h_q, w_q) and (h_m, w_m): rectangles attend to themselves,
    h_m rows above and w_m columns on either side; the image is then generated rectangle by rectangle, with
    `model.ordering=tiles(...)`. Normalisation comes before each branch, as in all our Transformers; in the paper it
    comes after. Options: as `BlockNetwork`; `query_block`, `memory`.
    """

    query_block: tuple[int, ...] = opt((256,), fewest=1)
    memory: tuple[int, ...] = opt((256,), least=0, fewest=1)
    activation: str = opt("relu", choices=ACTIVATIONS)

    SMALL = {"width": 24, "num_layers": 2, "num_heads": 2, "query_block": (2,), "memory": (1,)}

    def check(self, factorization):
        super().check(factorization)
        block, memory = self.query_block, self.memory
        numbers = f"must be one or two whole numbers each, not {block} and {memory}"
        refuse((not 1 <= len(block) == len(memory) <= 2, f"network.query_block and network.memory {numbers}"))
        if len(block) == 2:
            check_tiles(factorization, block)

    def patterns(self):
        if len(self.query_block) == 1:
            return ((Near(min(self.query_block[0], self.event.num_sites), self.memory[0]), self.num_heads),)
        return ((TileGrid(self.event.grid_shape, self.query_block, self.memory), self.num_heads),)


def check_tiles(factorization: Factorization, block: tuple[int, int]) -> None:
    """Raises `UserError` unless the order visits single sites rectangle by rectangle."""
    grid_shape = factorization.grid_shape
    fits = len(grid_shape) == 2 and not any(length % side for length, side in zip(grid_shape, block, strict=True))
    refuse((not fits, f"network.query_block={block} must divide a grid of two dimensions, not {grid_shape}"))
    in_order = factorization.block_size == 1 and np.array_equal(factorization.order, tiles(grid_shape, *block))
    call = f"tiles(height={block[0]}, width={block[1]})"
    refuse((not in_order, f"attention in two dimensions needs model.ordering={call} and model.partition=sites"))
