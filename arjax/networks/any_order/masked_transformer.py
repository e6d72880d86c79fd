"""Masked Transformer: all other sites at once from any set of observed ones, with attention in both directions.

Trained under all orders it is the absorbing model of Hoogeboom et al., "Autoregressive Diffusion Models" (2022),
section 3: a random number of observed sites per example, all others predicted at once with the weight D / (D - t + 1).
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.networks.base import NETWORKS
from arjax.networks.layers.attention import MultiHead, attention
from arjax.networks.layers.blocks import StackedNetwork
from arjax.networks.layers.embedding import flat_sites
from arjax.networks.layers.local_context import of_sites


class FullAttention(MultiHead):
    """Attention of all tokens to all tokens, [B, T, E] -> [B, T, E]."""

    def __call__(self, x_BTE: jax.Array, block_size: int) -> jax.Array:
        return self._merge(attention(*self._project(x_BTE), jnp.ones(x_BTE.shape[1], bool)))


@NETWORKS.register("masked_transformer")
class MaskedTransformer(StackedNetwork, OrderAgnosticNetwork):
    """A Transformer over the sites, with a learned vector in place of the values that are not observed.

    Any order and any block partition with the same weights; `given` takes any set of observed sites in one pass. The
    parallel form needs a pass per step, as nothing of the pass before can be kept, and so does each step of sampling.

    Options: as `StackedNetwork`; `steps_per_chunk` (steps computed together in the parallel form).
    """

    steps_per_chunk: int = 8

    SMALL = {**StackedNetwork.SMALL, "steps_per_chunk": 4}
    ATTENTION = FullAttention

    def setup(self):
        super().setup()
        self.unknown = self.param("unknown", nn.initializers.normal(0.02), (self.width,))

    def prepare(self):
        """Nothing: each step is a pass through the scan over layers."""

    def given(self, x, observed, context=None, *, train=False):
        num_sites = self.event.num_sites
        sites_D = jnp.arange(num_sites)
        values_BDv, observed_BD = self.seen(flat_sites(x, self.event), observed.reshape(-1, num_sites))
        values_BDE = self.value(values_BDv, sites_D)
        h = jnp.where(observed_BD[..., None], values_BDE, self.unknown.astype(self.dtype))
        h = h + self.site(sites_D)
        if context is not None:
            h = h + of_sites(self.context(context), sites_D, self.event)
        h, _ = self.layers(self.drop(h, deterministic=not train), 1, train, None)
        features = self.out(self.norm(h))
        return features.reshape(-1, *self.event.grid_shape, self.num_features).astype(jnp.float32)
