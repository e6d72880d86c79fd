"""Features that are zero: fixed distributions without parameters."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from arjax.networks.base import NETWORKS, Network


@NETWORKS.register("constant")
class Constant(Network):
    """All features are 0, and nothing is learned: a standard normal under `gaussian`, fair coins under `bernoulli`, the
    uniform distribution under `categorical`. The usual prior of latent variables. No options.
    """

    READS_CONTEXT = False

    def dependencies(self, factorization):
        return np.zeros((factorization.num_sites, factorization.num_sites), bool)

    def __call__(self, x, factorization, context=None, *, train=False):
        return jnp.zeros((x.shape[0], *self.event.grid_shape, self.num_features), jnp.float32)

    def init_carry(self, batch_size, factorization, context=None):
        """Nothing."""
        return ()

    def step(self, carry, canvas, t, factorization, context=None):
        sites, _ = factorization.sites(t)
        return carry, jnp.zeros((canvas.shape[0], len(sites), self.num_features), jnp.float32)
