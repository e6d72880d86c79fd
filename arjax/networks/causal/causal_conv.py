"""Dilated causal convolution with residual connections: a plain stack, and the temporal convolutional network of Bai,
Kolter & Koltun, "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence Modeling" (2018).
"""

from __future__ import annotations

import flax.linen as nn
import jax

from arjax.core.options import depth_option, opt, rate_option
from arjax.networks.base import ACTIVATIONS, NETWORKS, fields_from
from arjax.networks.layers.convolution_1d import (
    CausalConv1D,
    ConvolutionalCore,
    Convolve,
    at_all_steps,
    cyclic_dilations,
)
from arjax.networks.layers.dense import Dense
from arjax.networks.layers.steps import ChunkedStepNetwork


class CausalConvLayer(nn.Module):
    """y_t = x_t + W_2 act(sum_k W_1k norm(x)_(t - k d)): kernel K, dilation d, padded with zeros before the start."""

    width: int
    kernel_size: int
    dilation: int
    dropout: float
    activation: str
    dtype: str

    def setup(self):
        self.norm = nn.LayerNorm(dtype=self.dtype)
        self.taps = CausalConv1D(self.width, self.width, self.kernel_size, self.dilation, self.dtype)
        self.out = Dense(self.width, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def __call__(self, x: jax.Array, train: bool, convolve: Convolve = at_all_steps) -> jax.Array:
        """All steps, [B, T, E] -> [B, T, E], unless `convolve` is of another form."""
        hidden = ACTIVATIONS[self.activation](convolve(self.taps, self.norm(x)))
        return x + self.out(self.drop(hidden, deterministic=not train))


class CausalConvCore(ConvolutionalCore):
    """Layers with dilations that double and start over after each cycle: 1, 2, 4, ..., 1, 2, 4, ..."""

    width: int
    num_layers: int
    kernel_size: int
    dilation_cycle: int
    dropout: float
    activation: str
    dtype: str

    def setup(self):
        self.layers = [
            CausalConvLayer(**fields_from(self, CausalConvLayer, dilation=dilation, name=f"layer_{i}"))
            for i, dilation in enumerate(cyclic_dilations(self.num_layers, self.dilation_cycle))
        ]
        self.norm = nn.LayerNorm(dtype=self.dtype)

    @property
    def convolutions(self):
        return [layer.taps for layer in self.layers]

    def __call__(self, x: jax.Array, train: bool, convolve: Convolve = at_all_steps) -> jax.Array:
        for layer in self.layers:
            x = layer(x, train, convolve)
        return self.norm(x)


@NETWORKS.register("causal_conv")
class CausalConv(ChunkedStepNetwork):
    """Dilated causal convolution over the steps of any factorization.

    The step form keeps one queue per layer, so a step costs the same however long the sequence is (Paine et al., 2016,
    "Fast Wavenet Generation Algorithm").

    Options: `hidden_size` E, `num_layers`, `kernel_size` K, `dilation_cycle` (dilations 1, 2, ..., 2^(cycle-1)),
    `dropout`, `activation`, `position`. The receptive field is 1 + (K-1) * (sum of the dilations) steps.
    """

    num_layers: int = depth_option(6)
    kernel_size: int = depth_option(2)
    dilation_cycle: int = 6
    dropout: float = rate_option()
    activation: str = opt("gelu", choices=ACTIVATIONS)

    TRAITS = ChunkedStepNetwork.TRAITS | {"unbounded"}
    SMALL = {"hidden_size": 24, "num_layers": 4, "kernel_size": 3, "dilation_cycle": 3, "position": "learned"}

    @property
    def receptive_field(self):
        dilations = cyclic_dilations(self.num_layers, self.dilation_cycle)
        return 1 + (self.kernel_size - 1) * sum(dilations)

    def make_core(self):
        return CausalConvCore(**fields_from(self, CausalConvCore, width=self.hidden_size))


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
            self.match = Dense(self.features, dtype=self.dtype)
        # "Spatial" dropout: a channel is dropped in all steps at once.
        self.drop = nn.Dropout(self.dropout, broadcast_dims=(1,))

    def __call__(self, x: jax.Array, train: bool, convolve: Convolve = at_all_steps) -> jax.Array:
        """All steps, [B, T, in_features] -> [B, T, features], unless `convolve` is of another form."""
        hidden = self.drop(nn.relu(convolve(self.first, x)), deterministic=not train)
        hidden = self.drop(nn.relu(convolve(self.second, hidden)), deterministic=not train)
        return nn.relu((x if self.in_features == self.features else self.match(x)) + hidden)


class TCNCore(ConvolutionalCore):
    """Blocks of dilation 1, 2, 4, ... (section 3.2)."""

    in_features: int
    width: int
    num_layers: int
    kernel_size: int
    dropout: float
    dtype: str

    def setup(self):
        sizes = [self.in_features] + [self.width] * (self.num_layers - 1)
        self.blocks = [
            TCNBlock(size, self.width, self.kernel_size, 2**i, self.dropout, self.dtype, name=f"block_{i}")
            for i, size in enumerate(sizes)
        ]

    @property
    def convolutions(self):
        return [conv for block in self.blocks for conv in (block.first, block.second)]

    def __call__(self, x: jax.Array, train: bool, convolve: Convolve = at_all_steps) -> jax.Array:
        for block in self.blocks:
            x = block(x, train, convolve)
        return x


@NETWORKS.register("tcn")
class TCN(ChunkedStepNetwork):
    """Residual blocks of two dilated causal convolutions over the steps of any factorization.

    Options: `hidden_size` U, `num_layers` (blocks; block i has dilation 2^i), `kernel_size` K, `dropout` of whole
    channels, `embedding_size` E of the inputs (0: as wide as the blocks), `position`. The receptive field is
    1 + 2 (K-1) (2^num_layers - 1) steps.
    """

    num_layers: int = depth_option(4)
    kernel_size: int = depth_option(3)
    dropout: float = rate_option()
    embedding_size: int = 0

    TRAITS = ChunkedStepNetwork.TRAITS | {"unbounded"}
    SMALL = {"hidden_size": 24, "num_layers": 2, "kernel_size": 2, "embedding_size": 16, "position": "learned"}

    @property
    def input_size(self):
        return self.embedding_size or self.hidden_size

    @property
    def receptive_field(self):
        return 1 + 2 * (self.kernel_size - 1) * (2**self.num_layers - 1)

    def make_core(self):
        return TCNCore(self.input_size, self.hidden_size, self.num_layers, self.kernel_size, self.dropout, self.dtype)
