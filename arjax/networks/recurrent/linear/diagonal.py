"""Diagonal recurrences whose gates read the input alone: the real-gated linear recurrent unit in its recurrent block
(De et al., 2024, "Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient Language Models"), minGRU
and minLSTM (Feng et al., 2024, "Were RNNs All We Needed?").
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.options import depth_option
from arjax.networks.base import NETWORKS
from arjax.networks.recurrent.linear.mixer import MIXERS, LinearMixer, MixerNetwork
from arjax.networks.recurrent.linear.states import Diagonal, linear_recurrence


class RGLRU(nn.Module):
    """The RG-LRU (section 2.4, equations 1 to 4; * elementwise, c = 8):

    r_t = sigma(W_a x_t + b_a)   recurrence gate        a_t = a^(c r_t),  a = sigma(Lambda)
    i_t = sigma(W_x x_t + b_x)   input gate             h_t = a_t * h_(t-1) + sqrt(1 - a_t^2) * (i_t * x_t)

    All in float32 but the products for the gates; their matrices are block-diagonal, with `num_heads` blocks. a^c is
    initially uniform over [0.9, 0.999] (same section).
    """

    features: int
    num_heads: int
    dtype: str

    C = 8.0

    def setup(self):
        size = self.features // self.num_heads
        init = nn.initializers.variance_scaling(1.0, "fan_in", "normal", in_axis=1, out_axis=2, batch_axis=0)

        def spread(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
            a = jax.random.uniform(key, shape, minval=0.9, maxval=0.999) ** (1 / self.C)
            return jnp.log(a) - jnp.log1p(-a)  # sigma(Lambda) = a

        self.recurrence_kernel = self.param("recurrence_kernel", init, (self.num_heads, size, size))
        self.recurrence_bias = self.param("recurrence_bias", nn.initializers.zeros, (self.features,))
        self.input_kernel = self.param("input_kernel", init, (self.num_heads, size, size))
        self.input_bias = self.param("input_bias", nn.initializers.zeros, (self.features,))
        self.decay = self.param("decay", spread, (self.features,))

    def _gate(self, x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        by_head = x.astype(self.dtype).reshape(*x.shape[:-1], self.num_heads, -1)
        mixed = jnp.einsum("...ni,nij->...nj", by_head, kernel.astype(self.dtype)).reshape(x.shape)
        return nn.sigmoid(mixed.astype(jnp.float32) + bias)

    def coefficients(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(a_t, sqrt(1 - a_t^2) * i_t * x_t), [..., R] each in float32."""
        r = self._gate(x, self.recurrence_kernel, self.recurrence_bias)
        i = self._gate(x, self.input_kernel, self.input_bias)
        log_a = -self.C * nn.softplus(-self.decay) * r
        # 1 - a^2 without cancellation; never 0, where the root has no derivative.
        scale = jnp.sqrt(jnp.maximum(-jnp.expm1(2 * log_a), 1e-12))
        return jnp.exp(log_a), scale * i * x

    def __call__(self, x_BTR: jax.Array) -> jax.Array:
        """All steps, float32[B, T, R] -> float32[B, T, R]."""
        return linear_recurrence(*self.coefficients(x_BTR))


@MIXERS.register("rg_lru")
class RecurrentBlock(LinearMixer):
    """The recurrent block of Griffin: W_o (gelu(W_1 x) * RG-LRU(conv(W_2 x))) (section 2.3, figure 2c), with a
    convolution over the last K steps that treats every feature by itself. Between the matrix products all is float32,
    as the branches multiply their rounding errors. `num_heads`: blocks of the matrices of the gates.
    """

    num_heads: int = 4
    kernel_size: int = depth_option(4)

    @property
    def size(self) -> int:
        """R, about 4/3 E as in the paper."""
        return self.num_heads * max(1, round(self.width * 4 / 3 / self.num_heads))

    def setup(self):
        self.gate = self.dense(self.size)
        self.read = self.dense(self.size)
        self.make_convolution(self.size)
        self.recurrence = RGLRU(self.size, self.num_heads, self.dtype)
        self.out = self.make_out()

    def terms(self, u, rest):
        return Diagonal(*self.recurrence.coefficients(u))

    def outputs(self, o, u, rest):
        return self.out(nn.gelu(self.gate(rest)) * o)

    def init_state(self, batch_size):
        return jnp.zeros((batch_size, self.size), jnp.float32)


@NETWORKS.register("rg_lru")
class Hawk(MixerNetwork):
    """Hawk of the Griffin paper: gated linear recurrences over the steps of any factorization, parallel in training,
    O(1) per step in sampling. Residual blocks (section 2.1) have a recurrent block and a gated MLP, each after an RMS
    normalisation. In Griffin such blocks alternate with local attention: see `hybrid`.

    Options: those of `MixerNetwork`; `num_heads`, blocks of the gates' matrices; `kernel_size` of the convolution.
    """

    SMALL = {"hidden_size": 32, "num_layers": 2, "position": "learned"}
    ACTIVATION = "gelu"
    MIXER = RecurrentBlock


class MinMixer(LinearMixer):
    """y_t = W_o h_t of a diagonal recurrence h whose gates are W u + b, all in one product, of a convolution u of x
    (appendix C: a convolution over 4 steps before the recurrence, and an MLP after it).
    """

    kernel_size: int = depth_option(4, least=0)

    #: Linear maps of the input.
    NUM_GATES = 2

    def setup(self):
        self.make_convolution(self.width)
        self.gates = self.dense(self.NUM_GATES * self.width)
        self.out = self.make_out()

    def inputs(self, x):
        return x, None

    def _gates(self, u: jax.Array) -> list[jax.Array]:
        return jnp.split(self.gates(u).astype(jnp.float32), self.NUM_GATES, axis=-1)

    def outputs(self, o, u, rest):
        return self.out(o)

    def init_state(self, batch_size):
        return jnp.zeros((batch_size, self.width), jnp.float32)


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

    h_t = f_t / (f_t + i_t) * h_(t-1) + i_t / (f_t + i_t) * g_t,
    f_t = sigma(W_f u_t + b_f),  i_t = sigma(W_i u_t + b_i),  g_t = W_g u_t + b_g (section 3.2.4)
    """

    NUM_GATES = 3

    def terms(self, u, rest):
        f, i, g = self._gates(u)
        more = nn.log_sigmoid(i) - nn.log_sigmoid(f)  # i / (f + i) is its sigmoid, also where both gates are almost 0
        return Diagonal(nn.sigmoid(-more), nn.sigmoid(more) * g)


@NETWORKS.register("min_gru")
class MinGRU(MixerNetwork):
    """GRUs whose gates read the input alone, over the steps of any factorization. Options: those of `MixerNetwork`;
    `kernel_size` of the convolution (0: none).
    """

    SMALL = {"hidden_size": 16, "num_layers": 2, "kernel_size": 3}
    MIXER = MinGRUMixer


@NETWORKS.register("min_lstm")
class MinLSTM(MixerNetwork):
    """LSTMs whose gates read the input alone, over the steps of any factorization; options as of `min_gru`."""

    SMALL = MinGRU.SMALL
    MIXER = MinLSTMMixer
