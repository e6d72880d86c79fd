"""Gated linear attention: Yang et al., "Gated Linear Attention Transformers with Hardware-Efficient Training", 2024."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from arjax.networks.base import NETWORKS, divides
from arjax.networks.recurrent.linear.mixer import MIXERS, HeadMixer, MixerNetwork
from arjax.networks.recurrent.linear.states import Decayed

#: The root of the gates, tau, and the rank of their matrix (section 4.4).
ROOT, RANK = 16, 16


@MIXERS.register("gated_linear_attention")
class GatedLinearMixer(HeadMixer):
    """Linear attention with decays, head by head:

    S_t = Diag(a_t) S_(t-1) + k_t v_t',  o_t = S_t' q_t,  y_t = W_o (norm(o_t) * silu(W_r x_t + b_r))

    (section 4.1, equation 3, and section 4.4): a = sigma(W_2 W_1 x + b)^(1/16) is one number for each feature of a key,
    with matrices of rank 16. Keys have half as many features as values, and the norm is that of a layer, over a head.
    """

    chunk_size: int = 16

    def __post_init__(self):
        divides(2 * self.num_heads, self.width, "num_heads * 2")
        super().__post_init__()

    def setup(self):
        keys = self.width // 2
        self.make_convolution(2 * self.width)
        self.read = self.dense(2 * self.width, use_bias=False, name="qkv")
        self.decay_in = self.dense(RANK, use_bias=False)
        self.decay_out = self.dense(keys)
        self.gate = self.dense(self.width)
        self.norm = nn.LayerNorm(dtype=jnp.float32)
        self.out = self.make_out()

    def terms(self, u, rest):
        parts = jnp.split(u, (self.width // 2, self.width), axis=-1)
        q, k, v = (self.by_head(part).astype(self.dtype) for part in parts)
        decay = self.decay_out(self.decay_in(rest)).astype(jnp.float32)
        return Decayed(q, k, v, self.by_head(nn.log_sigmoid(decay) / ROOT))

    def init_state(self, batch_size):
        size = self.width // self.num_heads
        return jnp.zeros((batch_size, self.num_heads, size // 2, size), jnp.float32)


@NETWORKS.register("gated_linear_attention")
class GatedLinearAttention(MixerNetwork):
    """Linear attention with a decay of each feature of the keys, over the steps of any factorization. Options: those of
    `MixerNetwork`; `num_heads`, `chunk_size`: steps within which all pairs are compared at once, one by one for each
    feature, so fewer than in other networks.
    """

    SMALL = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "chunk_size": 4}
    MIXER = GatedLinearMixer
