"""Sites that read no other site: the baseline of every table, and the constant part of richer networks."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import refuse, say_once
from arjax.core.options import depth_option, opt
from arjax.core.spec import ContextSpec, EventSpec
from arjax.networks.base import ACTIVATIONS, NETWORKS, Context, Network
from arjax.networks.layers.dense import Dense
from arjax.networks.layers.embedding import flat_inputs
from arjax.networks.layers.local_context import LOCAL_WIDTH, feature_encoder


class SiteBias(nn.Module):
    """Features b_i + U_i c of each site, [B, D, F], for the context c; with local parts, b_i + `LocalFeatures`."""

    event: EventSpec
    num_features: int
    context_spec: ContextSpec
    dtype: str
    width: int = LOCAL_WIDTH
    num_blocks: int = depth_option(1, least=0)

    READOUT = ("bias",)

    def setup(self):
        shape = (self.event.num_sites, self.num_features)
        # Not zero: the components of a mixture would all be equal, and stay equal.
        self.bias = self.param("bias", nn.initializers.normal(0.05), shape)
        if self.context_spec:
            sizes = self.width, self.num_blocks
            self.context = feature_encoder(self.context_spec, self.event, self.num_features, self.dtype, *sizes)

    def __call__(self, batch_size: int, context: Context | None) -> jax.Array:
        bias_BDF = jnp.broadcast_to(self.bias.astype(self.dtype), (batch_size, *self.bias.shape))
        return bias_BDF if context is None else bias_BDF + self.context(context).reshape(bias_BDF.shape)


class HiddenLayers(nn.Module):
    """The features of all sites from a context, whose parts are flattened and concatenated, through hidden layers
    h = a(W c + b): {part: [B, ...]} -> [B, D, F]. The encoders and decoders of variational autoencoders are this
    network (Kingma & Welling, "Auto-Encoding Variational Bayes", 2014, appendix C).
    """

    num_sites: int
    num_features: int
    context_spec: ContextSpec
    hidden_sizes: tuple[int, ...]
    activation: str
    dtype: str

    READOUT = ("readout",)

    def setup(self):
        self.hidden = [Dense(size, dtype=self.dtype) for size in self.hidden_sizes]
        self.readout = Dense(self.num_sites * self.num_features, dtype=self.dtype)

    def __call__(self, batch_size: int, context: Context) -> jax.Array:
        h = jnp.concatenate([flat_inputs(context[name], part, self.dtype) for name, part in self.context_spec.parts], 1)
        for layer in self.hidden:
            h = ACTIVATIONS[self.activation](layer(h))
        return self.readout(h).reshape(batch_size, self.num_sites, self.num_features)


class ReadsNoSite(Network):
    """A network whose features depend on no site."""

    def dependencies(self, factorization):
        return np.zeros((factorization.num_sites, factorization.num_sites), bool)


@NETWORKS.register("constant")
class Constant(ReadsNoSite):
    """All features are 0, and nothing is learned: a standard normal under `gaussian`, fair coins under `bernoulli`,
    under `categorical` the uniform distribution. The usual prior of latent variables. No options.
    """

    TRAITS = Network.TRAITS - {"context"}

    def __call__(self, x, factorization, context=None, *, train=False):
        return jnp.zeros((x.shape[0], *self.event.grid_shape, self.num_features), jnp.float32)

    def start(self, batch_size, factorization, context=None):
        return ()

    def step(self, carry, canvas, t, factorization, context=None):
        sites, _ = factorization.sites(t)
        return carry, jnp.zeros((canvas.shape[0], len(sites), self.num_features), jnp.float32)


@NETWORKS.register("independent")
class Independent(ReadsNoSite):
    """p(x | c) = prod_i p(x_i | c): features are a bias per site, plus a map of the context. Maximum likelihood gives
    the frequencies of the values at each site, so this is the baseline of every network. It supports every order and
    partition.

    Of a context with local parts the map is a convolutional network without masks, `LocalFeatures`: a decoder of the
    pixels x given a grid z of tokens, or an encoder of such a grid given the pixels, as in van den Oord, Vinyals &
    Kavukcuoglu, "Neural Discrete Representation Learning", 2017, section 4.1. Strides of 2 have kernels of 4 x 4; then
    the vector of the other parts is added, and residual blocks and a 1x1 convolution to the features follow.

    Options: `hidden_sizes`, the layers of the map of a context without local parts, (): a linear one; their
    `activation`; `width` of the convolutional network and its `num_blocks`.
    """

    hidden_sizes: tuple[int, ...] = opt((), least=1)
    activation: str = opt("tanh", choices=ACTIVATIONS)
    width: int = 64
    num_blocks: int = depth_option(2, least=0)

    def check(self, factorization):
        context, layers = self.context_spec, "network.hidden_sizes of 'independent' are layers of"
        sizes = "the size of the convolutional network of local ones is network.width and network.num_blocks"
        refuse(
            (self.hidden_sizes and not context, f"{layers} its context, and there is none"),
            (self.hidden_sizes and context.local, f"{layers} a context without local parts: {sizes}"),
        )
        for name in ("width", "num_blocks"):
            if not context.local and getattr(self, name) != getattr(type(self), name):
                say_once(f"network.{name} of 'independent' has no effect: it is for local parts of a context")

    def setup(self):
        if self.hidden_sizes:
            sizes = self.event.num_sites, self.num_features, self.context_spec
            self.site = HiddenLayers(*sizes, self.hidden_sizes, self.activation, self.dtype)
        else:
            sizes = self.width, self.num_blocks
            self.site = SiteBias(self.event, self.num_features, self.context_spec, self.dtype, *sizes)

    def __call__(self, x, factorization, context=None, *, train=False):
        features_BDF = self.site(x.shape[0], context)
        return features_BDF.reshape(-1, *self.event.grid_shape, self.num_features).astype(jnp.float32)

    def start(self, batch_size, factorization, context=None):
        """The features of all sites, [B, D, F]: they depend on no value."""
        return self.site(batch_size, context).astype(jnp.float32)

    def step(self, carry, canvas, t, factorization, context=None):
        return carry, jnp.take(carry, factorization.sites(t)[0], axis=1, mode="clip")
