"""Stacked LSTM (Hochreiter & Schmidhuber, 1997; with the forget gate of Gers, Schmidhuber & Cummins, 2000)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.networks.base import NETWORKS
from arjax.networks.steps import StepNetwork

Cell = tuple[jax.Array, jax.Array]


class LSTMLayer(nn.Module):
    """One layer, with the gates of the textbook (sigma: logistic, *: elementwise):

    f_t = sigma(W_f [x_t, h_t-1] + b_f)    forget          g_t = tanh(W_g [x_t, h_t-1] + b_g)   candidate
    i_t = sigma(W_i [x_t, h_t-1] + b_i)    input           c_t = f_t * c_t-1 + i_t * g_t        cell
    o_t = sigma(W_o [x_t, h_t-1] + b_o)    output          h_t = o_t * tanh(c_t)                hidden

    The four matrices stand side by side in one kernel per input, in the order f, i, o, g. b_f starts at 1
    (Jozefowicz et al., 2015, section 2.2), so that a new cell remembers.
    """

    features: int
    hidden_size: int
    dtype: str

    def setup(self):
        def forget_one(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
            return jnp.zeros(shape).at[: self.hidden_size].set(1.0)

        self.kernel_x = self.param("kernel_x", nn.initializers.lecun_normal(), (self.features, 4 * self.hidden_size))
        self.kernel_h = self.param("kernel_h", nn.initializers.orthogonal(), (self.hidden_size, 4 * self.hidden_size))
        self.bias = self.param("bias", forget_one, (4 * self.hidden_size,))

    def from_input(self, x: jax.Array) -> jax.Array:
        """The part W_x x + b of all four gates, [..., 4U]: it needs no recurrence, so one product serves all steps."""
        return x @ self.kernel_x.astype(self.dtype) + self.bias.astype(self.dtype)

    def cell(self, carry: Cell, from_x: jax.Array) -> tuple[Cell, jax.Array]:
        """(c, h), W_x x_t + b -> (c, h), h."""
        c, h = carry
        f, i, o, g = jnp.split(from_x + h @ self.kernel_h.astype(self.dtype), 4, axis=-1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        h = nn.sigmoid(o) * jnp.tanh(c)
        return (c, h), h

    def init_carry(self, batch_size: int) -> Cell:
        """(c, h) = 0."""
        zeros = jnp.zeros((batch_size, self.hidden_size), self.dtype)
        return zeros, zeros

    def __call__(self, x_BTE: jax.Array) -> jax.Array:
        """All steps: [B, T, E] -> [B, T, U]."""
        from_x_TBU = jnp.swapaxes(self.from_input(x_BTE), 0, 1)
        _, h_TBU = jax.lax.scan(self.cell, self.init_carry(x_BTE.shape[0]), from_x_TBU)
        return jnp.swapaxes(h_TBU, 0, 1)


class LSTMCore(nn.Module):
    """Layers on top of one another, with dropout on the input of each and on the output of the last
    (Zaremba et al., 2014, "Recurrent Neural Network Regularization", section 3.2: never on the recurrence).
    """

    hidden_size: int
    num_layers: int
    dropout: float
    dtype: str

    def setup(self):
        self.layers = [
            LSTMLayer(self.hidden_size, self.hidden_size, self.dtype, name=f"layer_{i}") for i in range(self.num_layers)
        ]
        self.drop = nn.Dropout(self.dropout)

    def __call__(self, x_BTE: jax.Array, train: bool) -> jax.Array:
        h = x_BTE
        for layer in self.layers:
            h = layer(self.drop(h, deterministic=not train))
        return self.drop(h, deterministic=not train)

    def init_carry(self, batch_size: int) -> list[Cell]:
        """One (c, h) per layer."""
        return [layer.init_carry(batch_size) for layer in self.layers]

    def step(self, carry: list[Cell], x_BE: jax.Array, t: jax.Array) -> tuple[list[Cell], jax.Array]:
        """One step through all layers."""
        h, cells = x_BE, []
        for layer, cell in zip(self.layers, carry, strict=True):
            cell, h = layer.cell(cell, layer.from_input(h))
            cells.append(cell)
        return cells, h


@NETWORKS.register("lstm")
class LSTM(StepNetwork):
    """Stacked LSTM over the steps of any factorization; y_t = W_hy h_t + b_y where a step is one site.

    Options: `hidden_size` U, `num_layers` L, `dropout` between layers, `position` ("none", "learned", "sinusoidal").
    """

    num_layers: int = 1
    dropout: float = 0.0

    SMALL = {"hidden_size": 24, "num_layers": 2, "position": "learned"}

    def make_core(self):
        return LSTMCore(self.hidden_size, self.num_layers, self.dropout, self.dtype)
