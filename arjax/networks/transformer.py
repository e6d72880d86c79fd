"""Causal Transformer (Vaswani et al., 2017), pre-norm as in GPT-2 (Radford et al., 2019, section 2.3)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.errors import UserError
from arjax.networks.base import NETWORKS, Network, activation
from arjax.networks.steps import StepTokens, check_steps, to_grid

KVCache = tuple[jax.Array, jax.Array]


def attention(q_BNTH: jax.Array, k_BNTH: jax.Array, v_BNTH: jax.Array, mask_TT: jax.Array) -> jax.Array:
    """softmax(q k' / sqrt(H)) v over the positions that the mask allows; the softmax is in float32.

    Plain einsums: on CPU they beat `jax.nn.dot_product_attention`, on accelerators XLA fuses both alike. Heads come
    before positions: else each step of sampling would transpose the whole cache, at three times the time.
    """
    scores = jnp.einsum("bnqh,bnkh->bnqk", q_BNTH * q_BNTH.shape[-1] ** -0.5, k_BNTH)
    scores = jnp.where(mask_TT, scores.astype(jnp.float32), jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores).astype(v_BNTH.dtype)
    return jnp.einsum("bnqk,bnkh->bnqh", weights, v_BNTH)


class SelfAttention(nn.Module):
    """Multi-head self-attention, causal over blocks of M tokens: token n sees all tokens of blocks <= n // M."""

    width: int
    num_heads: int
    out_scale: float
    dtype: str

    def setup(self):
        self.query = nn.Dense(self.width, dtype=self.dtype)
        self.key = nn.Dense(self.width, dtype=self.dtype)
        self.value = nn.Dense(self.width, dtype=self.dtype)
        init = nn.initializers.variance_scaling(self.out_scale, "fan_in", "truncated_normal")
        self.out = nn.Dense(self.width, dtype=self.dtype, kernel_init=init)

    def _qkv(self, x_BTE: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries, keys and values, [B, N, T, H] each."""

        def heads(y_BTE: jax.Array) -> jax.Array:
            return jnp.swapaxes(y_BTE.reshape(*y_BTE.shape[:-1], self.num_heads, -1), 1, 2)

        return heads(self.query(x_BTE)), heads(self.key(x_BTE)), heads(self.value(x_BTE))

    def _merge(self, mixed_BNTH: jax.Array) -> jax.Array:
        mixed_BTNH = jnp.swapaxes(mixed_BNTH, 1, 2)
        return self.out(mixed_BTNH.reshape(*mixed_BTNH.shape[:2], self.width))

    def __call__(self, x_BTE: jax.Array, block_size: int) -> jax.Array:
        block = jnp.arange(x_BTE.shape[1]) // block_size
        return self._merge(attention(*self._qkv(x_BTE), block[:, None] >= block[None, :]))

    def step(self, cache: KVCache, x_BME: jax.Array, t: jax.Array) -> tuple[KVCache, jax.Array]:
        """Writes the keys and values of block t into the cache [B, N, S*M, H] and attends to blocks <= t."""
        block_size = x_BME.shape[1]
        q, k, v = self._qkv(x_BME)
        start = (0, 0, t * block_size, 0)
        keys = jax.lax.dynamic_update_slice(cache[0], k, start)
        values = jax.lax.dynamic_update_slice(cache[1], v, start)
        visible = jnp.arange(keys.shape[2]) < (t + 1) * block_size
        return (keys, values), self._merge(attention(q, keys, values, visible))


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x))."""

    width: int
    num_heads: int
    mlp_size: int
    dropout: float
    activation: str
    out_scale: float
    dtype: str

    def setup(self):
        self.attention_norm = nn.LayerNorm(dtype=self.dtype)
        self.attention = SelfAttention(self.width, self.num_heads, self.out_scale, self.dtype)
        self.mlp_norm = nn.LayerNorm(dtype=self.dtype)
        self.up = nn.Dense(self.mlp_size, dtype=self.dtype)
        init = nn.initializers.variance_scaling(self.out_scale, "fan_in", "truncated_normal")
        self.down = nn.Dense(self.width, dtype=self.dtype, kernel_init=init)
        self.drop = nn.Dropout(self.dropout)

    def _mlp(self, x: jax.Array) -> jax.Array:
        return self.down(activation(self.activation)(self.up(self.mlp_norm(x))))

    def __call__(self, x_BTE: jax.Array, block_size: int, train: bool) -> tuple[jax.Array, None]:
        """All tokens; in the form (carry) -> (carry, None) of a scan over layers."""
        x = x_BTE + self.drop(self.attention(self.attention_norm(x_BTE), block_size), deterministic=not train)
        return x + self.drop(self._mlp(x), deterministic=not train), None

    def step(self, cache: KVCache, x_BME: jax.Array, t: jax.Array) -> tuple[KVCache, jax.Array]:
        """The tokens of one block."""
        cache, mixed = self.attention.step(cache, self.attention_norm(x_BME), t)
        x = x_BME + mixed
        return cache, x + self._mlp(x)


@NETWORKS.register("transformer")
class Transformer(Network):
    """Transformer over the slots of the steps, for any order and any block partition.

    A token knows the value and the position that it reads, and the position that it predicts; attention is causal over
    steps. The step form keeps a cache of keys and values.

    Options: `width` E, `num_layers` L, `num_heads` N, `mlp_ratio`, `dropout`, `activation`, `position` ("learned",
    "sinusoidal", "none"), `remat` (recompute activations in the backward pass; needs `unroll=1`), `unroll` (layers per
    iteration of the scan over layers: 1 compiles fastest, L runs fastest).
    """

    width: int = 128
    num_layers: int = 4
    num_heads: int = 4
    mlp_ratio: int = 4
    dropout: float = 0.0
    activation: str = "gelu"
    position: str = "learned"
    remat: bool = False
    unroll: int = 4

    SMALL = {"width": 24, "num_layers": 2, "num_heads": 2}

    @classmethod
    def check(cls, event, factorization, options):
        check_steps(factorization, options["position"])
        if options["num_heads"] < 1 or options["width"] % options["num_heads"]:
            raise UserError(
                f"network.num_heads={options['num_heads']} does not divide network.width={options['width']}"
            )
        if options["remat"] and options["unroll"] > 1:
            # XLA merges a recomputation with its original inside one iteration, and nothing would be saved.
            raise UserError(f"network.remat saves memory only with network.unroll=1, not {options['unroll']}")
        activation(options["activation"])

    def setup(self):
        self.tokens = StepTokens(self.event, self.context_spec, self.width, self.position, self.dtype)
        block = nn.remat(Block, prevent_cse=False, static_argnums=(2, 3)) if self.remat else Block
        layers = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=(nn.broadcast, nn.broadcast),
            length=self.num_layers,
            unroll=self.unroll,
        )
        # An explicit name: toggling remat must change neither parameter paths nor initial values.
        self.layers = layers(**self._block_fields(), name="layers")
        self.norm = nn.LayerNorm(dtype=self.dtype)
        self.out = nn.Dense(self.num_features, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def _block_fields(self) -> dict[str, Any]:
        return {
            "width": self.width,
            "num_heads": self.num_heads,
            "mlp_size": self.mlp_ratio * self.width,
            "dropout": self.dropout,
            "activation": self.activation,
            "out_scale": 1 / (2 * self.num_layers),  # variance: 2L branches add up to one (GPT-2, section 2.3)
            "dtype": self.dtype,
        }

    def __call__(self, x, factorization, context=None, *, train=False):
        tokens_BSME = self.drop(self.tokens(x, factorization, context), deterministic=not train)
        batch, steps, slots, width = tokens_BSME.shape
        h, _ = self.layers(tokens_BSME.reshape(batch, steps * slots, width), slots, train)
        features = self.out(self.norm(h))
        return to_grid(features.reshape(batch, steps, slots, -1), factorization)

    def init_carry(self, batch_size, factorization, context=None):
        """An empty cache of keys and values per layer, [B, N, S*M, H] each."""
        length = factorization.num_steps * factorization.block_size
        shape = (batch_size, self.num_heads, length, self.width // self.num_heads)
        return [(jnp.zeros(shape, self.dtype), jnp.zeros(shape, self.dtype)) for _ in range(self.num_layers)]

    def step(self, carry, canvas, t, factorization, context=None):
        # The layers one by one, not scanned: each cache is then updated in place, where a scan would copy it.
        block, stacked = Block(**self._block_fields(), parent=None), self.layers.variables["params"]
        h, caches = self.tokens.step(canvas, t, factorization, context), []
        for i, cache in enumerate(carry):
            params = jax.tree.map(lambda leaf, i=i: leaf[i], stacked)
            cache, h = block.apply({"params": params}, cache, h, t, method="step")
            caches.append(cache)
        return caches, self.out(self.norm(h)).astype(jnp.float32)
