"""A network without a carry, for every order and partition: masks decide which sites a site reads."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.errors import UserError
from arjax.networks import NETWORKS, Network


@NETWORKS.register("masked_mixer")
class MaskedMixer(Network):
    """One site reads another through two masked matrices [D, D] (an MLP-mixer, Tolstikhin et al. 2021, with masks)."""

    width: int = 64

    SMALL = {"width": 16}
    READOUT = ("readout",)

    def check(self, factorization):
        """It takes no context."""
        if self.context_spec:
            raise UserError("the network 'masked_mixer' takes no context")

    def setup(self):
        """Two matrices over sites, and layers over features."""
        sites = self.event.num_sites  # num_dims, in contrast, also counts the entries of vectors
        init = nn.initializers.normal(sites**-0.5)
        self.first, self.second = (self.param(name, init, (sites, sites)) for name in ("first_kernel", "second_kernel"))
        self.bias = self.param("bias", nn.initializers.normal(), (sites, self.width))
        self.encode = nn.Dense(self.width, dtype=self.dtype)
        self.hidden = nn.Dense(self.width, dtype=self.dtype)
        self.readout = nn.Dense(self.num_features)  # features are float32

    def __call__(self, x, factorization, context=None, *, train=False):
        """The features of all sites in one pass."""
        v_BDV = x.reshape(len(x), self.event.num_sites, -1)
        if self.event.is_discrete:
            v_BDV = jax.nn.one_hot(v_BDV, self.event.num_levels).reshape(*v_BDV.shape[:2], -1)
        step_D = factorization.step
        earlier_DD = step_D[None] < step_D[:, None]  # [i, j]: site i may read the value of site j
        h_BDE = self.bias + (self.first * earlier_DD) @ self.encode(v_BDV)
        not_later_DD = step_D[None] <= step_D[:, None]  # hidden units of the same step have read earlier steps only
        h_BDE = nn.gelu(h_BDE + self.hidden((self.second * not_later_DD) @ nn.gelu(h_BDE)))
        return self.readout(h_BDE.astype(jnp.float32)).reshape(*x.shape[: 1 + len(self.event.grid_shape)], -1)

    def start(self, batch_size, factorization, context=None):
        """Nothing is kept: each step computes a whole pass."""
        return ()

    def step(self, carry, canvas, t, factorization, context=None):
        """The features of the sites of step t."""
        features_BDF = self(canvas, factorization).reshape(len(canvas), self.event.num_sites, -1)
        sites_M, _ = factorization.sites(t)
        # `sites_M` is padded with D, for which "clip" reads the last site: the features of padding are ignored.
        return carry, features_BDF.at[:, sites_M].get(mode="clip")
