"""Stacks of blocks with different mixers, linear recurrences and attention, as in De et al. (2024), "Griffin", and
Waleffe et al. (2024), "An Empirical Study of Mamba-based Language Models".
"""

from __future__ import annotations

import ast
import contextlib
import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.errors import UserError
from arjax.core.options import DEEPEST, check_size, depth_option, opt, rate_option
from arjax.core.registry import Component
from arjax.core.values import parse_expression
from arjax.networks.attention.linear_attention import LinearAttention
from arjax.networks.attention.patterns import Near
from arjax.networks.attention.sparse_attention import PatternAttention
from arjax.networks.base import NETWORKS, divides, fields_from
from arjax.networks.layers.attention import SelfAttention
from arjax.networks.layers.blocks import Block
from arjax.networks.layers.steps import ChunkedStepNetwork
from arjax.networks.recurrent.linear.mixer import GATED, MIXERS, BlocksCore, LinearMixer, out_scale


@MIXERS.register("attention")
def softmax_mixer(width: int, out_scale: float, dtype: str, num_heads: int = 4, window: int = 0) -> nn.Module:
    """Attention to the last `window` steps, the current one included; 0 for all steps."""
    divides(num_heads, width)
    if not window:
        return SelfAttention(width, num_heads, out_scale, dtype)
    near = Near(window, window - 1, window)
    return PatternAttention(width, num_heads, out_scale, dtype, patterns=((near, num_heads),))


class Memoryless(NamedTuple):
    """The terms of steps without a state: the outputs are the convolved inputs, [B, T, U]."""

    u: jax.Array

    def run(self, state: None, chunk_size: int = 64) -> tuple[None, jax.Array]:
        return state, self.u

    def step(self, state: None) -> tuple[None, jax.Array]:
        return state, self.u

    def masked(self, valid_T: jax.Array) -> Memoryless:
        return self


class GatedConvolution(LinearMixer):
    """y_t = W_o (g_t * u_t),  u_t = c + sum_k w_k (W_u x + b_u)_(t-k),  g_t = W_g x_t + b_g

    over the last K steps, each feature by itself: BaseConv of "Zoology" (Arora et al., 2023), with a projection before
    and after it as in "Hyena" (Poli et al., 2023). Attention in the next layer can then look for a key and find the
    next value.
    """

    kernel_size: int = depth_option(3)

    def setup(self):
        self.make_convolution(self.width)
        self.read = self.dense(2 * self.width)
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


@MIXERS.register("gated_convolution")
def gated_convolution(width: int, out_scale: float, dtype: str, window: int = depth_option(3)) -> nn.Module:
    """A gated convolution over the last `window` steps, the current one included."""
    return GatedConvolution(width, out_scale, dtype, kernel_size=window)


@MIXERS.register("linear_attention")
def linear_mixer(width: int, out_scale: float, dtype: str, num_heads: int = 4, chunk_size: int = 64) -> nn.Module:
    """Linear attention, see the network of this name."""
    divides(num_heads, width)
    return LinearAttention(width, num_heads, out_scale, dtype, chunk_size=chunk_size)


def read_layers(text: str) -> tuple[Component, ...]:
    """The mixers of "mamba2, mamba2, attention(window=64)", one for each layer; raises `UserError` on other text."""
    named = []
    with contextlib.suppress(ValueError):
        calls = parse_expression(f"[{text}]")
        named = [ast.unparse(call) for call in calls.elts] if isinstance(calls, ast.List) else []
    if not named:
        raise UserError(
            f"cannot read network.layers={text!r}: write mixers with commas between them, such as "
            f"'mamba2, attention(window=64)'; there are: {', '.join(MIXERS.names())}"
        )
    check_size(len(named), DEEPEST, "the number of network.layers")
    return tuple(MIXERS.read(call) for call in named)


class HybridCore(BlocksCore):
    """Residual blocks, each with its own mixer (`layers`, see `read_layers`); `mlp_size` 0: without an MLP."""

    layers: str
    width: int
    mlp_size: int
    dropout: float
    remat: bool
    dtype: str

    def setup(self):
        mixers = read_layers(self.layers)
        scale = out_scale(len(mixers), self.mlp_size)
        block = nn.remat(Block, static_argnums=(2, 3)) if self.remat else Block
        fields = {"out_scale": scale, "activation": "silu"} | GATED
        mixer_fields = {"width": self.width, "out_scale": scale, "dtype": self.dtype}
        make = [functools.partial(mixer.build, **mixer_fields) for mixer in mixers]
        self.blocks = [
            block(**fields_from(self, Block, make_attention=each, **fields), name=f"layer_{i}")
            for i, each in enumerate(make)
        ]
        self.norm = nn.RMSNorm(dtype=self.dtype)

    def __call__(self, x_BTE: jax.Array, train: bool) -> jax.Array:
        for block in self.blocks:
            x_BTE, _ = block(x_BTE, 1, train)
        return self.norm(x_BTE)

    num_layers = property(lambda self: len(self.blocks))

    def apply_layer(self, i, *args, method):
        return getattr(self.blocks[i], method)(*args)


@NETWORKS.register("hybrid")
class Hybrid(ChunkedStepNetwork):
    """Residual blocks, each with its own mixer, over the steps of any factorization.

    Options: `layers`, call strings of mixers with commas between them, such as "mamba2, attention(window=64)": each has
    the options of the mixer of its name, `attention` has `num_heads` and `window` (0: all steps), `gated_convolution`
    has `window`; `hidden_size` E, `mlp_ratio` (0: blocks without an MLP), `dropout`, `position`; `remat`: recompute the
    activations of a layer in the backward pass.
    """

    layers: str = "gated_delta_net, gated_delta_net, gated_delta_net, attention(window=64)"
    mlp_ratio: int = opt(3, least=0)
    dropout: float = rate_option()
    remat: bool = False

    SMALL = {
        "hidden_size": 8,
        "layers": "mamba2(num_heads=2, state_size=4, chunk_size=4), attention(num_heads=2, window=3)",
    }
    TRAITS = ChunkedStepNetwork.TRAITS | {"unbounded"}
    NORMALISES = True

    @nn.nowrap  # in the scope of a module, what a check makes to try it out would become its submodules
    def check(self, factorization):
        super().check(factorization)
        for mixer in read_layers(self.layers):
            mixer.build(width=self.hidden_size, out_scale=1.0, dtype="float32")

    @property
    def traits(self):
        """Unbounded unless a layer attends to all steps, or has a window that is longer than the training examples."""
        ends = not all(w is None or 0 < w <= self.event.num_sites for w in self._windows())
        return super().traits - ({"unbounded"} if ends else set())

    def _windows(self) -> list[int | None]:
        """The window of each layer of attention or convolution, 0 for all steps; None for recurrences."""
        return [mixer.get("window") for mixer in read_layers(self.layers)]

    @property
    def receptive_field(self):
        """The reach of all layers together, if all have windows."""
        windows = self._windows()
        return 1 + sum(window - 1 for window in windows) if all(windows) else None

    def make_core(self):
        sizes = {"width": self.hidden_size, "mlp_size": self.mlp_ratio * self.hidden_size}
        return HybridCore(**fields_from(self, HybridCore, **sizes))

    def start(self, batch_size, factorization, context=None):
        carry = self.core.start(batch_size, factorization.num_steps)
        return carry, self._whole(context), self.tokens.to_keep(context)
