"""DeltaNet (Yang et al., 2024, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length"), gated
DeltaNet (Yang, Kautz & Hatamizadeh, 2025, "Gated Delta Networks") and DeltaProduct (Siems et al., 2025).
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.options import depth_option
from arjax.networks.base import NETWORKS
from arjax.networks.recurrent.linear.mixer import MIXERS, Decay, HeadMixer, MixerNetwork
from arjax.networks.recurrent.linear.states import UnitDelta


@MIXERS.register("delta_net")
class DeltaMixer(HeadMixer):
    """The delta rule, head by head:

    S_t = S_(t-1) (1 - beta_t k_t k_t') + beta_t v_t k_t',  o_t = S_t q_t,  y_t = W_o norm(o_t)

    (sections 2.2 and 3.3): q and k are of length 1, q, k and v = silu(conv(W x)), beta = sigma(W_beta x), and the norm
    is the RMS of a head. With `negative_eigenvalues` beta = 2 sigma(W_beta x), so that the eigenvalue 1 - beta of the
    factors is in (-1, 1) (Grazzi et al., 2025, "Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues",
    section 4.1). `num_householder` R: a step has R delta rules, each with a key, a value and a beta of its own, and its
    transition is the product of their factors (DeltaProduct).
    """

    kernel_size: int = depth_option(4, least=0)
    negative_eigenvalues: bool = False
    num_householder: int = 1

    def setup(self):
        features = (1 + 2 * self.num_householder) * self.width
        self.read = self.dense(features, use_bias=False, name="qkv")
        self.beta = self.dense(self.num_householder * self.num_heads)
        self.make_convolution(features)
        self.norm = nn.RMSNorm(dtype=jnp.float32)
        self.out = self.make_out()

    def _log_decay(self, x_BTE: jax.Array) -> jax.Array | None:
        """log a_t, [B, N, T]."""
        return None

    def by_part(self, u):
        q, k, v = jnp.split(u, (self.width, (1 + self.num_householder) * self.width), axis=-1)
        return self.by_head(q), self.by_head(k), self.by_head(v)

    def recurrence(self, q, k, v, rest):
        k, v = (part.reshape(*part.shape[:3], self.num_householder, -1) for part in (k, v))
        beta = nn.sigmoid(self.by_head(self.beta(rest).astype(jnp.float32)))
        return UnitDelta(q, k, v, beta * (2 if self.negative_eigenvalues else 1), self._log_decay(rest))

    def gated(self, o_BTU, rest):
        return self.out(o_BTU)

    def init_state(self, batch_size):
        size = self.width // self.num_heads
        return jnp.zeros((batch_size, self.num_heads, size, size), jnp.float32)


@MIXERS.register("gated_delta_net")
class GatedDeltaMixer(DeltaMixer):
    """The delta rule with decays, head by head:

    S_t = a_t S_(t-1) (1 - beta_t k_t k_t') + beta_t v_t k_t',  o_t = S_t q_t,  y_t = W_o (norm(o_t) * silu(W_g x_t))

    with a_t = exp(-exp(A) softplus(W_a x_t + b)) of each head (section 3.1, equation 10, and section 3.4); otherwise as
    in `DeltaMixer`.
    """

    def setup(self):
        super().setup()
        self.decay = Decay(self.num_heads, self.dtype)
        self.gate = self.dense(self.width, use_bias=False)

    def _log_decay(self, x_BTE):
        return -self.by_head(self.decay(x_BTE)[0])[..., 0]

    gated = HeadMixer.gated


@NETWORKS.register("delta_net")
class DeltaNet(MixerNetwork):
    """Linear attention that replaces the value stored for a key, over the steps of any factorization. Options: those of
    `MixerNetwork`; `num_heads`, `kernel_size` of the convolution (0: none), `chunk_size`: delta rules within which all
    pairs are compared at once; `negative_eigenvalues`: whether a state may change its sign; `num_householder`: delta
    rules in each step (DeltaProduct).
    """

    SMALL = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "kernel_size": 3, "chunk_size": 4}
    MIXER = DeltaMixer


@NETWORKS.register("gated_delta_net")
class GatedDeltaNet(MixerNetwork):
    """DeltaNet with a decay of the state and an output gate, for any factorization; options as `delta_net`."""

    SMALL = {**DeltaNet.SMALL, "negative_eigenvalues": True, "num_householder": 2}
    MIXER = GatedDeltaMixer
