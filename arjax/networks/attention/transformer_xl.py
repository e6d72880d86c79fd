"""Transformer-XL: attention to the segment and to a memory of the segments before it, by relative positions (Dai, Yang,
Yang, Carbonell, Le & Salakhutdinov, "Transformer-XL: Attentive Language Models Beyond a Fixed-Length Context", 2019,
sections 3.2 and 3.3).
"""

from __future__ import annotations

from typing import Any, Generic, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.options import depth_option, opt, rate_option
from arjax.networks.attention.transformer import ChunkedTokens, through_tokens
from arjax.networks.base import ACTIVATIONS, NETWORKS, fields_from, tell_cut
from arjax.networks.layers.attention import Cache, KVCache, LoopCache, MultiHead
from arjax.networks.layers.blocks import check_stack
from arjax.networks.layers.causal import join, put_in_ring, ring_steps, windows
from arjax.networks.layers.dense import Dense
from arjax.networks.layers.embedding import POSITIONS, PositionEncoder
from arjax.networks.layers.steps import StepTokens, check_told_apart

#: u and v of section 3.3, [N, H] each: biases of the query for contents and for distances.
Biases = tuple[jax.Array, jax.Array]
#: Steps of the first loop of a draw, where the ring has places for more.
FIRST_LOOP = 256


def by_key(scores: jax.Array) -> jax.Array:
    """Scores by distance -> scores by key, both [..., L, C]: index e of query i is at distance C - 1 - e, and belongs
    to key e - (L - 1 - i). One shift, no array of L x C x H (appendix B). Entries after the query are undefined.
    """
    *lead, length, reach = scores.shape
    padded = jnp.pad(scores, [(0, 0)] * (len(lead) + 1) + [(0, 1)]).reshape(*lead, -1)
    return padded[..., length - 1 : length - 1 + length * reach].reshape(scores.shape)


class RingCache(NamedTuple, Generic[Cache]):
    """Keys and values of the last C steps, in a ring with step t at index t mod C, and W_R R_d of the distances between
    them, [N, C, H].
    """

    ring: Cache
    distances: jax.Array


