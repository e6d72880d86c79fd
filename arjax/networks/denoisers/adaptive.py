"""Networks with the time and the context in their normalisations: a Transformer over the sites in both directions
(Peebles & Xie, "Scalable Diffusion Models with Transformers", 2023, section 3.2), and a multilayer perceptron over a
whole noisy example (Li et al., "Autoregressive Image Generation without Vector Quantization", 2024, section 3.3 and
appendix). Without time the Transformer denoises absorbing processes, where the number of masks tells the time (Sahoo et
al., "Simple and Effective Masked Diffusion Language Models", 2024, section 3.5).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.options import depth_option, opt
from arjax.networks.base import ACTIVATIONS, NETWORKS
from arjax.networks.denoisers.base import ConditionEncoder, Denoiser, Modulation, local_maps
from arjax.networks.layers.attention import FullAttention
from arjax.networks.layers.blocks import PlainStack
from arjax.networks.layers.dense import Dense
from arjax.networks.layers.embedding import flat_inputs, flat_sites
from arjax.networks.layers.local_context import LocalFeatures, LocalSummary, of_sites


class AdaptiveBlock(nn.Module):
    """x + (1 + g) attention(norm(x)), then x + (1 + g) MLP(norm(x)): the condition scales and shifts each normalisation
    and sets each g, 0 without one.
    """

    make_attention: Callable[..., nn.Module]
    width: int
    mlp_size: int
    dropout: float
    activation: str
    out_scale: float
    dtype: str

    @nn.compact
    def __call__(
        self, x_BDE: jax.Array, block_size: int, train: bool, condition_BE: jax.Array | None
    ) -> tuple[jax.Array, None]:
        vectors = Modulation(self.width, 6, self.dtype, name="modulation")(condition_BE, 3)
        drop = nn.Dropout(self.dropout, deterministic=not train)
        attention = self.make_attention(name="attention")
        h = attention(adapted("attention_norm", x_BDE, vectors[:2], self.dtype), 1)
        x = x_BDE + (1 + vectors[2]) * drop(h)
        h = adapted("mlp_norm", x, vectors[3:5], self.dtype)
        h = ACTIVATIONS[self.activation](Dense(self.mlp_size, dtype=self.dtype, name="up")(h))
        init = nn.initializers.variance_scaling(self.out_scale, "fan_in", "truncated_normal")
        h = Dense(self.width, dtype=self.dtype, kernel_init=init, name="down")(h)
        return x + (1 + vectors[5]) * drop(h), None


def adapted(name: str, x: jax.Array, shift_scale: list[Any], dtype: str) -> jax.Array:
    """norm(x) (1 + scale) + shift."""
    shift, scale = shift_scale
    return nn.LayerNorm(epsilon=1e-6, dtype=dtype, name=name)(x) * (1 + scale) + shift


@NETWORKS.register("denoising_transformer")
class DenoisingTransformer(PlainStack, Denoiser):
    """A Transformer over the sites of any grid, with attention of all sites to all sites. Options: those of
    `PlainStack`, and `use_time` (False: the same features at any time).
    """

    use_time: bool = True

    LAYER = AdaptiveBlock
    ATTENTION = FullAttention

    @property
    def values_read(self):
        return self.event.with_mask

    @nn.compact
    def __call__(self, x, factorization, context, *, train=False):
        sites_D = jnp.arange(self.event.num_sites)
        encoder = ConditionEncoder(self.context_spec, self.width, self.dtype, self.use_time, name="condition")
        condition = encoder(context)
        h = self.value(flat_sites(x, self.event), sites_D) + self.site(sites_D)
        local = local_maps(self, self.width, context)
        h = h if local is None else h + of_sites(local, sites_D, self.event)
        h = nn.Dropout(self.dropout, deterministic=not train)(h)
        h, _ = self.layers(h, 1, train, condition)
        shift, scale = Modulation(self.width, 2, self.dtype, name="modulation")(condition, 3)
        features = self.out(self.norm(h) * (1 + scale) + shift)
        return features.reshape(len(x), *self.event.grid_shape, self.num_features).astype(jnp.float32)


class ResidualLayer(nn.Module):
    """h + (1 + g) MLP(norm(h)), where the condition scales and shifts the normalisation and sets g, 0 without one. The
    MLP has one hidden layer of `width` units.
    """

    width: int
    activation: str
    dtype: str

    @nn.compact
    def __call__(self, h_BE: jax.Array, condition: jax.Array | None) -> jax.Array:
        vectors = Modulation(self.width, 3, self.dtype, name="modulation")(condition, 2)
        y = adapted("norm", h_BE, vectors[:2], self.dtype)
        y = ACTIVATIONS[self.activation](Dense(self.width, dtype=self.dtype, name="dense_in")(y))
        y = Dense(self.width, dtype=self.dtype, name="dense_out")(y)
        return h_BE + (1 + vectors[2]) * y


@NETWORKS.register("adaptive_mlp")
class AdaptiveMLP(Denoiser):
    """A multilayer perceptron over all sites as one vector, for examples of few scalars. Local parts of a context are
    read as a whole by the normalisations, and add features to each site at its own place. Options: `width` E,
    `num_layers` L of residual layers, `activation`, `use_time` (False: the same features at any time).
    """

    width: int = 128
    num_layers: int = depth_option(3)
    activation: str = opt("silu", choices=ACTIVATIONS)
    use_time: bool = True

    READOUT = ("out",)
    SMALL = {"width": 16, "num_layers": 2}

    @nn.compact
    def __call__(self, x, factorization, context, *, train=False):
        encoder = ConditionEncoder(self.context_spec, self.width, self.dtype, self.use_time, name="condition")
        condition, local = encoder(context), self.context_spec.at_sites
        if local:
            vector = LocalSummary(local, self.event, self.width, self.dtype, name="local")(context)
            condition = vector if condition is None else condition + vector
        h = Dense(self.width, dtype=self.dtype, name="in")(flat_inputs(x, self.event.with_mask, self.dtype))
        for i in range(self.num_layers):
            h = ResidualLayer(self.width, self.activation, self.dtype, name=f"layer_{i}")(h, condition)
        vectors = Modulation(self.width, 2, self.dtype, name="modulation")(condition, 2)
        h = adapted("norm", h, vectors, self.dtype)
        features = Dense(self.event.num_sites * self.num_features, dtype=self.dtype, name="out")(h)
        if local:
            at_sites = LocalFeatures(local, self.event, self.num_features, self.dtype, name="at_sites")
            features = features + at_sites(context)
        return features.reshape(len(x), *self.event.grid_shape, self.num_features).astype(jnp.float32)
