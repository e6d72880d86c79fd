"""Transformer-XL: attention to the segment and to a memory of the segments before it, by relative positions.

Dai, Yang, Yang, Carbonell, Le & Salakhutdinov, "Transformer-XL: Attentive Language Models Beyond a Fixed-Length
Context", 2019, sections 3.2 and 3.3.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.networks.base import NETWORKS, Network, activation
from arjax.networks.layers.attention import MultiHead
from arjax.networks.layers.blocks import check_stack, stacked
from arjax.networks.layers.embedding import PositionEncoder
from arjax.networks.layers.steps import StepTokens, check_steps, check_target_position, to_grid

#: u and v of section 3.3, [N, H] each: what content and what distance are looked for, whatever the query.
Biases = tuple[jax.Array, jax.Array]


def by_key(scores: jax.Array) -> jax.Array:
    """Scores by distance -> scores by key, both [..., L, C]: that of query i at distance C - 1 - e stands at e, and
    belongs to key e - (L - 1 - i). Appendix B: one shift, no array of L x C x H. What lies behind the query is garbage.
    """
    *lead, length, reach = scores.shape
    padded = jnp.pad(scores, [(0, 0)] * (len(lead) + 1) + [(0, 1)]).reshape(*lead, -1)
    return padded[..., length - 1 : length - 1 + length * reach].reshape(scores.shape)


class RelativeAttention(MultiHead):
    """Attention of each segment of L steps to itself, causally, and to the `memory` steps before the segment:

    A_ij = q_i k_j' + q_i (W_R R_(i-j))' + u k_j' + v (W_R R_(i-j))',   a = softmax(A / sqrt(H)) V

    where R_d are sinusoids of the distance d in steps. The tokens of one step see each other, at distance 0. In
    training no gradient flows into the states of the memory.
    """

    segment: int = 64
    memory: int = 64

    def setup(self):
        super().setup()
        self.distance = PositionEncoder(1, self.width, "sinusoidal", self.dtype)
        self.relative = nn.Dense(self.num_heads * self.kv_shape[1], use_bias=False, dtype=self.dtype)

    def _distances(self, reach: int) -> jax.Array:
        """W_R R_d for the distances d = 0, ..., C-1: [N, C, H]."""
        return self._heads(self.relative(self.distance(jnp.arange(reach)))[None])[0]

    def _softmax(self, content: jax.Array, position: jax.Array, visible: jax.Array) -> jax.Array:
        """Weights of the keys; in float32, whatever the compute type."""
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

        def segments(y_BNTH: jax.Array) -> jax.Array:  # [B, N, T, H] -> [B, N, segments, L*M, H]
            missing = num_segments * length * block_size - y_BNTH.shape[2]
            y_BNTH = jnp.pad(y_BNTH, ((0, 0), (0, 0), (0, missing), (0, 0)))
            return y_BNTH.reshape(*y_BNTH.shape[:2], num_segments, length * block_size, -1)

        def with_memory(project: nn.Module) -> jax.Array:  # [B, N, segments, (C + L)*M, H]
            own, before = segments(self._heads(project(x_BTE))), -(-memory // length)
            if not memory:
                return own
            past = segments(self._heads(project(past_BTE)))
            shifted = [
                jnp.pad(past, ((0, 0), (0, 0), (k, 0), (0, 0), (0, 0)))[:, :, :num_segments]
                for k in range(before, 0, -1)
            ]
            past = jnp.concatenate(shifted, 3)[:, :, :, (before * length - memory) * block_size :]
            return jnp.concatenate([past, own], 3)

        q, k, value = segments(self._heads(self.query(x_BTE))), with_memory(self.key), with_memory(self.value)
        content = jnp.einsum("bngqh,bngkh->bngqk", q + u, k)
        latest_first = self._distances(memory + length)[:, ::-1]
        position = jnp.einsum("bngqh,nch->bngqc", q + v, latest_first)
        position = position.reshape(*position.shape[:3], length, block_size, -1)
        position = jnp.swapaxes(by_key(jnp.swapaxes(position, 3, 4)), 3, 4).reshape(*content.shape[:4], -1)
        visible = self._visible(num_segments, length, memory, block_size)
        mixed = jnp.einsum(
            "bngqk,bngkh->bngqh", self._softmax(content, _per_slot(position, block_size), visible), value
        )
        return self._merge(mixed.reshape(*mixed.shape[:2], -1, mixed.shape[-1])[:, :, : x_BTE.shape[1]])

    def _visible(self, num_segments: int, length: int, memory: int, block_size: int) -> jax.Array:
        """Whether a key exists and is not later than the query: bool[segments, L*M, (C + L)*M]."""
        first = jnp.arange(num_segments)[:, None, None] * length
        query = first + (jnp.arange(length * block_size) // block_size)[:, None]
        key = first - memory + jnp.arange((memory + length) * block_size) // block_size
        return (key >= 0) & (key <= query)

    def init_cache(self, batch_size: int, num_steps: int, block_size: int, biases: Biases) -> tuple[jax.Array, ...]:
        """Keys and values of the last C steps, [B, N, C*M, H], in a ring where step t stands at t mod C; W_R R_d."""
        reach = min(self.memory + self.segment, num_steps)
        empty = jnp.zeros((batch_size, self.num_heads, reach * block_size, self.kv_shape[1]), self.dtype)
        return empty, empty, self._distances(reach)

    def step(
        self, cache: tuple[jax.Array, ...], x_BME: jax.Array, t: jax.Array, biases: Biases
    ) -> tuple[tuple[jax.Array, ...], jax.Array]:
        """The tokens of step t: they see its segment so far and the memory before it, at most C steps."""
        keys, values, distances_NCH = cache
        u, v = biases[0][:, None], biases[1][:, None]
        block_size, reach = x_BME.shape[1], distances_NCH.shape[1]
        q = self._heads(self.query(x_BME))
        start = (0, 0, jnp.mod(t, reach) * block_size, 0)
        keys = jax.lax.dynamic_update_slice(keys, self._heads(self.key(x_BME)), start)
        values = jax.lax.dynamic_update_slice(values, self._heads(self.value(x_BME)), start)
        distance_C = jnp.mod(t - jnp.arange(reach), reach)
        first = jnp.maximum(t // self.segment * self.segment - self.memory, 0)
        position = jnp.take(jnp.einsum("bnqh,nch->bnqc", q + v, distances_NCH), distance_C, axis=-1)
        content = jnp.einsum("bnqh,bnkh->bnqk", q + u, keys)
        visible = jnp.repeat(t - distance_C >= first, block_size)
        weights = self._softmax(content, _per_slot(position, block_size), visible)
        return (keys, values, distances_NCH), self._merge(jnp.einsum("bnqk,bnkh->bnqh", weights, values))


def _per_slot(scores: jax.Array, block_size: int) -> jax.Array:
    """Scores by step -> scores by token: all slots of a step are as far away."""
    return scores if block_size == 1 else jnp.repeat(scores, block_size, axis=-1)


class XLLayer(nn.Module):
    """o = norm(h + attention(h)), then norm(o + W_2 act(W_1 o)): sums first, then norms (section 3.3)."""

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
        self.up = nn.Dense(self.mlp_size, dtype=self.dtype)
        self.down = nn.Dense(self.width, dtype=self.dtype)
        self.mlp_norm = nn.LayerNorm(dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def _finish(self, h: jax.Array, mixed: jax.Array, train: bool) -> jax.Array:
        o = self.attention_norm(h + self.drop(mixed, deterministic=not train))
        hidden = self.drop(activation(self.activation)(self.up(o)), deterministic=not train)
        return self.mlp_norm(o + self.drop(self.down(hidden), deterministic=not train))

    def __call__(self, h_BTE: jax.Array, block_size: int, train: bool, biases: Biases) -> tuple[jax.Array, None]:
        """All tokens; in the form (carry) -> (carry, None) of a scan over layers."""
        return self._finish(h_BTE, self.attention(h_BTE, block_size, train, biases), train), None

    def init_cache(self, *args: Any) -> tuple[jax.Array, ...]:
        """That of the attention."""
        return self.attention.init_cache(*args)

    def step(
        self, cache: tuple[jax.Array, ...], h_BME: jax.Array, t: jax.Array, biases: Biases
    ) -> tuple[tuple[jax.Array, ...], jax.Array]:
        """The tokens of one step."""
        cache, mixed = self.attention.step(cache, h_BME, t, biases)
        return cache, self._finish(h_BME, mixed, train=False)


@NETWORKS.register("transformer_xl")
class TransformerXL(Network):
    """Transformer over segments of steps: a layer sees the segment and the states of the `memory` steps before it.

    Through L layers a site depends on about L * `memory` earlier steps; time and memory grow linearly with the length.
    The whole sequence is one pass, layer by layer: the states that a segment remembers are those of the layer below.

    Options: `width` E, `num_layers` L, `num_heads` N, `mlp_ratio`, `segment` and `memory` in steps (memory 0: segments
    know nothing of each other), `dropout`, `activation`, `position` (of sites, added to the tokens: "none" as in the
    paper, "learned", "sinusoidal"), `remat`, `unroll` as in `transformer`.
    """

    width: int = 128
    num_layers: int = 4
    num_heads: int = 4
    mlp_ratio: int = 4
    segment: int = 64
    memory: int = 64
    dropout: float = 0.0
    activation: str = "relu"
    position: str = "none"
    remat: bool = False
    unroll: int = 4

    SMALL = {"width": 24, "num_layers": 2, "num_heads": 2, "segment": 2, "memory": 1, "position": "learned"}
    MAY_BE_ZERO = ("memory",)

    @classmethod
    def check(cls, event, factorization, options):
        check_steps(factorization, options["position"])
        check_stack(options)
        activation(options["activation"])

    @classmethod
    def check_several_orders(cls, options):
        check_target_position(options)

    def dependencies(self, factorization):
        """Token t of a layer sees the tokens <= t of its segment and memory, so composed over the layers; token s reads
        the values of step s-1.
        """
        t = np.arange(factorization.num_steps)
        sees = (t <= t[:, None]) & (t >= (t // self.segment * self.segment - self.memory)[:, None])
        reaches = sees
        for _ in range(self.num_layers - 1):
            reaches = (reaches.astype(np.float32) @ sees) > 0
        reads = np.pad(reaches[:, 1:], ((0, 0), (0, 1)))  # [t, s]: whether step t depends on the values of step s
        step_D = np.asarray(factorization.step)
        return reads[np.ix_(step_D, step_D)]

    def _layer_fields(self) -> dict[str, Any]:
        names = ("width", "num_heads", "segment", "memory", "dropout", "activation", "dtype")
        return {name: getattr(self, name) for name in names} | {"mlp_size": self.mlp_ratio * self.width}

    def setup(self):
        self.tokens = StepTokens(self.event, self.context_spec, self.width, self.position, self.dtype)
        shape, small = (self.num_heads, self.width // self.num_heads), nn.initializers.normal(0.02)
        self.content_bias = self.param("content_bias", small, shape)
        self.distance_bias = self.param("distance_bias", small, shape)
        layers = stacked(XLLayer, self.num_layers, unroll=self.unroll, remat=self.remat)
        self.layers = layers(**self._layer_fields(), name="layers")
        self.out = nn.Dense(self.num_features, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    @property
    def _biases(self) -> Biases:
        return self.content_bias.astype(self.dtype), self.distance_bias.astype(self.dtype)

    def __call__(self, x, factorization, context=None, *, train=False):
        tokens_BSME = self.drop(self.tokens(x, factorization, context), deterministic=not train)
        batch, steps, slots, width = tokens_BSME.shape
        h, _ = self.layers(tokens_BSME.reshape(batch, steps * slots, width), slots, train, self._biases)
        features = self.out(self.drop(h, deterministic=not train))
        return to_grid(features.reshape(batch, steps, slots, -1), factorization)

    def _apply_layer(self, i: int, *args: Any, method: str) -> Any:
        """A method of layer i; no scan over layers, as in `transformer`."""
        params = jax.tree.map(lambda leaf: leaf[i], self.layers.variables["params"])
        return XLLayer(**self._layer_fields(), parent=None).apply({"params": params}, *args, method=method)

    def init_carry(self, batch_size, factorization, context=None):
        sizes = batch_size, factorization.num_steps, factorization.block_size
        return [self._apply_layer(i, *sizes, self._biases, method="init_cache") for i in range(self.num_layers)]

    def step(self, carry, canvas, t, factorization, context=None):
        h, caches = self.tokens.step(canvas, t, factorization, context), []
        for i, cache in enumerate(carry):
            cache, h = self._apply_layer(i, cache, h, t, self._biases, method="step")
            caches.append(cache)
        return caches, self.out(h).astype(jnp.float32)
