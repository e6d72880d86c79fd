"""The real-gated linear recurrent unit in its recurrent block (De et al., 2024, "Griffin: Mixing Gated Linear
Recurrences with Local Attention for Efficient Language Models"). The network is the paper's Hawk: all its blocks are
recurrent, while those of Griffin alternate with local attention.
"""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.errors import UserError
from arjax.networks.base import NETWORKS, check_remat, fields_from
from arjax.networks.layers.blocks import Block, Stack
from arjax.networks.layers.convolution_1d import all_taps, queue_length, step_taps
from arjax.networks.layers.steps import StepNetwork

Cache = tuple[jax.Array, jax.Array]


def linear_recurrence(a_BTR: jax.Array, b_BTR: jax.Array) -> jax.Array:
    """h_t = a_t h_(t-1) + b_t from h_(-1) = 0, all steps in O(log T) parallel ones."""

    def after(first: tuple[jax.Array, jax.Array], second: tuple[jax.Array, jax.Array]):
        return first[0] * second[0], second[0] * first[1] + second[1]

    return jax.lax.associative_scan(after, (a_BTR, b_BTR), axis=1)[1]


class RGLRU(nn.Module):
    """The RG-LRU (section 2.4, equations 1 to 4; * elementwise, c = 8):

    r_t = sigma(W_a x_t + b_a)   recurrence gate        a_t = a^(c r_t),  a = sigma(Lambda)
    i_t = sigma(W_x x_t + b_x)   input gate             h_t = a_t * h_(t-1) + sqrt(1 - a_t^2) * (i_t * x_t)

    All in float32 but the products for the gates; their matrices are block-diagonal, with `num_heads` blocks. a^c is
    initially uniform over [0.9, 0.999] (same section).
    """

    features: int
    num_heads: int
    dtype: str

    C = 8.0

    def setup(self):
        size = self.features // self.num_heads
        init = nn.initializers.variance_scaling(1.0, "fan_in", "normal", in_axis=1, out_axis=2, batch_axis=0)

        def spread(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
            a = jax.random.uniform(key, shape, minval=0.9, maxval=0.999) ** (1 / self.C)
            return jnp.log(a) - jnp.log1p(-a)  # sigma(Lambda) = a

        self.recurrence_kernel = self.param("recurrence_kernel", init, (self.num_heads, size, size))
        self.recurrence_bias = self.param("recurrence_bias", nn.initializers.zeros, (self.features,))
        self.input_kernel = self.param("input_kernel", init, (self.num_heads, size, size))
        self.input_bias = self.param("input_bias", nn.initializers.zeros, (self.features,))
        self.decay = self.param("decay", spread, (self.features,))

    def _gate(self, x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        by_head = x.astype(self.dtype).reshape(*x.shape[:-1], self.num_heads, -1)
        mixed = jnp.einsum("...ni,nij->...nj", by_head, kernel.astype(self.dtype)).reshape(x.shape)
        return nn.sigmoid(mixed.astype(jnp.float32) + bias)

    def coefficients(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(a_t, sqrt(1 - a_t^2) * i_t * x_t), [..., R] each in float32."""
        r = self._gate(x, self.recurrence_kernel, self.recurrence_bias)
        i = self._gate(x, self.input_kernel, self.input_bias)
        log_a = -self.C * nn.softplus(-self.decay) * r
        # 1 - a^2 without cancellation; never 0, where the root has no derivative.
        scale = jnp.sqrt(jnp.maximum(-jnp.expm1(2 * log_a), 1e-12))
        return jnp.exp(log_a), scale * i * x

    def __call__(self, x_BTR: jax.Array) -> jax.Array:
        """All steps, float32[B, T, R] -> float32[B, T, R]."""
        return linear_recurrence(*self.coefficients(x_BTR))

    def step(self, h_BR: jax.Array, x_BR: jax.Array) -> jax.Array:
        """h_(t-1), x_t -> h_t."""
        a, b = self.coefficients(x_BR)
        return a * h_BR + b


class RecurrentBlock(nn.Module):
    """W_o (gelu(W_1 x) * RG-LRU(conv(W_2 x))) (section 2.3, figure 2c), with a convolution over the last K steps that
    treats every feature by itself. It has the methods that a `Block` asks of its attention, for blocks of one token.

    Between the matrix products all is float32: the two branches multiply their rounding errors.
    """

    width: int
    recurrent_size: int
    num_heads: int
    kernel_size: int
    out_scale: float
    dtype: str

    def setup(self):
        self.gate = nn.Dense(self.recurrent_size, dtype=self.dtype)
        self.read = nn.Dense(self.recurrent_size, dtype=self.dtype)
        init = nn.initializers.variance_scaling(1.0, "fan_in", "normal", in_axis=0, out_axis=1)
        self.conv_kernel = self.param("conv_kernel", init, (self.kernel_size, self.recurrent_size))
        self.conv_bias = self.param("conv_bias", nn.initializers.zeros, (self.recurrent_size,))
        self.recurrence = RGLRU(self.recurrent_size, self.num_heads, self.dtype)
        init = nn.initializers.variance_scaling(self.out_scale, "fan_in", "truncated_normal")
        self.out = nn.Dense(self.width, dtype=self.dtype, kernel_init=init)

    def _conv(self, taps: list[jax.Array]) -> jax.Array:
        taps = [tap.astype(jnp.float32) * kernel for tap, kernel in zip(taps, self.conv_kernel, strict=True)]
        return sum(taps, self.conv_bias)

    def _gated(self, x: jax.Array, h: jax.Array) -> jax.Array:
        return self.out(nn.gelu(self.gate(x)) * h)

    def __call__(self, x_BTE: jax.Array, block_size: int) -> jax.Array:
        """All steps, [B, S, E] -> [B, S, E]."""
        taps = all_taps(self.read(x_BTE), self.kernel_size, 1)
        return self._gated(x_BTE, self.recurrence(self._conv(taps)))

    def init_cache(self, batch_size: int, num_steps: int, block_size: int) -> Cache:
        """The last inputs of the convolution, and h = 0."""
        queue = jnp.zeros((batch_size, queue_length(self.kernel_size, 1), self.recurrent_size), self.dtype)
        return queue, jnp.zeros((batch_size, self.recurrent_size), jnp.float32)

    def step(self, cache: Cache, x_B1E: jax.Array, t: jax.Array) -> tuple[Cache, jax.Array]:
        """One step."""
        queue, h_BR = cache
        x_BE = x_B1E[:, 0]
        queue, taps = step_taps(queue, self.read(x_BE), t, self.kernel_size, 1)
        h_BR = self.recurrence.step(h_BR, self._conv(taps))
        return (queue, h_BR), self._gated(x_BE, h_BR)[:, None]


class HawkCore(Stack):
    """Residual blocks (section 2.1): a recurrent block and a gated MLP, each after an RMS normalisation."""

    width: int
    num_layers: int
    recurrent_size: int
    num_heads: int
    kernel_size: int
    mlp_size: int
    dropout: float
    remat: bool
    unroll: int
    dtype: str

    LAYER = Block

    def setup(self):
        self.layers = self.stack()
        self.norm = nn.RMSNorm(dtype=self.dtype)

    def layer_fields(self):
        out_scale = 1 / (2 * self.num_layers)  # variance: 2L branches add up to one
        recurrence = functools.partial(RecurrentBlock, **fields_from(self, RecurrentBlock, out_scale=out_scale))
        kinds = {"activation": "gelu", "mlp_kind": "gated", "norm_kind": "rms"}
        return fields_from(self, Block, make_attention=recurrence, out_scale=out_scale, **kinds)

    def __call__(self, x_BTE: jax.Array, train: bool) -> jax.Array:
        """All steps, [B, T, E] -> [B, T, E]."""
        return self.norm(self.layers(x_BTE, 1, train, None)[0])

    def init_carry(self, batch_size: int) -> list[Cache]:
        """One cache per layer."""
        return self.init_caches(batch_size, 0, 1)

    def step(self, carry: list[Cache], x_BE: jax.Array, t: jax.Array) -> tuple[list[Cache], jax.Array]:
        """One step through all layers."""
        caches, h_B1E = self.through_layers(carry, x_BE[:, None], t, method="step")
        return caches, self.norm(h_B1E[:, 0])


@NETWORKS.register("rg_lru")
class Hawk(StepNetwork):
    """Gated linear recurrences over the steps of any factorization: parallel in training, O(1) per step in sampling.

    Options: `hidden_size` E, `num_layers` L, `recurrent_size` R (0: about 4/3 E, as in the paper), `num_heads` (blocks
    of the gates' matrices), `kernel_size` of the convolution, `mlp_ratio`, `dropout`, `position`; `remat` and `unroll`
    as for Transformers.
    """

    num_layers: int = 4
    recurrent_size: int = 0
    num_heads: int = 4
    kernel_size: int = 4
    mlp_ratio: int = 3
    dropout: float = 0.0
    remat: bool = False
    unroll: int = 4

    UNBOUNDED = True
    SMALL = {"hidden_size": 32, "num_layers": 2, "position": "learned"}
    MAY_BE_ZERO = ("recurrent_size",)

    @classmethod
    def check(cls, event, factorization, options):
        super().check(event, factorization, options)
        check_remat(options)
        size, heads = options["recurrent_size"], options["num_heads"]
        if size % heads:
            raise UserError(f"network.num_heads={heads} does not divide network.recurrent_size={size}")

    def prepare(self):
        self.core.prepare()

    def make_core(self):
        size = self.recurrent_size or self.num_heads * max(1, round(self.hidden_size * 4 / 3 / self.num_heads))
        sizes = {"width": self.hidden_size, "recurrent_size": size, "mlp_size": self.mlp_ratio * self.hidden_size}
        return HawkCore(**fields_from(self, HawkCore, **sizes))
