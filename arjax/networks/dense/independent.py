"""Sites that read no other site: the baseline of every table, and the constant part of richer networks."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec
from arjax.networks.base import NETWORKS, Context, Network, activation, check_sizes
from arjax.networks.layers.embedding import ContextEncoder, flat_inputs


class SiteBias(nn.Module):
    """A learned feature vector per site, b_i + U_i c, where c is the context: [B, D, F]."""

    num_sites: int
    num_features: int
    context_spec: ContextSpec
    dtype: str

    def setup(self):
        shape = (self.num_sites, self.num_features)
        # Not zero: the components of a mixture would all be equal, and stay equal.
        self.bias = self.param("bias", nn.initializers.normal(0.05), shape)
        if self.context_spec:
            self.context = ContextEncoder(self.context_spec, self.num_sites * self.num_features, self.dtype)

    def __call__(self, batch_size: int, context: Context | None) -> jax.Array:
        """Features [B, D, F] of all sites."""
        bias_BDF = jnp.broadcast_to(self.bias.astype(self.dtype), (batch_size, *self.bias.shape))
        return bias_BDF if context is None else bias_BDF + self.context(context).reshape(bias_BDF.shape)


class HiddenLayers(nn.Module):
    """The features of all sites from a context, through hidden layers: {part: [B, ...]} -> [B, D, F].

    The parts are flattened and concatenated, h = a(W c + b) layer by layer. The encoders and decoders of variational
    autoencoders are this network (Kingma & Welling, "Auto-Encoding Variational Bayes", 2014, appendix C).
    """

    num_sites: int
    num_features: int
    context_spec: ContextSpec
    hidden_sizes: tuple[int, ...]
    activation: str
    dtype: str

    def setup(self):
        self.hidden = [nn.Dense(size, dtype=self.dtype) for size in self.hidden_sizes]
        self.readout = nn.Dense(self.num_sites * self.num_features, dtype=self.dtype)

    def __call__(self, batch_size: int, context: Context) -> jax.Array:
        h = jnp.concatenate([flat_inputs(context[name], part, self.dtype) for name, part in self.context_spec.parts], 1)
        for layer in self.hidden:
            h = activation(self.activation)(layer(h))
        return self.readout(h).reshape(batch_size, self.num_sites, self.num_features)


@NETWORKS.register("independent")
class Independent(Network):
    """p(x | c) = prod_i p(x_i | c): features are a bias per site, plus a map of the context.

    Maximum likelihood gives the frequencies of the values at each site, so this is the baseline of every network. It
    reads no site, and so supports every order and partition.

    Options: `hidden_sizes`, the layers of the map of the context, (): a linear one; their `activation`.
    """

    hidden_sizes: tuple[int, ...] = ()
    activation: str = "tanh"

    @classmethod
    def check(cls, event, factorization, options):
        activation(options["activation"])
        if options["hidden_sizes"]:
            check_sizes("hidden_sizes", options["hidden_sizes"])

    @classmethod
    def check_context(cls, context, options):
        if options["hidden_sizes"] and not context:
            raise UserError("network.hidden_sizes of 'independent' are layers of its context, and there is none")

    def setup(self):
        sizes = self.event.num_sites, self.num_features, self.context_spec
        if self.hidden_sizes:
            self.site = HiddenLayers(*sizes, self.hidden_sizes, self.activation, self.dtype)
        else:
            self.site = SiteBias(*sizes, self.dtype)

    def dependencies(self, factorization):
        return np.zeros((factorization.num_sites, factorization.num_sites), bool)

    def __call__(self, x, factorization, context=None, *, train=False):
        features_BDF = self.site(x.shape[0], context)
        return features_BDF.reshape(-1, *self.event.grid_shape, self.num_features).astype(jnp.float32)

    def init_carry(self, batch_size, factorization, context=None):
        """The features of all sites, [B, D, F]: they depend on no value."""
        return self.site(batch_size, context).astype(jnp.float32)

    def step(self, carry, canvas, t, factorization, context=None):
        return carry, jnp.take(carry, factorization.sites(t)[0], axis=1, mode="clip")
