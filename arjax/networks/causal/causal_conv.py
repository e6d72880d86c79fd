"""Dilated causal convolution with residual connections (van den Oord et al., 2016; Bai, Kolter & Koltun, 2018)."""

from __future__ import annotations

import flax.linen as nn
import jax

from arjax.core.options import depth_option, opt, rate_option
from arjax.networks.base import ACTIVATIONS, NETWORKS, activation, fields_from
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
        hidden = activation(self.activation)(convolve(self.taps, self.norm(x)))
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
