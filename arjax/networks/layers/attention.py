"""Attention: the formula, and layers that attend to earlier steps and to a context."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.networks.layers.dense import Dense

#: Keys and values, equal shapes [..., positions, H].
KeysValues = tuple[jax.Array, jax.Array]


def attention(q_BNTH: jax.Array, k_BGTH: jax.Array, v_BGTH: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns softmax(q k' / sqrt(H)) v over the positions that the mask [..., Tq, Tk] or [Tk] allows; softmax in
    float32.

    N query heads may share G < N heads of keys and values, N / G neighbours each ("grouped-query attention", Ainslie et
    al., 2023, section 2.2). On a CPU plain einsums are faster than `jax.nn.dot_product_attention`; for accelerators see
    `fused_attention`. Heads come before positions, as otherwise each step of sampling would transpose the whole cache.
    """
    batch, heads, length, size = q_BNTH.shape
    share = heads // k_BGTH.shape[1]
    if share > 1:
        q_BNTH = q_BNTH.reshape(batch, heads // share, share * length, size)
        if mask.ndim > 1 and mask.shape[-2] > 1:
            mask = jnp.tile(mask, (share, 1))
    scores = jnp.einsum("bgqh,bgkh->bgqk", q_BNTH * size**-0.5, k_BGTH)
    scores = jnp.where(mask, scores.astype(jnp.float32), jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores).astype(v_BGTH.dtype)
    return jnp.einsum("bgqk,bgkh->bgqh", weights, v_BGTH).reshape(batch, heads, length, -1)


class KVCache(NamedTuple):
    """Keys and values of all tokens, [B, G, C, H] each, with zeros where nothing is written yet."""

    keys: jax.Array
    values: jax.Array

    def write(self, new: KeysValues, start: jax.Array) -> KVCache:
        """The cache with new tokens at the places from `start` on; those beyond the end are dropped."""
        return KVCache(write_tokens(self.keys, new[0], start), write_tokens(self.values, new[1], start))

    def mix(self, q_BNTH: jax.Array, visible: jax.Array) -> jax.Array:
        """Attention of the queries to the visible places, [B, N, T, H]."""
        return attention(q_BNTH, *self, visible)

    def for_loop(self, tokens: int, past: LoopCache | None = None) -> LoopCache:
        """The cache with places for that many tokens, in the form of a loop: see `ChunkedNetwork.loop_carry`."""
        merged = [leaf[:, :, :tokens].reshape(-1, min(tokens, leaf.shape[2]), leaf.shape[-1]) for leaf in self]
        merged = [jnp.pad(leaf, ((0, 0), (0, tokens - leaf.shape[1]), (0, 0))) for leaf in merged]
        if past is not None:
            merged = [jnp.concatenate([p, c[:, p.shape[1] :]], 1) for p, c in zip(past, merged, strict=True)]
        return LoopCache(*merged)


class LoopCache(NamedTuple):
    """Keys and values as loops update them in place, [B*G, C, H]: XLA copies a cache with an axis of one example."""

    keys: jax.Array
    values: jax.Array

    def write(self, new: KeysValues, start: jax.Array) -> LoopCache:
        """The cache with new tokens [B, G, T, H] at the places from `start` on, which must exist."""

        def put(old: jax.Array, fresh: jax.Array) -> jax.Array:
            return jax.lax.dynamic_update_slice_in_dim(old, fresh.reshape(len(old), -1, old.shape[-1]), start, 1)

        return LoopCache(put(self.keys, new[0]), put(self.values, new[1]))

    def mix(self, q_BNTH: jax.Array, visible: jax.Array) -> jax.Array:
        """As `KVCache.mix`, but the mixture, which is smaller than the weights, is divided by their sum."""
        length, size = q_BNTH.shape[2:]
        q = q_BNTH.reshape(len(self.keys), -1, size)
        scores = jnp.einsum("nqh,nkh->nqk", q * size**-0.5, self.keys).astype(jnp.float32)
        if visible.ndim > 2:  # of each example
            visible = jnp.broadcast_to(visible, (*q_BNTH.shape[:3], scores.shape[-1])).reshape(scores.shape)
        else:
            visible = jnp.tile(visible, (scores.shape[1] // length, 1))  # heads that share keys are further queries
        scores = jnp.where(visible, scores, jnp.finfo(jnp.float32).min)
        weights = jnp.exp(scores - scores.max(-1, keepdims=True))
        mixed = jnp.einsum("nqk,nkh->nqh", weights.astype(self.values.dtype), self.values)
        mixed = (mixed / weights.sum(-1, keepdims=True)).astype(self.values.dtype)
        return mixed.reshape(q_BNTH.shape)


def rotary_frequencies(size: int, base: float, scaling: tuple[float, ...] = ()) -> np.ndarray:
    """Returns the angle per position of each pair of features, base^(-2i / H): float32[H / 2].

    `scaling` (factor, low, high, original length) stretches the length as in Llama 3.1: waves shorter than
    length / high stay, waves longer than length / low become `factor` times longer, and between the two the frequency
    is interpolated linearly in length / wave length.
    """
    frequency = (1 / np.float32(base) ** (np.arange(0, size, 2, dtype=np.float32) / size)).astype(np.float32)
    if not scaling:
        return frequency
    factor, low, high, length = (np.float32(value) for value in scaling)
    kept = np.clip((length * frequency / np.float32(2 * np.pi) - low) / (high - low), 0, 1)
    return ((1 - kept) * frequency / factor + kept * frequency).astype(np.float32)


def rotate(x_BNTH: jax.Array, position: jax.Array, frequency: np.ndarray) -> jax.Array:
    """Rotary position embedding (Su et al., "RoFormer", 2021, section 3.2, equations 15 and 34). The pair (x_i,
    x_(i + H/2)) is rotated by position * frequency_i, so that products of queries and keys depend on differences of
    positions alone. The paper pairs neighbours; halves, as most published weights have them, only permute the features.
    `position`: int[T] or int[].
    """
    angle_TH = position[..., None].astype(jnp.float32) * frequency
    cos, sin = jnp.cos(angle_TH), jnp.sin(angle_TH)
    first, second = jnp.split(x_BNTH.astype(jnp.float32), 2, axis=-1)  # angles of late positions need float32
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], -1)
    return rotated.astype(x_BNTH.dtype)


class MultiHead(nn.Module):
    """The projections of attention with several heads; subclasses define the pattern of attention.

    Attributes:
      num_heads: N, heads of the queries.
      out_scale: variance of the output projection at the start, relative to the usual one.
      num_kv_heads: G, heads of keys and values, each shared by N / G heads of queries; 0 for N.
      head_size: H; 0 for E / N, where E is the `width`.
    """

    width: int
    num_heads: int
    out_scale: float
    dtype: str
    num_kv_heads: int = 0
    head_size: int = 0
    use_bias: bool = True

    @property
    def kv_shape(self) -> tuple[int, int]:
        """(G, H): heads of keys and values, and their size."""
        return self.num_kv_heads or self.num_heads, self.head_size or self.width // self.num_heads

    def setup(self):
        groups, size = self.kv_shape
        options = {"use_bias": self.use_bias, "dtype": self.dtype, "batch_first": True}
        before, after = (functools.partial(layer, **options) for layer in self.layers())
        self.query = before(self.num_heads * size)
        self.key = before(groups * size)
        self.value = before(groups * size)
        init = nn.initializers.variance_scaling(self.out_scale, "fan_in", "truncated_normal")
        self.out = after(self.width, kernel_init=init)

    def layers(self) -> tuple[Callable[..., Dense], Callable[..., Dense]]:
        """The layers before the heads, and after them."""
        return Dense, Dense

    def _heads(self, y_BTE: jax.Array) -> jax.Array:
        """[B, T, heads * H] -> [B, heads, T, H]."""
        return jnp.swapaxes(y_BTE.reshape(*y_BTE.shape[:-1], -1, self.kv_shape[1]), 1, 2)

    def _project(self, x_BTE: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries [B, N, T, H], keys and values [B, G, T, H]."""
        return self._heads(self.query(x_BTE)), self._heads(self.key(x_BTE)), self._heads(self.value(x_BTE))

    def loop_carry(self, cache: Any, tokens: int, past: Any = None) -> Any:
        """See `ChunkedNetwork.loop_carry`; by default a cache has one size and one form."""
        return cache if past is None else past

    def _merge(self, mixed_BNTH: jax.Array) -> jax.Array:
        """The heads' results [B, N, T, H] -> outputs [B, T, E]."""
        mixed_BTNH = jnp.swapaxes(mixed_BNTH, 1, 2)
        return self.out(mixed_BTNH.reshape(*mixed_BTNH.shape[:2], -1))


class FullAttention(MultiHead):
    """Attention of all tokens to all tokens, [B, T, E] -> [B, T, E]."""

    def __call__(self, x_BTE: jax.Array, block_size: int) -> jax.Array:
        return self._merge(attention(*self._project(x_BTE), jnp.ones(x_BTE.shape[1], bool)))


#: Either form of a cache.
Cache = TypeVar("Cache", KVCache, LoopCache)


class SelfAttention(MultiHead):
    """Self-attention, causal over blocks of M tokens: token n attends to all tokens of blocks <= n // M. Modules with
    the same methods (`extend` and `keep` only if the network has them) may take its place in a `Block`.

    `rotary_base` > 0 rotates queries and keys by the number of their step, so it works with any order, see `rotate`.
    `qk_norm` divides each query and key by the root of the mean of its squares, before it is rotated, and multiplies it
    with learned scales, which the heads share (Henry et al., "Query-Key Normalization", 2020; in this form Qwen3, 2025,
    section 2): their products stay small however large the residual stream grows.
    """

    rotary_base: float = 0.0
    rotary_scaling: tuple[float, ...] = ()
    qk_norm: bool = False

    def setup(self):
        super().setup()
        if self.qk_norm:
            self.query_norm, self.key_norm = nn.RMSNorm(dtype=self.dtype), nn.RMSNorm(dtype=self.dtype)

    def _qkv(self, x_BTE: jax.Array, step_T: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries [B, N, T, H], keys and values [B, G, T, H] of tokens of the given steps."""
        q, k, v = self._project(x_BTE)
        if self.qk_norm:
            q, k = self.query_norm(q), self.key_norm(k)
        if self.rotary_base:
            frequency = rotary_frequencies(self.kv_shape[1], self.rotary_base, self.rotary_scaling)
            q, k = rotate(q, step_T, frequency), rotate(k, step_T, frequency)
        return q, k, v

    def __call__(self, x_BTE: jax.Array, block_size: int) -> jax.Array:
        """All tokens, [B, S*M, E] -> [B, S*M, E]."""
        block = jnp.arange(x_BTE.shape[1]) // block_size
        return self._merge(attention(*self._qkv(x_BTE, block), block[:, None] >= block[None, :]))

    def init_cache(self, batch_size: int, num_steps: int, block_size: int) -> KVCache:
        """An empty cache for the keys and values of all tokens, [B, G, S*M, H] each."""
        groups, size = self.kv_shape
        zeros = jnp.zeros((batch_size, groups, num_steps * block_size, size), self.dtype)
        return KVCache(zeros, zeros)

    def step(self, cache: Cache, x_BME: jax.Array, t: jax.Array) -> tuple[Cache, jax.Array]:
        """Writes the keys and values of block t into the cache and attends to blocks <= t."""
        return self.extend(cache, x_BME, t, x_BME.shape[1])

    def loop_carry(self, cache: KVCache, tokens: int, past: LoopCache | None = None) -> LoopCache:
        return cache.for_loop(tokens, past)

    def extend(self, cache: Cache, x_BTE: jax.Array, t: jax.Array, block_size: int) -> tuple[Cache, jax.Array]:
        """The tokens of blocks t, t + 1, ...; blocks after the last step are dropped. The cache is the carry of any n,
        because later blocks overwrite discarded ones before any token reads them.
        """
        block_T = t + np.arange(x_BTE.shape[1], dtype=np.int32) // block_size
        q, *new = self._qkv(x_BTE, block_T)
        cache = cache.write((new[0], new[1]), t * block_size)
        visible = jnp.arange(cache.keys.shape[-2]) < (1 + block_T)[:, None] * block_size
        return cache, self._merge(cache.mix(q, visible))

    def keep(self, cache: Cache, n: jax.Array) -> Cache:
        return cache

    def ahead(self, cache: KVCache, x_BTE: jax.Array, t: jax.Array, block_size: int) -> jax.Array:
        """Blocks that each take the place of block t: each sees the blocks < t of the cache and itself."""
        block_T = jnp.arange(x_BTE.shape[1]) // block_size
        q, *new = self._qkv(x_BTE, jnp.asarray(t))
        keys, values = (jnp.concatenate(both, axis=2) for both in zip(cache, new, strict=True))
        num_places = cache.keys.shape[2]
        earlier = jnp.broadcast_to(jnp.arange(num_places) < t * block_size, (len(block_T), num_places))
        visible = jnp.concatenate([earlier, block_T[:, None] == block_T], axis=1)
        return self._merge(attention(q, keys, values, visible))


def write_tokens(cache: jax.Array, new: jax.Array, start: jax.Array) -> jax.Array:
    """Writes new tokens [B, G, T, H] into the cache [B, G, C, H] from `start` on; tokens beyond its end are dropped."""
    length = min(cache.shape[2], new.shape[2])
    first = jnp.minimum(start, cache.shape[2] - length)  # JAX would move a slice that is out of bounds
    window = jax.lax.dynamic_slice_in_dim(cache, first, length, axis=2)
    token_T = jnp.arange(length) + first - start
    fresh = jnp.take(new, token_T, axis=2, mode="clip")
    window = jnp.where((token_T >= 0)[:, None], fresh, window)
    return jax.lax.dynamic_update_slice_in_dim(cache, window, first, axis=2)


class CrossAttention(MultiHead):
    """Attention of the tokens to an encoded context (Vaswani et al., 2017, section 3.2.3); an empty one adds 0."""

    def keys_values(self, encoded_BLE: jax.Array) -> KeysValues:
        """Keys and values [B, G, L, H] of the context, the same for all steps."""
        return self._heads(self.key(encoded_BLE)), self._heads(self.value(encoded_BLE))

    def __call__(self, x_BTE: jax.Array, keys_values: KeysValues, valid_BL: jax.Array) -> jax.Array:
        """Attention of the tokens [B, T, E] to the valid positions of the context, [B, T, E]."""
        mixed_BNTH = attention(self._heads(self.query(x_BTE)), *keys_values, valid_BL[:, None, None, :])
        return self._merge(jnp.where(valid_BL.any(-1)[:, None, None, None], mixed_BNTH, 0))
