"""A Transformer that denoises blocks of sites, each given the clean blocks before it (Arriola et al., "Block Diffusion:
Interpolating Between Autoregressive and Diffusion Language Models", 2025, section 3.2): one pass over clean and noisy
tokens for all blocks, and a cache of clean blocks for one block after another.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from arjax.core.errors import UserError
from arjax.core.spec import DISCRETE_KINDS
from arjax.factorization import Factorization, make_factorization
from arjax.networks.base import NETWORKS, Context, context_of, name_of
from arjax.networks.denoisers.base import NoisyNetwork, make_noisy
from arjax.networks.layers.attention import SelfAttention, attention
from arjax.networks.layers.blocks import PlainStack
from arjax.networks.layers.embedding import flat_sites
from arjax.networks.layers.local_context import of_sites
from arjax.networks.layers.steps import to_grid

#: The part of the context of a block denoiser that holds the noisy values, beside the parts of its `context_spec`.
NOISY = "noisy values"


def block_mask(num_tokens: int, block_size: int) -> jax.Array:
    """Which token of [clean, noisy] attends to which, bool[2T, 2T], [query, key] (appendix B.6 of the paper): clean
    tokens to clean tokens of their own block and of earlier ones, noisy tokens to noisy tokens of their own block and
    to clean tokens of earlier ones.
    """
    block = jnp.tile(jnp.arange(num_tokens) // block_size, 2)
    noisy = jnp.arange(2 * num_tokens) >= num_tokens
    same, earlier = block[:, None] == block, block[:, None] > block
    return jnp.where(noisy, noisy[:, None] & same, earlier | (~noisy[:, None] & same))


class BlockAttention(SelfAttention):
    """Attention under `block_mask`; `step` writes a clean block, and `ahead` is a noisy one that sees the cache."""

    def __call__(self, x_BTE: jax.Array, block_size: int) -> jax.Array:
        """Clean and noisy tokens, [B, 2*S*M, E] -> [B, 2*S*M, E]."""
        num_tokens = x_BTE.shape[1] // 2
        step_T = jnp.tile(jnp.arange(num_tokens) // block_size, 2)
        return self._merge(attention(*self._qkv(x_BTE, step_T), block_mask(num_tokens, block_size)))


@NETWORKS.register("block_transformer")
class BlockTransformer(PlainStack, NoisyNetwork):
    """A Transformer that denoises blocks: features of noisy sites given the noisy sites of their block and the values
    of earlier blocks. The time is not read: the number of masks says it. A context is one vector that is added to each
    token; local parts are added at their sites. It has no step form: `denoise` and `write` go from block to block. The
    part `NOISY` of the context holds the noisy values, which may be the mask token V. Options: as `PlainStack`.
    """

    ATTENTION = BlockAttention

    def check(self, factorization):
        super().check(factorization)
        self.event.check_kind(DISCRETE_KINDS, "masked blocks need binary data, levels or tokens")

    @property
    def values_read(self):
        return self.event.with_mask

    def _tokens(self, x: jax.Array, sites: jax.Array, context: Context | None) -> jax.Array:
        """[B, ..., E] of the sites int[...]; "no site", which pads short blocks, is masked."""
        values = jnp.take(flat_sites(x, self.event), jnp.minimum(sites, self.event.num_sites - 1), axis=1)
        values = jnp.where((sites < self.event.num_sites)[..., None], values, self.event.num_levels)
        tokens = self.value(values, sites) + self.site(sites)
        if context is not None:
            tokens = tokens + of_sites(self.context(context), sites, self.event)
        return tokens

    def __call__(self, x, factorization, context, *, train=False):
        """Features [B, *grid, F] of the noisy values, each block given x of the blocks before it."""
        x_t, context = context[NOISY], context_of(self, context)
        blocks_SM = jnp.asarray(factorization.blocks)
        clean, noisy = (self._tokens(each, blocks_SM.reshape(-1), context) for each in (x, x_t))
        h = self.drop(jnp.concatenate([clean, noisy], 1), deterministic=not train)
        h, _ = self.layers(h, blocks_SM.shape[1], train, None)
        features = self.out(self.norm(h[:, clean.shape[1] :]))
        return to_grid(features.reshape(len(x), *blocks_SM.shape, -1), factorization)

    def start(self, batch_size, factorization, context=None):
        return self.init_caches(batch_size, *factorization.blocks.shape)

    def denoise(
        self, carry: Any, x_t: jax.Array, t: jax.Array, factorization: Factorization, context: Any = None
    ) -> jax.Array:
        """Features [B, M, F] of the noisy block t given the clean blocks in the cache."""
        sites_M = jnp.asarray(factorization.blocks)[t]
        h = self._tokens(x_t, sites_M, context)
        for i, cache in enumerate(carry):
            h = self.apply_layer(i, cache, h, t, len(sites_M), method="ahead")
        return self.out(self.norm(h)).astype(jnp.float32)

    def write(self, carry: Any, x: jax.Array, t: jax.Array, factorization: Factorization, context: Any = None) -> Any:
        """The cache with the clean block t."""
        h = self._tokens(x, jnp.asarray(factorization.blocks)[t], context)
        return self.through_layers(carry, h, t, method="step")[0]


def make_block_denoiser(name: str, *form: Any, **options: Any) -> BlockTransformer:
    """Returns the block denoiser of that name, as `make_noisy`; raises `UserError` for another network."""
    network = make_noisy(name, *form, **options)
    if not isinstance(network, BlockTransformer):
        raise UserError(f"the network {name_of(network)!r} does not denoise block by block: choose block_transformer")
    network.check(make_factorization(network.event.grid_shape))
    return network
