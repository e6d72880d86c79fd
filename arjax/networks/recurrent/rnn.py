"""Stacks of recurrent layers: the simple recurrent network of the textbook, LSTM (Hochreiter & Schmidhuber, "Long
Short-Term Memory", 1997, with the forget gate of Gers, Schmidhuber & Cummins, 2000) and GRU (Cho et al., "Learning
Phrase Representations using RNN Encoder-Decoder", 2014).
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.networks.base import NETWORKS
from arjax.networks.recurrent.stack import Product, RecurrentLayer, RecurrentNetwork, elementwise

_tanh = elementwise(jnp.tanh)


class RNNLayer(RecurrentLayer):
    """One layer: h_t = tanh(W_hh h_t-1 + W_xh x_t + b)."""

    @staticmethod
    def cell(times: Product, carry: jax.Array, from_x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """h, W_xh x_t + b -> h, h."""
        h = _tanh(times(carry, 0, from_x.shape[-1]) + from_x)
        return h, h


@NETWORKS.register("rnn")
class RNN(RecurrentNetwork):
    """Stacked Elman network over the steps of any factorization."""

    LAYER = RNNLayer
    SMALL = {"hidden_size": 20, "num_layers": 2, "residual": True, "position": "learned"}


Cell = tuple[jax.Array, jax.Array]


@elementwise
def _cell(f: jax.Array, i: jax.Array, g: jax.Array, c: jax.Array) -> jax.Array:
    """c_t from the gates before their nonlinearities and c_t-1."""
    return nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)


@elementwise
def _hidden(o: jax.Array, c: jax.Array) -> jax.Array:
    """h_t from the output gate before its nonlinearity and c_t."""
    return nn.sigmoid(o) * jnp.tanh(c)


class LSTMLayer(RecurrentLayer):
    """One layer, with the gates of the textbook (sigma: logistic, *: elementwise):

    f_t = sigma(W_f [x_t, h_t-1] + b_f)    forget          g_t = tanh(W_g [x_t, h_t-1] + b_g)   candidate
    i_t = sigma(W_i [x_t, h_t-1] + b_i)    input           c_t = f_t * c_t-1 + i_t * g_t        cell
    o_t = sigma(W_o [x_t, h_t-1] + b_o)    output          h_t = o_t * tanh(c_t)                hidden

    The gates are in the order f, i, o, g. b_f starts at 1 (Jozefowicz et al., 2015, section 2.2), so that a new cell
    remembers. The cell is a long sum, and a forget gate near 1 would round to 1: both are float32 in any compute type.
    """

    num_gates = 4

    @staticmethod
    def bias_init(key, shape):
        return jnp.zeros(shape).at[: shape[0] // 4].set(1.0)

    @staticmethod
    def cell(times: Product, carry: Cell, from_x: jax.Array) -> tuple[Cell, jax.Array]:
        """(c, h), W_x x_t + b -> (c, h), h."""
        c, h = carry
        gates = (from_x + times(h, 0, from_x.shape[-1])).astype(jnp.float32)
        f, i, o, g = jnp.split(gates, 4, axis=-1)
        c = _cell(f, i, g, c)
        h = _hidden(o, c).astype(from_x.dtype)
        return (c, h), h

    def start(self, batch_size: int) -> Cell:
        shape = (batch_size, self.hidden_size)
        return jnp.zeros(shape, jnp.float32), jnp.zeros(shape, self.dtype)


@NETWORKS.register("lstm")
class LSTM(RecurrentNetwork):
    """Stacked LSTM over the steps of any factorization."""

    LAYER = LSTMLayer
    SMALL = {"hidden_size": 24, "num_layers": 2, "position": "learned"}


@elementwise
def _reset(r: jax.Array, h: jax.Array) -> jax.Array:
    """r_t * h_t-1 from the reset gate before its nonlinearity."""
    return nn.sigmoid(r) * h


@elementwise
def _update(z: jax.Array, g: jax.Array, h: jax.Array) -> jax.Array:
    """h_t from the update gate and the candidate before their nonlinearities, and h_t-1."""
    z, g = nn.sigmoid(z), jnp.tanh(g)
    return z * h + (1 - z) * g


class GRULayer(RecurrentLayer):
    """One layer (section 2.3, equations 5-8; sigma: logistic, *: elementwise):

    r_t = sigma(W_r x_t + U_r h_t-1 + b_r)          reset
    z_t = sigma(W_z x_t + U_z h_t-1 + b_z)          update
    g_t = tanh(W_g x_t + U_g (r_t * h_t-1) + b_g)   candidate
    h_t = z_t * h_t-1 + (1 - z_t) * g_t

    The gates are in the order r, z, g. As in the paper, which leaves out the biases, the reset gate comes before the
    product with U_g. The state is a long average, and an update gate near 1 would round to 1: both are float32.
    """

    num_gates = 3

    @staticmethod
    def cell(times: Product, carry: jax.Array, from_x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """h, W_x x_t + b -> h, h."""
        h, size, dtype = carry, carry.shape[-1], from_x.dtype
        gates = (from_x[..., : 2 * size] + times(h.astype(dtype), 0, 2 * size)).astype(jnp.float32)
        r, z = jnp.split(gates, 2, axis=-1)
        reset = _reset(r, h).astype(dtype)
        g = (from_x[..., 2 * size :] + times(reset, 2 * size, 3 * size)).astype(jnp.float32)
        h = _update(z, g, h)
        return h, h.astype(dtype)

    def start(self, batch_size: int) -> jax.Array:
        return jnp.zeros((batch_size, self.hidden_size), jnp.float32)


@NETWORKS.register("gru")
class GRU(RecurrentNetwork):
    """Stacked GRU over the steps of any factorization."""

    LAYER = GRULayer
    SMALL = {"hidden_size": 20, "num_layers": 2, "residual": True, "position": "learned"}
