"""Gated recurrent unit (Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", 2014)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.networks.base import NETWORKS
from arjax.networks.recurrent.stack import Product, RecurrentLayer, RecurrentNetwork, elementwise


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

    The gates are in the order r, z, g. The paper leaves out the biases. The reset gate comes before the product with
    U_g, as in the paper; in the variant of some libraries it comes after. The state is a long average, and an update
    gate near 1 would round to 1: both are float32 in any compute type.
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
        """h = 0."""
        return jnp.zeros((batch_size, self.hidden_size), jnp.float32)


@NETWORKS.register("gru")
class GRU(RecurrentNetwork):
    """Stacked GRU over the steps of any factorization; options as in `RecurrentNetwork`."""

    LAYER = GRULayer
    SMALL = {"hidden_size": 20, "num_layers": 2, "residual": True, "position": "learned"}
