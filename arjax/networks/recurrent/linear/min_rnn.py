"""minGRU and minLSTM (Feng et al., 2024, "Were RNNs All We Needed?"): gates that read the input alone."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.options import depth_option
from arjax.networks.base import NETWORKS
from arjax.networks.layers.dense import Dense
from arjax.networks.recurrent.linear.mixer import MIXERS, LinearMixer
from arjax.networks.recurrent.linear.network import MixerNetwork
from arjax.networks.recurrent.linear.vector_states import Diagonal


class MinMixer(LinearMixer):
    """y_t = W_o h_t of a diagonal recurrence h whose gates are W u + b, all in one product, of a convolution u of x
    (appendix C: a convolution over 4 steps before the recurrence, and an MLP after it).

    Attributes:
      recurrent_size: R; 0 for E.
    """

    kernel_size: int = depth_option(4, least=0)
    recurrent_size: int = 0

    #: Linear maps of the input.
    NUM_GATES = 2

    @property
    def size(self) -> int:
        """R."""
        return self.recurrent_size or self.width

    def setup(self):
        self.make_convolution(self.width)
        self.gates = Dense(self.NUM_GATES * self.size, dtype=self.dtype)
        self.out = self.make_out()

    def inputs(self, x):
        return x, None

    def _gates(self, u: jax.Array) -> list[jax.Array]:
        return jnp.split(self.gates(u).astype(jnp.float32), self.NUM_GATES, axis=-1)

    def outputs(self, o, u, rest):
        return self.out(o)

    def init_state(self, batch_size):
        return jnp.zeros((batch_size, self.size), jnp.float32)


@MIXERS.register("min_gru")
class MinGRUMixer(MinMixer):
    """A GRU whose gates read the input alone:

    h_t = (1 - z_t) * h_(t-1) + z_t * g_t,  z_t = sigma(W_z u_t + b_z),  g_t = W_g u_t + b_g (section 3.1.3)
    """

    def terms(self, u, rest):
        z, g = self._gates(u)
        return Diagonal(nn.sigmoid(-z), nn.sigmoid(z) * g)


@MIXERS.register("min_lstm")
class MinLSTMMixer(MinMixer):
    """An LSTM whose gates read the input alone:

    h_t = f_t / (f_t + i_t) * h_(t-1) + i_t / (f_t + i_t) * g_t,  f_t = sigma(W_f u_t + b_f),  i_t = sigma(W_i u_t +
    b_i),  g_t = W_g u_t + b_g (section 3.2.4).
    """

    NUM_GATES = 3

    def terms(self, u, rest):
        f, i, g = self._gates(u)
        more = nn.log_sigmoid(i) - nn.log_sigmoid(f)  # i / (f + i) is its sigmoid, also where both gates are almost 0
        return Diagonal(nn.sigmoid(-more), nn.sigmoid(more) * g)


@NETWORKS.register("min_gru")
class MinGRU(MixerNetwork):
    """GRUs whose gates read the input alone, over the steps of any factorization.

    Options: those of `MixerNetwork`; `recurrent_size` R (0: E), `kernel_size` of the convolution (0: none).
    """

    SMALL = {"hidden_size": 16, "num_layers": 2, "kernel_size": 3}
    MIXER = MinGRUMixer


@NETWORKS.register("min_lstm")
class MinLSTM(MixerNetwork):
    """LSTMs whose gates read the input alone, over the steps of any factorization; options as of `min_gru`."""

    SMALL = MinGRU.SMALL
    MIXER = MinLSTMMixer
