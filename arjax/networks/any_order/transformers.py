"""Transformers for any order: one with two streams, and one with attention in both directions.

Two streams (Yang et al., "XLNet: Generalized Autoregressive Pretraining for Language Understanding", 2019, section
2.3): the content stream h_i encodes the value of site i and attends to the sites of the same step and of earlier ones;
the query stream g_i encodes only its position and attends to the contents of earlier steps. Both have the same weights,
and features come from g. Here positions are absolute, layers pre-norm, and the first step attends to a content before
all sites.

Masked: all other sites at once from any set of observed ones. Trained under all orders it is the absorbing model of
Hoogeboom et al., "Autoregressive Diffusion Models" (2022), section 3.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.arrays import filled, is_present
from arjax.factorization import Factorization
from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.networks.base import NETWORKS, ChunkedNetwork, Context, Network
from arjax.networks.layers.attention import Cache, CrossAttention, FullAttention, KVCache
from arjax.networks.layers.blocks import Layer, PlainStack
from arjax.networks.layers.embedding import flat_sites
from arjax.networks.layers.local_context import of_sites
from arjax.networks.layers.steps import sites_of, to_grid

Streams = tuple[jax.Array, jax.Array]


class StreamAttention(CrossAttention):
    """Attention of either stream to the contents."""

    def attend(self, x_BTE: jax.Array, contents: Cache, mask: jax.Array) -> jax.Array:
        """Attention of the tokens to the contents under the mask [..., T, T'], [B, T, E]."""
        return self._merge(contents.mix(self._heads(self.query(x_BTE)), mask))


class TwoStreamBlock(Layer):
    """One layer of both streams: attention to the contents below, then the MLP, with the same weights."""

    def _add(self, x: jax.Array, contents: Cache, mask: jax.Array, train: bool) -> jax.Array:
        x = x + self.drop(self.attention.attend(self.attention_norm(x), contents, mask), deterministic=not train)
        return x + self.drop(self._mlp(x), deterministic=not train)

    def __call__(self, streams: Streams, block_size: int, train: bool, memory: Any = None) -> tuple[Streams, None]:
        """Contents [B, 1 + T, E] and queries [B, T, E]; `memory` holds the masks of both."""
        (h, g), (may_h, may_g) = streams, memory
        contents = KVCache(*self.attention.keys_values(self.attention_norm(h)))
        return (self._add(h, contents, may_h, train), self._add(g, contents, may_g, train)), None

    def read(self, cache: Cache, tokens: jax.Array, num: int, begin: jax.Array, mask: jax.Array) -> Any:
        """Takes tokens [B, T, E], `num` contents and then queries, through the layer: (cache, tokens). The contents are
        written into the cache from place `begin` on.
        """
        h = tokens[:, :num]
        cache = cache.write(self.attention.keys_values(self.attention_norm(h)), begin)
        return cache, self._add(tokens, cache, mask, False)


@NETWORKS.register("two_stream")
class TwoStream(PlainStack, ChunkedNetwork):
    """A Transformer with a separate stream for the positions of the sites that it predicts. Any order and any block
    partition with the same weights. The step form keeps the keys and values of the contents. Options: as `PlainStack`.
    """

    FIRST_LOOP = 256
    TRAITS = Network.TRAITS | {"ahead", "holes", "grows"}
    LAYER = TwoStreamBlock
    ATTENTION = StreamAttention

    def setup(self):
        super().setup()
        self.nothing = self.param("nothing", nn.initializers.normal(0.02), (self.width,))
        self.target = self.param("target", nn.initializers.normal(0.02), (self.width,))  # w of the paper

    def _contents(self, x: jax.Array, sites: jax.Array, e: jax.Array) -> jax.Array:
        """Values and positions of sites int[T], [B, T, E]; `e` is the encoded context."""
        values = jnp.take(flat_sites(x, self.event), jnp.minimum(sites, self.event.num_sites - 1), axis=1)
        values, _ = filled(values, 1)
        return self.value(values, sites) + self.site(sites) + of_sites(e, sites, self.event)

    def _queries(self, sites: jax.Array, e: jax.Array) -> jax.Array:
        """Positions of sites int[T], [B, T, E]."""
        return self.target.astype(self.dtype) + self.site(sites) + of_sites(e, sites, self.event)

    def _start(self, e: jax.Array) -> jax.Array:
        """The content that comes before all sites, [B, 1, E]: of local parts it has the mean over all sites."""
        return self.nothing.astype(self.dtype) + e.mean(tuple(range(1, e.ndim - 1)))[:, None]

    def _encoded(self, context: Context | None, batch_size: int) -> jax.Array:
        """The encoded context, which is added to every token."""
        return jnp.zeros((batch_size, self.width), self.dtype) if context is None else self.context(context)

    def __call__(self, x, factorization, context=None, *, train=False):
        sites_T, e = jnp.asarray(factorization.blocks).ravel(), self._encoded(context, len(x))
        contents = jnp.concatenate([self._start(e), self._contents(x, sites_T, e)], 1)
        streams = tuple(self.drop(s, deterministic=not train) for s in (contents, self._queries(sites_T, e)))
        (_, g), _ = self.layers(streams, factorization.block_size, train, self._masks(x, factorization))
        features = self.out(self.norm(g)).reshape(len(x), *factorization.blocks.shape, -1)
        return to_grid(features, factorization)

    def _masks(self, x: jax.Array, factorization: Factorization) -> tuple[jax.Array, jax.Array]:
        """The masks [..., 1 + T, 1 + T] of contents and [..., T, 1 + T] of queries over contents, the start first."""
        step_C, there = _step_of_contents(factorization), self._there(x, factorization)
        return (step_C <= step_C[:, None]) & there, (step_C < step_C[1:, None]) & there

    def _there(self, x: jax.Array, factorization: Factorization) -> jax.Array:
        """The contents that exist, bool[1 + T], and in an example have a value, bool[B, 1, 1, 1 + T]."""
        sites_T = jnp.asarray(factorization.blocks).ravel()
        exists_C = jnp.append(True, sites_T < factorization.num_sites)
        if not self.event.may_lack_values:
            return exists_C
        present_BD = is_present(x.reshape(len(x), self.event.num_sites, -1), 1)
        present_BT = jnp.take(present_BD, sites_T, axis=1, mode="clip")
        return exists_C & jnp.pad(present_BT, ((0, 0), (1, 0)), constant_values=True)[:, None, None]

    def start(self, batch_size, factorization, context=None):
        """A cache of keys and values per layer, [B, N, 1 + S*M, H] each, that holds the content before all sites."""
        e = self._encoded(context, batch_size)
        size = 1 + factorization.num_steps * factorization.block_size
        shape = (batch_size, self.num_heads, size, self.width // self.num_heads)
        zeros = jnp.zeros(shape, self.dtype)
        empty = [KVCache(zeros, zeros)] * self.num_layers
        caches, _ = self.through_layers(empty, self._start(e), 1, 0, jnp.arange(size)[None] < 1, method="read")
        return caches, e

    def loop_carry(self, carry, n, factorization, past=None):
        """Caches with places for the content before all sites and the contents of n steps."""
        (caches, e), size = carry, 1 + n * factorization.block_size
        past = [None] * len(caches) if past is None else past[0]
        return [cache.for_loop(size, before) for cache, before in zip(caches, past, strict=True)], e

    def _read(self, carry, canvas, steps_k: jax.Array, targets_j: jax.Array, before_j: jax.Array, factorization):
        """Reads the contents of the consecutive steps k and predicts the steps j, each from the contents of the steps
        before `before_j`: (caches, features [B, j, M, F]).
        """
        (caches, e), block_size = carry, factorization.block_size
        there, step_C = self._there(canvas, factorization), _step_of_contents(factorization)
        size = caches[0].keys.shape[-2]  # a loop has a cache for the steps up to its end, or beyond the last one
        there = jnp.pad(there[..., :size], [(0, 0)] * (there.ndim - 1) + [(0, max(size - there.shape[-1], 0))])
        step_C = jnp.pad(step_C[:size], (0, max(size - len(step_C), 0)))
        sites_kM, sites_jM = sites_of(steps_k, factorization), sites_of(targets_j, factorization)
        tokens = jnp.concatenate([self._contents(canvas, sites_kM.ravel(), e), self._queries(sites_jM.ravel(), e)], 1)
        last_T = jnp.repeat(jnp.concatenate([steps_k, before_j - 1]), block_size)  # the last step that a token sees
        mask, begin = there & (step_C <= last_T[:, None]), 1 + steps_k[0] * block_size
        caches, tokens = self.through_layers(caches, tokens, sites_kM.size, begin, mask, method="read")
        features = self.out(self.norm(tokens[:, sites_kM.size :])).astype(jnp.float32)
        return (caches, e), features.reshape(len(canvas), *sites_jM.shape, self.num_features)

    def extend(self, carry, canvas, t, k, factorization, context=None):
        """In one pass: the contents of the steps t - 1, ..., t + k - 2 and the queries of t, ..., t + k - 1. From step
        0 on the contents of these steps themselves: that of the last one is read before its values are known, and again
        before anything sees it.
        """
        targets_k = t + jnp.arange(k)
        return self._read(carry, canvas, jnp.maximum(t - 1, 0) + jnp.arange(k), targets_k, targets_k, factorization)

    # Of the caches all are kept: later steps overwrite the others before anything sees them.
    step, keep = OrderAgnosticNetwork.step, OrderAgnosticNetwork.keep

    def ahead(self, carry, canvas, t, k, factorization, context=None):
        targets_k = t + jnp.arange(k)
        last = jnp.maximum(t - 1, 0)[None]  # the one step whose contents the carry lacks
        return self._read(carry, canvas, last, targets_k, jnp.full(k, t), factorization)[1]


def _step_of_contents(factorization: Factorization) -> jax.Array:
    """The step of each content, int[1 + T]; the content before all sites is of step -1."""
    step_T = jnp.arange(factorization.num_steps * factorization.block_size) // factorization.block_size
    return jnp.append(-1, step_T)


@NETWORKS.register("masked_transformer")
class MaskedTransformer(PlainStack, OrderAgnosticNetwork):
    """A Transformer over the sites, with a learned vector in place of the values that are not observed. Any order and
    any block partition with the same weights; `given` takes any set of observed sites in one pass. The parallel form
    needs a pass per step, as nothing of the pass before can be kept, and so does each step of sampling. Options: as
    `PlainStack`; `steps_per_chunk` (steps computed together in the parallel form).
    """

    steps_per_chunk: int = 8

    SMALL = {**PlainStack.SMALL, "steps_per_chunk": 4}
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
