"""mLSTM (Beck et al., 2024, "xLSTM: Extended Long Short-Term Memory")."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.errors import UserError
from arjax.networks.base import NETWORKS
from arjax.networks.layers.dense import Dense
from arjax.networks.recurrent.linear.exponential import Exponential, empty
from arjax.networks.recurrent.linear.mixer import MIXERS, HeadMixer
from arjax.networks.recurrent.linear.network import MixerNetwork

#: The logarithms of the forget gates by their pre-activation.
FORGET_GATES = {"sigmoid": nn.log_sigmoid, "exp": lambda x: x}


@MIXERS.register("mlstm")
class MLSTMMixer(HeadMixer):
    """An LSTM with a matrix as its memory, head by head:

    C_t = f_t C_(t-1) + i_t v_t k_t',  n_t = f_t n_(t-1) + i_t k_t,  h_t = C_t q_t / max(|n_t' q_t|, 1)

    and y_t = W (sigma(W_o x_t + b_o) * norm(h_t)) (section 2.3, equations 19 to 27): q, k and v are
    W x + b, with k over the root of its size; i = exp(w_i x + b_i) and f = sigma(w_f x + b_f), or exp, are one number a
    head. The norm is the RMS of a head, and there is no convolution, as in Beck et al. (2025), "xLSTM 7B", section 3.1.

    Attributes:
      forget_gate: "sigmoid" or "exp".
    """

    forget_gate: str = "sigmoid"

    def __post_init__(self):
        if self.forget_gate not in FORGET_GATES:
            raise UserError(f"network.forget_gate must be sigmoid or exp, not {self.forget_gate!r}")
        super().__post_init__()

    def setup(self):
        def open_gates(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
            return jnp.linspace(3.0, 6.0, shape[0], dtype=dtype)  # heads that forget at different rates

        zeros = nn.initializers.zeros
        self.make_convolution(3 * self.width)
        self.qkv = Dense(3 * self.width, dtype=self.dtype)
        self.input_gate = Dense(self.num_heads, kernel_init=zeros, dtype=self.dtype)
        self.forget = Dense(self.num_heads, kernel_init=zeros, bias_init=open_gates, dtype=self.dtype)
        self.output_gate = Dense(self.width, dtype=self.dtype)
        self.norm = nn.RMSNorm(dtype=jnp.float32)
        self.out = self.make_out()

    def inputs(self, x):
        return self.qkv(x), x

    def terms(self, u, rest):
        q, k, v = (self.by_head(part) for part in jnp.split(u, 3, axis=-1))
        q, k, v = (part.astype(self.dtype) for part in (q, k * k.shape[-1] ** -0.5, v))
        log_i, f = (self.by_head(gate(rest).astype(jnp.float32))[..., 0] for gate in (self.input_gate, self.forget))
        return Exponential(q, k, v, FORGET_GATES[self.forget_gate](f), log_i)

    def outputs(self, o, u, rest):
        return self.out(nn.sigmoid(self.output_gate(rest).astype(jnp.float32)) * self.by_step(self.norm(o)))

    def init_state(self, batch_size):
        size = self.width // self.num_heads
        return empty(batch_size, self.num_heads, size, size)


@NETWORKS.register("mlstm")
class MLSTM(MixerNetwork):
    """LSTMs with a matrix as their memory and exponential gates, over the steps of any factorization.

    Options: those of `MixerNetwork`; `num_heads`, `forget_gate` ("sigmoid" or "exp"), `chunk_size`: steps within which
    all pairs are compared at once.
    """

    num_heads: int = 4
    chunk_size: int = 64
    forget_gate: str = "sigmoid"

    SMALL = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "chunk_size": 4}
    MIXER = MLSTMMixer
