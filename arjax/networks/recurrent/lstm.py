"""Stacked LSTM (Hochreiter & Schmidhuber, 1997; with the forget gate of Gers, Schmidhuber & Cummins, 2000)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.networks.base import NETWORKS
from arjax.networks.recurrent.stack import Product, RecurrentLayer, RecurrentNetwork, elementwise

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
        """(c, h) = 0."""
        shape = (batch_size, self.hidden_size)
        return jnp.zeros(shape, jnp.float32), jnp.zeros(shape, self.dtype)


@NETWORKS.register("lstm")
class LSTM(RecurrentNetwork):
    """Stacked LSTM over the steps of any factorization; options as in `RecurrentNetwork`."""

    LAYER = LSTMLayer
    SMALL = {"hidden_size": 24, "num_layers": 2, "position": "learned"}
