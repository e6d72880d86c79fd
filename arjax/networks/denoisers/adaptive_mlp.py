"""A multilayer perceptron over a whole noisy example, with the time and the context in its normalisations.

Li et al., "Autoregressive Image Generation without Vector Quantization" (2024), section 3.3 and appendix: the network
that denoises one continuous token.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.options import depth_option, opt
from arjax.networks.base import ACTIVATIONS, NETWORKS
from arjax.networks.denoisers.base import ConditionEncoder, Denoiser, Modulation, noisy_event
from arjax.networks.denoisers.transformer import adapted, gated
from arjax.networks.layers.dense import Dense
from arjax.networks.layers.embedding import flat_inputs
from arjax.networks.layers.local_context import LocalFeatures, LocalSummary


class ResidualLayer(nn.Module):
    """h + (1 + g) MLP(norm(h)), where the condition scales and shifts the normalisation and sets g, 0 without one.

    The MLP has one hidden layer of `width` units.
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
        return h_BE + gated(y, vectors[2])


@NETWORKS.register("adaptive_mlp")
class AdaptiveMLP(Denoiser):
    """All sites as one vector, for examples of few scalars. Local parts of a context are read as a whole by the
    normalisations, and add features to each site at its own place.

    Options: `width` E, `num_layers` L of residual layers, `activation`, `use_time` (False: the same features at any
    time).
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
        h = Dense(self.width, dtype=self.dtype, name="in")(flat_inputs(x, noisy_event(self.event), self.dtype))
        for i in range(self.num_layers):
            h = ResidualLayer(self.width, self.activation, self.dtype, name=f"layer_{i}")(h, condition)
        vectors = Modulation(self.width, 2, self.dtype, name="modulation")(condition, 2)
        h = adapted("norm", h, vectors, self.dtype)
        features = Dense(self.event.num_sites * self.num_features, dtype=self.dtype, name="out")(h)
        if local:
            at_sites = LocalFeatures(local, self.event, self.num_features, self.dtype, name="at_sites")
            features = features + at_sites(context)
        return features.reshape(len(x), *self.event.grid_shape, self.num_features).astype(jnp.float32)
