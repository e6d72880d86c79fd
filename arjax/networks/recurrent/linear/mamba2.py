"""Mamba-2 (Dao & Gu, "Transformers are SSMs", 2024)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.options import depth_option
from arjax.networks.base import NETWORKS
from arjax.networks.recurrent.linear.mixer import MIXERS, Decay, HeadMixer, MixerNetwork
from arjax.networks.recurrent.linear.states import Decayed

#: Features of all heads together, in widths.
EXPAND = 2
#: The smallest magnitude of a decay that may be negative: less, and its logarithm would have no derivative.
SMALLEST = 1e-8


def log_magnitude(a: jax.Array) -> jax.Array:
    """log |a|, not below that of `SMALLEST`."""
    return jnp.log(jnp.maximum(jnp.abs(a), SMALLEST))


@MIXERS.register("mamba2")
class Mamba2Mixer(HeadMixer):
    """A state space with one decay per head:

    S_t = a_t S_(t-1) + dt_t B_t x_t',  o_t = S_t' C_t + D x_t,  y_t = W_o norm(o_t * silu(z_t))

    (sections 2.1 and 7.1, figure 6): z = W_z u and x, B, C = silu(conv(W u)) for an input u, dt = softplus(W_dt u + b)
    and a = exp(-exp(A) dt) are one number per head, and B and C, of `state_size` features, are the same for all heads.
    The norm is the RMS of all heads together. With `negative_eigenvalues` a = 2 exp(-exp(A) dt) - 1, in (-1, 1) (Grazzi
    et al., 2025, "Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues", section 4.1).
    """

    kernel_size: int = depth_option(4, least=0)
    state_size: int = 64
    negative_eigenvalues: bool = False

    INNER = "hidden_size * 2"

    @property
    def inner(self):
        return EXPAND * self.width

    def setup(self):
        self.gate = self.dense(self.inner, use_bias=False)
        self.read = self.dense(self.inner + 2 * self.state_size, use_bias=False)
        self.make_convolution(self.inner + 2 * self.state_size)
        self.decay = Decay(self.num_heads, self.dtype)
        self.skip = self.param("skip", nn.initializers.ones, (self.num_heads,))
        self.norm = nn.RMSNorm(dtype=jnp.float32)
        self.out = self.make_out()

    def by_part(self, u):
        """C and B [B, 1, T, H], x [B, N, T, P]."""
        x, b, c = jnp.split(u, (self.inner, self.inner + self.state_size), axis=-1)
        return c[:, None], b[:, None], self.by_head(x)

    def recurrence(self, q, k, v, rest):
        rate, dt = (self.by_head(part)[..., 0] for part in self.decay(rest))
        log_a, sign = -rate, None
        if self.negative_eigenvalues:
            a = 2 * jnp.exp(-rate) - 1
            log_a, sign = log_magnitude(a), jnp.where(a < 0, -1.0, 1.0)
        return Decayed(q, k, v, log_a, sign, dt)

    def scale(self):
        return None

    def added(self):
        return jnp.broadcast_to(self.skip[:, None, None], (self.num_heads, 1, self.inner // self.num_heads))

    def outputs(self, o, u, rest):
        return self.gated(self.by_step(o) + self.added().ravel() * self.activated(u[..., : self.inner]), rest)

    def gated(self, o_BTU, rest):
        return self.out(self.norm(o_BTU * nn.silu(self.gate(rest).astype(jnp.float32))))

    def init_state(self, batch_size):
        return jnp.zeros((batch_size, self.num_heads, self.state_size, self.inner // self.num_heads), jnp.float32)


@NETWORKS.register("mamba2")
class Mamba2(MixerNetwork):
    """State spaces with one decay per head, over the steps of any factorization: blocks without an MLP, as in the
    paper. Options: those of `MixerNetwork`; `num_heads` and `state_size` of the states [state_size, 2 E / num_heads],
    `kernel_size` of the convolution (0: none), `chunk_size`: steps within which all pairs are compared at once;
    `negative_eigenvalues`: decays in (-1, 1), not in (0, 1).
    """

    mlp_ratio: int = 0

    SMALL = {
        **{"hidden_size": 16, "num_layers": 2, "num_heads": 2, "state_size": 8, "kernel_size": 3, "chunk_size": 4},
        "negative_eigenvalues": True,
    }
    MIXER = Mamba2Mixer