class RelativeAttention(MultiHead):
    """Attention of each segment of L steps to itself, causally, and to the `memory` steps before the segment:

    A_ij = q_i k_j' + q_i (W_R R_(i-j))' + u k_j' + v (W_R R_(i-j))',   a = softmax(A / sqrt(H)) V

    where R_d are sinusoids of the distance d in steps. The tokens of one step attend to each other, at distance 0. In
    training no gradient flows into the states of the memory.
    """

    segment: int = 64
    memory: int = 64

    def setup(self):
        super().setup()
        self.distance = PositionEncoder(1, self.width, "sinusoidal", self.dtype)
        self.relative = Dense(self.num_heads * self.kv_shape[1], use_bias=False, dtype=self.dtype)

    def _distances(self, reach: int) -> jax.Array:
        """W_R R_d for the distances d = 0, ..., C-1: [N, C, H]."""
        return self._heads(self.relative(self.distance(jnp.arange(reach)))[None])[0]

    def _softmax(self, content: jax.Array, position: jax.Array, visible: jax.Array) -> jax.Array:
        scores = (content + position).astype(jnp.float32) * self.kv_shape[1] ** -0.5
        return jax.nn.softmax(jnp.where(visible, scores, jnp.finfo(jnp.float32).min)).astype(self.dtype)

    def __call__(self, x_BTE: jax.Array, block_size: int, train: bool, biases: Biases) -> jax.Array:
        """All tokens, [B, S*M, E] -> [B, S*M, E]; scores are [S*M, (C + L) * M], never [S*M, S*M]."""
        u, v = biases[0][:, None, None], biases[1][:, None, None]
        num_steps = x_BTE.shape[1] // block_size
        length = min(self.segment, num_steps)
        num_segments = -(-num_steps // length)
        memory = min(self.memory, (num_segments - 1) * length)
        past_BTE = jax.lax.stop_gradient(x_BTE) if train else x_BTE

        def with_memory(project: nn.Module) -> jax.Array:  # [B, N, segments, (C + L)*M, H]
            past = windows(self._heads(project(past_BTE)), 2, length * block_size, before=memory * block_size)
            segments = windows(self._heads(project(x_BTE)), 2, length * block_size)
            return jnp.concatenate([past[:, :, :, : memory * block_size], segments], 3)

        q = windows(self._heads(self.query(x_BTE)), 2, length * block_size)  # [B, N, segments, L*M, H]
        k, value = with_memory(self.key), with_memory(self.value)
        content = jnp.einsum("bngqh,bngkh->bngqk", q + u, k)
        latest_first = self._distances(memory + length)[:, ::-1]
        position = jnp.einsum("bngqh,nch->bngqc", q + v, latest_first)
        position = position.reshape(*position.shape[:3], length, block_size, -1)
        position = jnp.swapaxes(by_key(jnp.swapaxes(position, 3, 4)), 3, 4).reshape(*content.shape[:4], -1)
        visible = self._visible(num_segments, length, memory, block_size)
        position = jnp.repeat(position, block_size, axis=-1)  # all tokens of a step have the same distance
        mixed = jnp.einsum("bngqk,bngkh->bngqh", self._softmax(content, position, visible), value)
        return self._merge(join(mixed, 2, x_BTE.shape[1]))

    def _visible(self, num_segments: int, length: int, memory: int, block_size: int) -> jax.Array:
        """Whether a key exists and is not later than the query: bool[segments, L*M, (C + L)*M]."""
        first = jnp.arange(num_segments)[:, None, None] * length
        query = first + (jnp.arange(length * block_size) // block_size)[:, None]
        key = first - memory + jnp.arange((memory + length) * block_size) // block_size
        return (key >= 0) & (key <= query)

    def init_cache(self, batch_size: int, num_steps: int, block_size: int, biases: Biases) -> RingCache[KVCache]:
        reach = min(self.memory + self.segment, num_steps)
        empty = jnp.zeros((batch_size, self.num_heads, reach * block_size, self.kv_shape[1]), self.dtype)
        return RingCache(KVCache(empty, empty), self._distances(reach))

    def loop_carry(
        self, cache: RingCache[KVCache], tokens: int, past: RingCache[LoopCache] | None = None
    ) -> RingCache[LoopCache]:
        """Before its last place is taken, a ring is a cache that may grow."""
        size, reach = cache.ring.keys.shape[2], cache.distances.shape[1]
        places = min(tokens, size)
        ring = cache.ring.for_loop(places, None if past is None else past.ring)
        return RingCache(ring, cache.distances[:, : places * reach // size])

    def step(
        self, cache: RingCache[Cache], x_BME: jax.Array, t: jax.Array, biases: Biases
    ) -> tuple[RingCache[Cache], jax.Array]:
        """The tokens of step t: they attend to its segment so far and the memory before it, at most C steps."""
        old, distances_NCH = cache
        u, v = biases[0][:, None], biases[1][:, None]
        block_size, reach = x_BME.shape[1], distances_NCH.shape[1]
        q, *new = self._project(x_BME)
        ring = old if isinstance(old, LoopCache) else old.for_loop(old.keys.shape[2])
        ring = ring.write((new[0], new[1]), jnp.mod(t, reach) * block_size)
        distance_C = jnp.mod(t - jnp.arange(reach), reach)
        first = jnp.maximum(t // self.segment * self.segment - self.memory, 0)
        position = jnp.take(jnp.einsum("bnqh,nch->bnqc", q + v, distances_NCH), distance_C, axis=-1)
        content = jnp.einsum("nqh,nkh->nqk", (q + u).reshape(-1, *q.shape[2:]), ring.keys)
        position = jnp.repeat(position, block_size, axis=-1).reshape(content.shape)
        weights = self._softmax(content, position, jnp.repeat(t - distance_C >= first, block_size))
        mixed = jnp.einsum("nqk,nkh->nqh", weights, ring.values).reshape(q.shape)
        new_ring = type(old)(*(after.reshape(before.shape) for after, before in zip(ring, old, strict=True)))
        return RingCache(new_ring, distances_NCH), self._merge(mixed)

    def extend(
        self, cache: RingCache[KVCache], x_BTE: jax.Array, t: jax.Array, block_size: int, biases: Biases
    ) -> tuple[tuple[Any, ...], jax.Array]:
        """The tokens of the steps t, t + 1, ...: they attend to the ring before them and to one another."""
        (keys, values), distances_NCH = cache
        u, v = biases[0][:, None], biases[1][:, None]
        reach, step_T = distances_NCH.shape[1], t + jnp.arange(x_BTE.shape[1]) // block_size
        q, k, value = self._project(x_BTE)
        step_K = jnp.concatenate([jnp.repeat(ring_steps(t, reach), block_size), step_T])
        distance_TK = step_T[:, None] - step_K
        position = jnp.einsum("bnqh,nch->bnqc", q + v, distances_NCH)
        place = jnp.broadcast_to(jnp.clip(distance_TK, 0, reach - 1), (*position.shape[:3], len(step_K)))
        position = jnp.take_along_axis(position, place, -1)
        content = jnp.einsum("bnqh,bnkh->bnqk", q + u, jnp.concatenate([keys, k], 2))
        first_T1 = jnp.maximum(step_T // self.segment * self.segment - self.memory, 0)[:, None]
        weights = self._softmax(content, position, (step_K >= first_T1) & (distance_TK >= 0))
        mixed = jnp.einsum("bnqk,bnkh->bnqh", weights, jnp.concatenate([values, value], 2))
        return (cache, (k, value), t), self._merge(mixed)

    def keep(self, carries: tuple[Any, ...], n: jax.Array) -> RingCache[KVCache]:
        (rings, distances_NCH), new, t = carries
        reach = distances_NCH.shape[1]

        def by_step(tokens: jax.Array, steps: int) -> jax.Array:  # [B, N, steps * M, H] -> [B, N, steps, M * H]
            return tokens.reshape(*tokens.shape[:2], steps, -1)

        size = rings[0].shape[2] // reach  # tokens of a step
        kept = [
            put_in_ring(by_step(ring, reach), by_step(fresh, fresh.shape[2] // size), t, n, axis=2).reshape(ring.shape)
            for ring, fresh in zip(rings, new, strict=True)
        ]
        return RingCache(KVCache(*kept), distances_NCH)


class XLLayer(nn.Module):
    """o = norm(h + attention(h)), then norm(o + W_2 act(W_1 o)): post-norm (section 3.3)."""

    width: int
    num_heads: int
    mlp_size: int
    segment: int
    memory: int
    dropout: float
    activation: str
    dtype: str

    def setup(self):
        sizes = self.width, self.num_heads, 1.0, self.dtype
        self.attention = RelativeAttention(*sizes, use_bias=False, segment=self.segment, memory=self.memory)
        self.attention_norm = nn.LayerNorm(dtype=self.dtype)
        self.up = Dense(self.mlp_size, dtype=self.dtype)
        self.down = Dense(self.width, dtype=self.dtype)
        self.mlp_norm = nn.LayerNorm(dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def _finish(self, h: jax.Array, mixed: jax.Array, train: bool) -> jax.Array:
        o = self.attention_norm(h + self.drop(mixed, deterministic=not train))
        hidden = self.drop(ACTIVATIONS[self.activation](self.up(o)), deterministic=not train)
        return self.mlp_norm(o + self.drop(self.down(hidden), deterministic=not train))

    def __call__(self, h_BTE: jax.Array, block_size: int, train: bool, biases: Biases) -> tuple[jax.Array, None]:
        """All tokens; in the form (carry) -> (carry, None) of a scan over layers."""
        return self._finish(h_BTE, self.attention(h_BTE, block_size, train, biases), train), None

    def init_cache(self, *args: Any) -> RingCache:
        return self.attention.init_cache(*args)

    def loop_carry(self, *args: Any) -> RingCache:
        return self.attention.loop_carry(*args)

    def step(self, cache: RingCache, h_BME: jax.Array, t: jax.Array, biases: Biases) -> tuple[RingCache, jax.Array]:
        cache, mixed = self.attention.step(cache, h_BME, t, biases)
        return cache, self._finish(h_BME, mixed, train=False)

    def extend(self, cache: RingCache, h_BTE: jax.Array, t: jax.Array, block_size: int, biases: Biases):
        carries, mixed = self.attention.extend(cache, h_BTE, t, block_size, biases)
        return carries, self._finish(h_BTE, mixed, train=False)

    def keep(self, *args: Any) -> RingCache:
        return self.attention.keep(*args)


@NETWORKS.register("transformer_xl")
class TransformerXL(ChunkedTokens):
    """Transformer over segments of steps: a layer attends to the segment and the states of `memory` steps before it.

    Through L layers a site depends on about L * `memory` earlier steps; time and memory grow linearly with the length.
    The whole sequence is one pass, layer by layer: the memory of a segment holds the states of the layer below.

    Options: `width` E, `num_layers` L, `num_heads` N, `mlp_ratio`, `segment` and `memory` in steps (memory 0: segments
    are independent of each other), `dropout`, `activation`, `position` (of sites, added to the tokens: "none" as in the
    paper, "learned", "sinusoidal"), `remat`, `unroll` as in `transformer`.
    """

    width: int = 128
    num_layers: int = depth_option(4)
    num_heads: int = 4
    mlp_ratio: int = 4
    segment: int = 64
    memory: int = opt(64, least=0)
    dropout: float = rate_option()
    activation: str = opt("relu", choices=ACTIVATIONS)
    position: str = opt("none", choices=POSITIONS)
    remat: bool = False
    unroll: int = 4

    LAYER = XLLayer
    TRAITS = ChunkedTokens.TRAITS | {"unbounded"}
    SMALL = {"width": 24, "num_layers": 2, "num_heads": 2, "segment": 2, "memory": 1, "position": "learned"}

    def check(self, factorization):
        check_told_apart(factorization, self.position)
        check_stack(self)
        num_steps = factorization.num_steps
        segment = min(self.segment, num_steps)
        tell_cut(self, factorization, segment=num_steps, memory=(-(-num_steps // segment) - 1) * segment)

    @property
    def traits(self):
        """Unbounded only if all distances came up in training."""
        return super().traits - ({"unbounded"} if self.segment + self.memory > self.event.num_sites else set())

    def dependencies(self, factorization):
        """Token t of a layer attends to the tokens <= t of its segment and memory."""
        t = np.arange(factorization.num_steps)
        sees = (t <= t[:, None]) & (t >= (t // self.segment * self.segment - self.memory)[:, None])
        return through_tokens(sees, self.num_layers, factorization)

    @property
    def FIRST_LOOP(self):
        return FIRST_LOOP if self.segment + self.memory > FIRST_LOOP else 0

    def layer_fields(self):
        return fields_from(self, XLLayer, mlp_size=self.mlp_ratio * self.width)

    def setup(self):
        about = self.event, self.context_spec, self.width, self.position, self.dtype
        self.tokens = StepTokens(*about, shows_zeros=self.position == "none")
        shape, small = (self.num_heads, self.width // self.num_heads), nn.initializers.normal(0.02)
        self.content_bias = self.param("content_bias", small, shape)
        self.distance_bias = self.param("distance_bias", small, shape)
        self.layers = self.stack()
        self.out = Dense(self.num_features, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    @property
    def _biases(self) -> Biases:
        return self.content_bias.astype(self.dtype), self.distance_bias.astype(self.dtype)

    def _memory(self, context):
        return self._biases

    def _shared(self):
        return (self._biases,)

    def _readout(self, h, train=False):
        return self.out(self.drop(h, deterministic=not train))
