"""Simple recurrent network (Elman, "Finding Structure in Time", 1990)."""

from __future__ import annotations

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
    """Stacked Elman network over the steps of any factorization; options as in `RecurrentNetwork`."""

    LAYER = RNNLayer
    SMALL = {"hidden_size": 20, "num_layers": 2, "residual": True, "position": "learned"}
