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

from arjax.networks.attention.relative_attention import Biases, RelativeAttention
from arjax.networks.base import NETWORKS, Network, activation
from arjax.networks.layers.blocks import apply_layer, check_stack, prepare_layers, stacked
from arjax.networks.layers.steps import StepTokens, apart, check_steps, check_target_position, located, to_grid


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

    def extend(self, cache: tuple[jax.Array, ...], h_BTE: jax.Array, t: jax.Array, block_size: int, biases: Biases):
        """The tokens of several steps."""
        carries, mixed = self.attention.extend(cache, h_BTE, t, block_size, biases)
        return carries, self._finish(h_BTE, mixed, train=False)

    def keep(self, *args: Any) -> tuple[jax.Array, ...]:
        """That of the attention."""
        return self.attention.keep(*args)


@NETWORKS.register("transformer_xl")
class TransformerXL(Network):
    """Transformer over segments of steps: a layer attends to the segment and the states of `memory` steps before it.

    Through L layers a site depends on about L * `memory` earlier steps; time and memory grow linearly with the length.
    The whole sequence is one pass, layer by layer: the memory of a segment holds the states of the layer below.

    Options: `width` E, `num_layers` L, `num_heads` N, `mlp_ratio`, `segment` and `memory` in steps (memory 0: segments
    are independent of each other), `dropout`, `activation`, `position` (of sites, added to the tokens: "none" as in the
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

    CHUNK = 64
    UNBOUNDED = True
    SMALL = {"width": 24, "num_layers": 2, "num_heads": 2, "segment": 2, "memory": 1, "position": "learned"}
    MAY_BE_ZERO = ("memory",)

    @classmethod
    def reaches(cls, options, num_steps):
        segment = min(options["segment"], num_steps)
        return {"segment": num_steps, "memory": (-(-num_steps // segment) - 1) * segment}

    @classmethod
    def check(cls, event, factorization, options):
        check_steps(factorization, options["position"])
        check_stack(options)
        activation(options["activation"])

    @classmethod
    def check_several_orders(cls, options):
        check_target_position(options)

    @property
    def unbounded(self):
        """Distances that never came up in training would have to be guessed."""
        return super().unbounded and self.position == "none" and self.segment + self.memory <= self.event.num_sites

    def dependencies(self, factorization):
        """Token t of a layer attends to the tokens <= t of its segment and memory; this is composed over the layers.
        Token s reads the values of step s-1.
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
        tokens_BSME = self.drop(self.tokens(x, factorization, self.tokens.encode(context)), deterministic=not train)
        batch, steps, block_size, width = tokens_BSME.shape
        h, _ = self.layers(tokens_BSME.reshape(batch, steps * block_size, width), block_size, train, self._biases)
        features = self.out(self.drop(h, deterministic=not train))
        return to_grid(features.reshape(batch, steps, block_size, -1), factorization)

    def _apply_layer(self, i: int, *args: Any, method: str) -> Any:
        """A method of layer i."""
        return apply_layer(XLLayer(**self._layer_fields(), parent=None), self.layers, i, *args, method=method)

    def prepare(self):
        prepare_layers(self.layers, self.num_layers)

    def init_carry(self, batch_size, factorization, context=None):
        sizes = batch_size, factorization.num_steps, factorization.block_size
        caches = [self._apply_layer(i, *sizes, self._biases, method="init_cache") for i in range(self.num_layers)]
        return located(caches, self.tokens.to_keep(context))

    def step(self, carry, canvas, t, factorization, context=None):
        carry, kept = apart(carry)
        h, caches = self.tokens.step(canvas, t, factorization, self.tokens.encode(context, kept)), []
        for i, cache in enumerate(carry):
            cache, h = self._apply_layer(i, cache, h, t, self._biases, method="step")
            caches.append(cache)
        return located(caches, kept), self.out(h).astype(jnp.float32)

    def extend(self, carry, canvas, t, k, factorization, context=None):
        carry, kept = apart(carry)
        tokens_BkME = self.tokens.window(canvas, t, k, factorization, self.tokens.encode(context, kept))
        batch, _, block_size, width = tokens_BkME.shape
        h, carries = tokens_BkME.reshape(batch, k * block_size, width), []
        for i, cache in enumerate(carry):
            after, h = self._apply_layer(i, cache, h, t, block_size, self._biases, method="extend")
            carries.append(after)
        return located(carries, kept), self.out(h).astype(jnp.float32).reshape(batch, k, block_size, -1)

    def keep(self, carries, n):
        carries, kept = apart(carries)
        return located([self._apply_layer(i, after, n, method="keep") for i, after in enumerate(carries)], kept)
