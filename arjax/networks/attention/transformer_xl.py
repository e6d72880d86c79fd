"""Transformer-XL: attention to the segment and to a memory of the segments before it, by relative positions.

Dai, Yang, Yang, Carbonell, Le & Salakhutdinov, "Transformer-XL: Attentive Language Models Beyond a Fixed-Length
Context", 2019, sections 3.2 and 3.3.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import numpy as np

from arjax.core.integers import DEEPEST
from arjax.core.options import opt
from arjax.networks.attention.relative_attention import Biases, RelativeAttention, RingCache
from arjax.networks.attention.transformer import TokenNetwork, through_tokens
from arjax.networks.base import ACTIVATIONS, NETWORKS, activation, fields_from
from arjax.networks.layers.blocks import check_stack
from arjax.networks.layers.dense import Dense
from arjax.networks.layers.steps import StepTokens, check_steps, scale_of_zeros

#: Steps of the first loop of a draw, where the ring has places for more.
FIRST_LOOP = 256


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
        hidden = self.drop(activation(self.activation)(self.up(o)), deterministic=not train)
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
class TransformerXL(TokenNetwork):
    """Transformer over segments of steps: a layer attends to the segment and the states of `memory` steps before it.

    Through L layers a site depends on about L * `memory` earlier steps; time and memory grow linearly with the length.
    The whole sequence is one pass, layer by layer: the memory of a segment holds the states of the layer below.

    Options: `width` E, `num_layers` L, `num_heads` N, `mlp_ratio`, `segment` and `memory` in steps (memory 0: segments
    are independent of each other), `dropout`, `activation`, `position` (of sites, added to the tokens: "none" as in the
    paper, "learned", "sinusoidal"), `remat`, `unroll` as in `transformer`.
    """

    width: int = 128
    num_layers: int = opt(4, most=DEEPEST)
    num_heads: int = 4
    mlp_ratio: int = 4
    segment: int = 64
    memory: int = opt(64, least=0)
    dropout: float = opt(0.0, least=0, below=1)
    activation: str = opt("relu", choices=ACTIVATIONS)
    position: str = "none"
    remat: bool = False
    unroll: int = 4

    LAYER = XLLayer
    CHUNK = 64
    UNBOUNDED = True
    SMALL = {"width": 24, "num_layers": 2, "num_heads": 2, "segment": 2, "memory": 1, "position": "learned"}

    @classmethod
    def reaches(cls, options, num_steps):
        segment = min(options["segment"], num_steps)
        return {"segment": num_steps, "memory": (-(-num_steps // segment) - 1) * segment}

    @classmethod
    def check(cls, event, factorization, options):
        check_steps(factorization, options["position"])
        check_stack(options)

    @property
    def unbounded(self):
        """Distances that never came up in training would have to be guessed."""
        return super().unbounded and self.segment + self.memory <= self.event.num_sites

    def dependencies(self, factorization):
        """Token t of a layer attends to the tokens <= t of its segment and memory."""
        t = np.arange(factorization.num_steps)
        sees = (t <= t[:, None]) & (t >= (t // self.segment * self.segment - self.memory)[:, None])
        return through_tokens(sees, self.num_layers, factorization)

    @property
    def FIRST_LOOP(self):
        """A ring grows until it is full."""
        return FIRST_LOOP if self.segment + self.memory > FIRST_LOOP else 0

    def loop_carry(self, carry, n, factorization, past=None):
        return self._loop_carry(carry, n * factorization.block_size, past)

    def layer_fields(self):
        return fields_from(self, XLLayer, mlp_size=self.mlp_ratio * self.width)

    def setup(self):
        scale = scale_of_zeros(self.event, self.width) if self.position == "none" else 0.0
        about = self.event, self.context_spec, self.width, self.position, self.dtype
        self.tokens = StepTokens(*about, zero_scale=scale)
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
