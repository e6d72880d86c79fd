"""FVSBN: the fully visible sigmoid belief network (Frey, 1998; Gan, Henao, Carlson & Carin, 2015)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.options import rate_option
from arjax.core.spec import EventSpec
from arjax.factorization import Factorization
from arjax.networks.base import NETWORKS, Network
from arjax.networks.dense.independent import SiteBias
from arjax.networks.layers.embedding import flat_inputs, input_mask, numeric_size, seen_inputs


class EarlierSites(nn.Module):
    """A linear map from the sites of earlier steps to the features of each site: sum_j W_ij x_j over step[j] < step[i].

    The strict mask multiplies W [D * n, D * F] in the forward pass, so one matrix supports any order and partition. W
    starts at 0: weights without a gradient stay 0, and training begins at independent sites.
    """

    event: EventSpec
    num_features: int
    dtype: str

    def setup(self):
        shape = (self.event.num_sites * numeric_size(self.event), self.event.num_sites * self.num_features)
        self.kernel = self.param("kernel", nn.initializers.zeros, shape)

    def __call__(self, inputs: jax.Array, factorization: Factorization) -> jax.Array:
        """Inputs [B, D * n] of all sites -> [B, D, F]."""
        if not factorization.has_edges:
            return jnp.zeros((inputs.shape[0], self.event.num_sites, self.num_features), self.dtype)
        mask = jnp.repeat(input_mask(self.event, factorization), self.num_features, axis=1)
        out = inputs @ jnp.where(mask, self.kernel, 0.0).astype(self.dtype)
        return out.reshape(-1, self.event.num_sites, self.num_features)

    def step(self, inputs: jax.Array, t: jax.Array, factorization: Factorization) -> jax.Array:
        """Inputs [B, D * n], 0 where not of an earlier step -> [B, M, F] of the sites of step t."""
        kernel = self.kernel.reshape(-1, self.event.num_sites, self.num_features)
        sites_M = factorization.sites(t)[0]
        columns = jnp.take(kernel, sites_M, axis=1, mode="clip").astype(self.dtype)
        if factorization.parents is not None:
            read = jnp.take(input_mask(self.event, factorization), sites_M, axis=1, mode="clip")
            columns = jnp.where(read[..., None], columns, 0)
        return jnp.einsum("bi,imf->bmf", inputs, columns)


@NETWORKS.register("fvsbn")
class FVSBN(Network):
    """One generalised linear model per site: features_i = b_i + sum of W_ij x_j over the sites j of earlier steps.

    For binary sites p(x_i = 1 | x_<i) = sigma(b_i + sum_j<i W_ij x_j): Frey, "Graphical Models for Machine Learning and
    Digital Communication" (1998), section 3.2; Gan et al., "Learning Deep Sigmoid Belief Networks with Data
    Augmentation" (2015), section 2. Integers of more levels enter one-hot, real values as they are. The log-likelihood
    of binary data is concave in the parameters, so regularisation is the only choice.

    Options: `input_dropout` on the inputs.
    """

    input_dropout: float = rate_option()

    READOUT = ("earlier",)
    TRAITS = Network.TRAITS | {"graphs"}

    def setup(self):
        self.site = SiteBias(self.event, self.num_features, self.context_spec, self.dtype)
        self.earlier = EarlierSites(self.event, self.num_features, self.dtype)
        self.input_drop = nn.Dropout(self.input_dropout)

    def __call__(self, x, factorization, context=None, *, train=False):
        inputs = self.input_drop(flat_inputs(x, self.event, self.dtype), deterministic=not train)
        features_BDF = self.site(x.shape[0], context) + self.earlier(inputs, factorization)
        return features_BDF.reshape(-1, *self.event.grid_shape, self.num_features).astype(jnp.float32)

    def start(self, batch_size, factorization, context=None):
        """The features of all sites without the contributions of other sites, [B, D, F]."""
        return self.site(batch_size, context)

    def step(self, carry, canvas, t, factorization, context=None):
        """O(D) per site: its own row of the matrix."""
        constant_BMF = jnp.take(carry, factorization.sites(t)[0], axis=1, mode="clip")
        inputs = seen_inputs(canvas, self.event, self.dtype, t, factorization)
        return carry, (constant_BMF + self.earlier.step(inputs, t, factorization)).astype(jnp.float32)
