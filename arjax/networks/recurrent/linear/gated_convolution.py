"""A gated short convolution: a mixer whose memory are its last inputs (BaseConv of Arora et al., 2023, "Zoology")."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from arjax.core.integers import DEEPEST
from arjax.core.options import opt
from arjax.networks.layers.dense import Dense
from arjax.networks.recurrent.linear.mixer import LinearMixer


class Memoryless(NamedTuple):
    """The terms of steps without a state: what they give is what was convolved, [B, T, U]."""

    u: jax.Array

    def run(self, state: None, chunk_size: int = 64) -> tuple[None, jax.Array]:
        return state, self.u

    def step(self, state: None) -> tuple[None, jax.Array]:
        return state, self.u

    def masked(self, valid_T: jax.Array) -> Memoryless:
        return self


class GatedConvolution(LinearMixer):
    """y_t = W_o (g_t * u_t),  u_t = c + sum_k w_k (W_u x + b_u)_(t-k),  g_t = W_g x_t + b_g

    over the last K steps, each feature by itself: the layer of the paper, with a projection before and after it as in
    "Hyena" (Poli et al., 2023). It puts a step and the one before it together, so that attention in the next layer can
    look for a key and find the value after it.
    """

    kernel_size: int = opt(3, least=0, most=DEEPEST)

    def setup(self):
        self.make_convolution(self.width)
        self.read = Dense(2 * self.width, dtype=self.dtype)
        self.out = self.make_out()

    def inputs(self, x):
        u, gate = jnp.split(self.read(x), 2, axis=-1)
        return u, gate

    def terms(self, u, rest):
        return Memoryless(u)

    def outputs(self, o, u, rest):
        return self.out(o * rest.astype(jnp.float32))

    def init_state(self, batch_size):
        return None
