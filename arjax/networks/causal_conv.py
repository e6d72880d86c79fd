"""Stacks of dilated causal convolutions over the steps: a plain one with residual connections; the temporal
convolutional network of Bai, Kolter & Koltun, "An Empirical Evaluation of Generic Convolutional and Recurrent Networks
for Sequence Modeling" (2018); and "WaveNet: A Generative Model for Raw Audio" (van den Oord et al., 2016).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.options import depth_option, opt, rate_option
from arjax.networks.base import ACTIVATIONS, NETWORKS, fields_from
from arjax.networks.layers.causal import CausalConv1D, ConvolutionalCore, Convolve, at_all_steps, cyclic_dilations
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


class LayersCore(ConvolutionalCore):
    """Layers on top of one another, with a normalisation behind the last one if `normalises`. `make_layers` make the
    layers, maps (x, train, convolve) -> x.
    """

    make_layers: tuple[Callable[[], nn.Module], ...]
    normalises: bool

    def setup(self):
        self.layers = [make() for make in self.make_layers]
        if self.normalises:
            self.norm = nn.LayerNorm(dtype=self.dtype)

    def __call__(self, x: jax.Array, train: bool, convolve: Convolve = at_all_steps) -> jax.Array:
        for layer in self.layers:
            x = layer(x, train, convolve)
        return self.norm(x) if self.normalises else x


@NETWORKS.register("causal_conv")
class CausalConv(ChunkedStepNetwork):
    """Dilated causal convolution over the steps of any factorization. The step form keeps one queue per layer, so a
    step costs the same however long the sequence is (Paine et al., 2016, "Fast Wavenet Generation Algorithm").

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
        fields = fields_from(self, CausalConvLayer, width=self.hidden_size, dilation=1)
        dilations = enumerate(cyclic_dilations(self.num_layers, self.dilation_cycle))
        make = [
            functools.partial(CausalConvLayer, **fields | {"dilation": d, "name": f"layer_{i}"}) for i, d in dilations
        ]
        return LayersCore(self.hidden_size, self.dtype, tuple(make), True)


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


@NETWORKS.register("tcn")
class TCN(ChunkedStepNetwork):
    """Residual blocks of two dilated causal convolutions over the steps of any factorization. Options: `hidden_size` U,
    `num_layers` (blocks; block i has dilation 2^i), `kernel_size` K, `dropout` of whole channels, `embedding_size` E of
    the inputs (0: as wide as the blocks), `position`. The receptive field is 1 + 2 (K-1) (2^num_layers - 1) steps.
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
        sizes, make = [self.input_size, *[self.hidden_size] * self.num_layers], []
        for i, pair in enumerate(itertools.pairwise(sizes)):
            fields = *pair, self.kernel_size, 2**i, self.dropout, self.dtype
            make.append(functools.partial(TCNBlock, *fields, name=f"block_{i}"))
        return LayersCore(self.input_size, self.dtype, tuple(make), False)


class WaveNetLayer(nn.Module):
    """A gated unit with a residual and a skip output (section 2.3, equation 2; section 2.4, figure 4; * convolves):

    z = tanh(W_f * x + V_f c) . sigmoid(W_g * x + V_g c),   next x = x + W_r z,   skip = W_s z

    with the conditioning c of section 2.5 and biases everywhere. The last layer feeds nothing but its skip.
    """

    width: int
    skip_channels: int
    kernel_size: int
    dilation: int
    conditioned: bool
    last: bool
    dropout: float
    dtype: str

    def setup(self):
        # W_f and W_g side by side, likewise V_f and V_g: one matrix product each.
        self.taps = CausalConv1D(self.width, 2 * self.width, self.kernel_size, self.dilation, self.dtype)
        if self.conditioned:
            self.condition = Dense(2 * self.width, use_bias=False, dtype=self.dtype)
        if not self.last:
            self.residual = Dense(self.width, dtype=self.dtype)
        self.skip = Dense(self.skip_channels, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self, x: jax.Array, train: bool, condition: jax.Array | None, convolve: Convolve = at_all_steps
    ) -> tuple[jax.Array, jax.Array]:
        """(next x, skip): [..., R] -> ([..., R], [..., skip_channels]); the conditioning has as many steps, or one."""
        pre = convolve(self.taps, self.drop(x, deterministic=not train))
        if condition is not None:
            pre = pre + self.condition(condition)
        filtered, gate = jnp.split(pre, 2, axis=-1)
        z = jnp.tanh(filtered) * nn.sigmoid(gate)
        return x if self.last else x + self.residual(z), self.skip(z)


class WaveNetCore(ConvolutionalCore):
    """A causal convolution, gated layers, and relu -> 1x1 -> relu on the sum of their skips (figure 4). The last 1x1 is
    the readout of the network: all steps, [B, T, R] -> [B, T, skip_channels].
    """

    skip_channels: int
    num_layers: int
    kernel_size: int
    dilation_cycle: int
    conditioned: bool
    dropout: float

    def setup(self):
        last = self.num_layers - 1
        self.causal = CausalConv1D(self.width, self.width, self.kernel_size, 1, self.dtype)
        self.layers = [
            WaveNetLayer(**fields_from(self, WaveNetLayer, dilation=dilation, last=i == last, name=f"layer_{i}"))
            for i, dilation in enumerate(cyclic_dilations(self.num_layers, self.dilation_cycle))
        ]
        self.post = Dense(self.skip_channels, dtype=self.dtype)

    def __call__(
        self, x: jax.Array, train: bool, condition: jax.Array | None = None, convolve: Convolve = at_all_steps
    ) -> jax.Array:
        x, skips = convolve(self.causal, x), 0.0
        for layer in self.layers:
            x, skip = layer(x, train, condition, convolve)
            skips = skips + skip
        return nn.relu(self.post(nn.relu(skips)))


@NETWORKS.register("wavenet")
class WaveNet(ChunkedStepNetwork):
    """Stacks of gated dilated causal convolutions over the steps of any factorization. A label or vector conditions
    every layer globally; a sequence or frames also locally, position floor(s L / S) in step s. The step form keeps one
    queue per layer, so a step costs the same however long the sequence is.

    Options: `hidden_size` R (residual channels, and width of the gates), `skip_channels`, `num_layers`, `kernel_size`
    K, `dilation_cycle` (dilations 1, 2, ..., 2^(cycle-1), then over again), `dropout` on the input of each layer,
    `position`. The receptive field is K + (K-1) * (sum of the dilations) steps.
    """

    skip_channels: int = 128
    num_layers: int = depth_option(8)
    kernel_size: int = depth_option(2)
    dilation_cycle: int = 8
    dropout: float = rate_option()

    CONDITIONED_CORE = True
    TRAITS = ChunkedStepNetwork.TRAITS | {"unbounded"}
    SMALL = {"hidden_size": 16, "skip_channels": 24, "num_layers": 4, "dilation_cycle": 2, "position": "learned"}

    @property
    def receptive_field(self):
        dilations = cyclic_dilations(self.num_layers, self.dilation_cycle)
        return 1 + (self.kernel_size - 1) * (1 + sum(dilations))

    def make_core(self):
        conditioned = bool(self.context_spec)
        return WaveNetCore(**fields_from(self, WaveNetCore, width=self.hidden_size, conditioned=conditioned))
