"""Temporal convolutional network (Bai, Kolter & Koltun, 2018, "An Empirical Evaluation of Generic Convolutional and
Recurrent Networks for Sequence Modeling").
"""

from __future__ import annotations

import flax.linen as nn
import jax

from arjax.networks.base import NETWORKS
from arjax.networks.layers.convolution_1d import CausalConv1D, Window, keep_window
from arjax.networks.layers.steps import StepNetwork


class TCNBlock(nn.Module):
    """o = relu(x + F(x)) (section 3.3, equation 3; figure 1b): F is twice a dilated causal convolution with weight
    normalisation, relu, and dropout of whole channels; where the widths differ, x goes through a 1x1 convolution.
    """

    in_features: int
    features: int
    kernel_size: int
    dilation: int
    dropout: float
    dtype: str

    def setup(self):
        shape = (self.kernel_size, self.dilation, self.dtype)
        self.first = CausalConv1D(self.in_features, self.features, *shape, weight_norm=True)
        self.second = CausalConv1D(self.features, self.features, *shape, weight_norm=True)
        if self.in_features != self.features:
            self.match = nn.Dense(self.features, dtype=self.dtype)
        # "Spatial" dropout: a channel is dropped in all steps at once.
        self.drop = nn.Dropout(self.dropout, broadcast_dims=(1,))

    def _add(self, x: jax.Array, residual: jax.Array) -> jax.Array:
        return nn.relu((x if self.in_features == self.features else self.match(x)) + residual)

    def __call__(self, x_BTE: jax.Array, train: bool) -> jax.Array:
        """All steps, [B, T, in_features] -> [B, T, features]."""
        hidden = self.drop(nn.relu(self.first(x_BTE)), deterministic=not train)
        hidden = self.drop(nn.relu(self.second(hidden)), deterministic=not train)
        return self._add(x_BTE, hidden)

    def init_carry(self, batch_size: int) -> tuple[jax.Array, jax.Array]:
        """A queue for each of the two convolutions."""
        return self.first.init_carry(batch_size), self.second.init_carry(batch_size)

    def step(self, queues: tuple[jax.Array, jax.Array], x_BE: jax.Array, t: jax.Array):
        """One step."""
        first, hidden = self.first.step(queues[0], x_BE, t)
        second, hidden = self.second.step(queues[1], nn.relu(hidden), t)
        return (first, second), self._add(x_BE, nn.relu(hidden))

    def extend(self, queues: tuple[jax.Array, jax.Array], x_BkE: jax.Array, t: jax.Array):
        """Several steps."""
        first, hidden = self.first.extend(queues[0], x_BkE, t)
        second, hidden = self.second.extend(queues[1], nn.relu(hidden), t)
        return (first, second), self._add(x_BkE, nn.relu(hidden))


class TCNCore(nn.Module):
    """Blocks of dilation 1, 2, 4, ... (section 3.2)."""

    in_features: int
    width: int
    num_layers: int
    kernel_size: int
    dropout: float
    dtype: str

    def setup(self):
        self.blocks = [
            TCNBlock(
                self.width if i else self.in_features,
                self.width,
                self.kernel_size,
                2**i,
                self.dropout,
                self.dtype,
                name=f"block_{i}",
            )
            for i in range(self.num_layers)
        ]

    def __call__(self, x_BTE: jax.Array, train: bool) -> jax.Array:
        """All steps, [B, T, E] -> [B, T, U]."""
        for block in self.blocks:
            x_BTE = block(x_BTE, train)
        return x_BTE

    def init_carry(self, batch_size: int) -> list[tuple[jax.Array, jax.Array]]:
        """Two queues per block."""
        return [block.init_carry(batch_size) for block in self.blocks]

    def step(self, carry: list[tuple[jax.Array, jax.Array]], x_BE: jax.Array, t: jax.Array):
        """One step through all blocks."""
        queues = []
        for block, pair in zip(self.blocks, carry, strict=True):
            pair, x_BE = block.step(pair, x_BE, t)
            queues.append(pair)
        return queues, x_BE

    def extend(self, carry: list[tuple[jax.Array, jax.Array]], x_BkE: jax.Array, t: jax.Array):
        """Several steps through all blocks."""
        windows = []
        for block, pair in zip(self.blocks, carry, strict=True):
            pair, x_BkE = block.extend(pair, x_BkE, t)
            windows.append(pair)
        return windows, x_BkE

    def keep(self, windows: list[tuple[Window, Window]], n: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        """The queues after the first n of them."""
        return [(keep_window(first, n), keep_window(second, n)) for first, second in windows]


@NETWORKS.register("tcn")
class TCN(StepNetwork):
    """Residual blocks of two dilated causal convolutions over the steps of any factorization.

    Options: `hidden_size` U, `num_layers` (blocks; block i has dilation 2^i), `kernel_size` K, `dropout` of whole
    channels, `embedding_size` E of the inputs (0: as wide as the blocks), `position`. The receptive field is
    1 + 2 (K-1) (2^num_layers - 1) steps.
    """

    num_layers: int = 4
    kernel_size: int = 3
    dropout: float = 0.0
    embedding_size: int = 0

    CHUNK = 64
    SMALL = {"hidden_size": 24, "num_layers": 2, "kernel_size": 2, "embedding_size": 16, "position": "learned"}
    MAY_BE_ZERO = ("embedding_size",)

    @property
    def input_size(self):
        return self.embedding_size or self.hidden_size

    @property
    def receptive_field(self):
        return 1 + 2 * (self.kernel_size - 1) * (2**self.num_layers - 1)

    def make_core(self):
        return TCNCore(self.input_size, self.hidden_size, self.num_layers, self.kernel_size, self.dropout, self.dtype)
