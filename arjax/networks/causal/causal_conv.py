"""Dilated causal convolution with residual connections (van den Oord et al., 2016; Bai, Kolter & Koltun, 2018)."""

from __future__ import annotations

import flax.linen as nn
import jax

from arjax.networks.base import NETWORKS, activation
from arjax.networks.layers.convolution_1d import CausalConv1D, Window, cyclic_dilations, keep_window
from arjax.networks.layers.steps import StepNetwork


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
        self.out = nn.Dense(self.width, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def _mix(self, x: jax.Array, hidden: jax.Array, train: bool) -> jax.Array:
        hidden = activation(self.activation)(hidden)
        return x + self.out(self.drop(hidden, deterministic=not train))

    def __call__(self, x_BTE: jax.Array, train: bool) -> jax.Array:
        """All steps, [B, T, E] -> [B, T, E]."""
        return self._mix(x_BTE, self.taps(self.norm(x_BTE)), train)

    def init_carry(self, batch_size: int) -> jax.Array:
        """An empty queue of normalised inputs, [B, (K-1) d, E]."""
        return self.taps.init_carry(batch_size)

    def step(self, queue: jax.Array, x_BE: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        """One step."""
        queue, hidden = self.taps.step(queue, self.norm(x_BE), t)
        return queue, self._mix(x_BE, hidden, train=False)

    def extend(self, queue: jax.Array, x_BkE: jax.Array, t: jax.Array) -> tuple[Window, jax.Array]:
        """Several steps."""
        window, hidden = self.taps.extend(queue, self.norm(x_BkE), t)
        return window, self._mix(x_BkE, hidden, train=False)


class CausalConvCore(nn.Module):
    """Layers whose dilations double and start over after each cycle: 1, 2, 4, ..., 1, 2, 4, ..."""

    width: int
    num_layers: int
    kernel_size: int
    dilation_cycle: int
    dropout: float
    activation: str
    dtype: str

    def setup(self):
        self.layers = [
            CausalConvLayer(
                self.width,
                self.kernel_size,
                dilation,
                self.dropout,
                self.activation,
                self.dtype,
                name=f"layer_{i}",
            )
            for i, dilation in enumerate(cyclic_dilations(self.num_layers, self.dilation_cycle))
        ]
        self.norm = nn.LayerNorm(dtype=self.dtype)

    def __call__(self, x_BTE: jax.Array, train: bool) -> jax.Array:
        for layer in self.layers:
            x_BTE = layer(x_BTE, train)
        return self.norm(x_BTE)

    def init_carry(self, batch_size: int) -> list[jax.Array]:
        """One queue per layer."""
        return [layer.init_carry(batch_size) for layer in self.layers]

    def step(self, carry: list[jax.Array], x_BE: jax.Array, t: jax.Array) -> tuple[list[jax.Array], jax.Array]:
        """One step through all layers."""
        queues = []
        for layer, queue in zip(self.layers, carry, strict=True):
            queue, x_BE = layer.step(queue, x_BE, t)
            queues.append(queue)
        return queues, self.norm(x_BE)

    def extend(self, carry: list[jax.Array], x_BkE: jax.Array, t: jax.Array) -> tuple[list[Window], jax.Array]:
        """Several steps through all layers."""
        windows = []
        for layer, queue in zip(self.layers, carry, strict=True):
            window, x_BkE = layer.extend(queue, x_BkE, t)
            windows.append(window)
        return windows, self.norm(x_BkE)

    def keep(self, windows: list[Window], n: jax.Array) -> list[jax.Array]:
        """The queues after the first n of them."""
        return [keep_window(window, n) for window in windows]


@NETWORKS.register("causal_conv")
class CausalConv(StepNetwork):
    """Dilated causal convolution over the steps of any factorization.

    The step form keeps one queue per layer, so a step costs the same however long the sequence is (Paine et al., 2016,
    "Fast Wavenet Generation Algorithm").

    Options: `hidden_size` E, `num_layers`, `kernel_size` K, `dilation_cycle` (dilations 1, 2, ..., 2^(cycle-1)),
    `dropout`, `activation`, `position`. The receptive field is 1 + (K-1) * (sum of the dilations) steps.
    """

    num_layers: int = 6
    kernel_size: int = 2
    dilation_cycle: int = 6
    dropout: float = 0.0
    activation: str = "gelu"

    CHUNK = 64
    SMALL = {"hidden_size": 24, "num_layers": 4, "kernel_size": 3, "dilation_cycle": 3, "position": "learned"}

    @classmethod
    def check(cls, event, factorization, options):
        super().check(event, factorization, options)
        activation(options["activation"])

    @property
    def receptive_field(self):
        dilations = cyclic_dilations(self.num_layers, self.dilation_cycle)
        return 1 + (self.kernel_size - 1) * sum(dilations)

    def make_core(self):
        return CausalConvCore(
            self.hidden_size,
            self.num_layers,
            self.kernel_size,
            self.dilation_cycle,
            self.dropout,
            self.activation,
            self.dtype,
        )
