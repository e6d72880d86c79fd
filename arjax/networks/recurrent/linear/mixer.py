"""A mixer of steps around a linear recurrence (projections, a short convolution, the recurrence, and a projection), and
networks of equal residual blocks, each with a mixer and an MLP: parallel in training, O(1) in a step.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.errors import say_once
from arjax.core.options import depth_option, opt, rate_option
from arjax.core.registry import Registry
from arjax.networks.base import FLAX_FIELDS, check_remat, divides, fields_from
from arjax.networks.layers.blocks import Block, Stack
from arjax.networks.layers.causal import Window, all_taps, put_in_ring, queue_length, step_taps, window_taps
from arjax.networks.layers.dense import Dense
from arjax.networks.layers.steps import ChunkedStepNetwork
from arjax.networks.recurrent.linear import fused_chunks

#: The last inputs of the convolution [B, K-1, U], in the compute type, and the state of the recurrence, in float32.
Cache = tuple[jax.Array, Any]

#: The mixers that the layers of the network `hybrid` name; modules with the methods of the attention of a `Block`.
MIXERS = Registry("mixer", hidden=("width", "out_scale", "dtype"))


class LinearMixer(nn.Module):
    """y = outputs(recurrence(terms(u)), u), where u is a short convolution of a projection of x: each feature by
    itself, over the last K steps, zeros before the start. It has the methods that a `Block` asks of its attention, for
    blocks of one token. The carry holds the last K - 1 inputs of the convolution and the state of the recurrence.

    Subclasses make `read` and the convolution in `setup`, may have the option `kernel_size`, K (0: no convolution), and
    define `terms(u, rest)`, the terms of the recurrence, one of those of `states`, from the convolved u [B, T, U] in
    float32; `outputs(o, u, rest)`, y [B, T, E] from what the recurrence gives; and `init_state(batch_size)`. Between
    the products of matrices all is float32.
    """

    width: int
    out_scale: float
    dtype: str

    #: K, and the steps within which all pairs are compared, where they are no options.
    kernel_size, chunk_size = 0, 64

    def inputs(self, x: jax.Array) -> tuple[jax.Array, Any]:
        """x [B, T, E] -> what is convolved [B, T, U], by default `read(x)`, and what else is read of x."""
        return self.read(x), x

    def make_convolution(self, features: int) -> None:
        """The weights of the convolution of U features; called in `setup`."""
        self.convolved = features
        if self.kernel_size:
            init = nn.initializers.variance_scaling(1.0, "fan_in", "normal", in_axis=0, out_axis=1)
            self.conv_kernel = self.param("conv_kernel", init, (self.kernel_size, features))
            self.conv_bias = self.param("conv_bias", nn.initializers.zeros, (features,))

    def dense(self, features: int, **options: Any) -> Dense:
        return Dense(features, dtype=self.dtype, batch_first=True, **options)

    def make_out(self) -> Dense:
        init = nn.initializers.variance_scaling(self.out_scale, "fan_in", "truncated_normal")
        return self.dense(self.width, kernel_init=init)

    @property
    def _taps(self) -> int:
        return max(self.kernel_size, 1)

    def _convolve(self, taps: list[jax.Array]) -> jax.Array:
        if not self.kernel_size:
            return taps[0].astype(jnp.float32)
        taps = [tap.astype(jnp.float32) * kernel for tap, kernel in zip(taps, self.conv_kernel, strict=True)]
        return sum(taps, self.conv_bias)

    def __call__(self, x_BTE: jax.Array, block_size: int) -> jax.Array:
        u, rest = self.inputs(x_BTE)
        u = self._convolve(all_taps(u, self._taps, 1))
        return self.outputs(self.all_steps(self.terms(u, rest)), u, rest)

    def all_steps(self, terms: Any) -> jax.Array:
        return terms.run(None, self.chunk_size)[1]

    def init_cache(self, batch_size: int, num_steps: int, block_size: int) -> Cache:
        """The last inputs of the convolution and the state, all 0."""
        queue = jnp.zeros((batch_size, queue_length(self._taps, 1), self.convolved), self.dtype)
        return queue, self.init_state(batch_size)

    def step(self, cache: Cache, x_B1E: jax.Array, t: jax.Array) -> tuple[Cache, jax.Array]:
        queue, state = cache
        u, rest = self.inputs(x_B1E)
        queue, taps = step_taps(queue, u[:, 0], t, self._taps, 1)
        u = self._convolve(taps)[:, None]
        state, o = self.terms(u, rest).step(state)
        return (queue, state), self.outputs(o, u, rest)

    def extend(
        self, cache: Cache, x_BTE: jax.Array, t: jax.Array, block_size: int
    ) -> tuple[tuple[Window, Any, Any], jax.Array]:
        queue, state = cache
        new, rest = self.inputs(x_BTE)
        window, taps = window_taps(queue, new, t, self._taps, 1)
        u = self._convolve(taps)
        terms = self.terms(u, rest)
        return (window, state, terms), self.outputs(terms.run(state, self.chunk_size)[1], u, rest)

    def keep(self, carries: tuple[Window, Any, Any], n: jax.Array) -> Cache:
        """The carry after the first n of these steps: the later ones are masked."""
        (queue, new, t), state, terms = carries
        valid_T = jnp.arange(new.shape[1]) < n
        return put_in_ring(queue, new, t, n, axis=1), terms.masked(valid_T).run(state, self.chunk_size)[0]


class HeadMixer(LinearMixer):
    """A mixer with N heads, each with a matrix of its own as its state. `fused` trains and scores with the kernel of
    `fused_chunks` on TPUs, which no device has run yet.
    """

    num_heads: int = 4
    chunk_size: int = 64
    fused: bool = False

    #: What the heads divide, in words.
    INNER = "hidden_size"

    def __call__(self, x_BTE, block_size):
        if not self.fused or self.kernel_size > fused_chunks.LAST + 1 or self.is_initializing():
            return super().__call__(x_BTE, block_size)
        u, rest = self.inputs(x_BTE)
        parts = self.by_part(u)
        if not parts or not fused_chunks.fits(terms := self.recurrence(*parts, rest)):
            return super().__call__(x_BTE, block_size)
        weights = (self.conv_kernel[None], self.conv_bias[None, None]) if self.kernel_size else ()
        kernels, biases = ([x[0] for x in self.by_part(w)] for w in weights) if weights else ((), ())
        terms = fused_chunks.Mixed(terms)
        first = terms.start(kernels, biases, self.added(), self.scale())
        return self.gated(self.by_step(fused_chunks.run(terms, first)), rest)

    def by_part(self, u: jax.Array) -> tuple[jax.Array, ...]:
        """Queries, keys and values [B, N, T, H] of what is convolved, [B, T, U]; () where there is no kernel."""
        return ()

    def recurrence(self, q: jax.Array, k: jax.Array, v: jax.Array, rest: Any) -> Any:
        """The terms, from these parts of u after the activation."""
        raise NotImplementedError

    def scale(self) -> jax.Array | None:
        """The scales of the norm of a head, [N, 1, V]; None where the norm is another one."""
        scale = self.norm.variables["params"]["scale"]
        return jnp.broadcast_to(scale, (self.num_heads, 1, len(scale)))

    def added(self) -> jax.Array | None:
        """What the values are multiplied by to be added to the outputs, [N, 1, V]."""
        return None

    def terms(self, u, rest):
        return self.recurrence(*map(self.activated, self.by_part(u)), rest)

    def all_steps(self, terms):
        if self.fused and fused_chunks.fits(terms):
            return fused_chunks.run(terms)
        if self.fused:
            say_once("network.fused has no kernel for this recurrence on this device, and uses the plain formula")
        return super().all_steps(terms)

    def _convolve(self, taps):
        """In the compute type, as that of the products which follow."""
        return super()._convolve(taps).astype(self.dtype)

    def __post_init__(self):
        divides(self.num_heads, self.inner, of=self.INNER)
        super().__post_init__()

    @property
    def inner(self) -> int:
        """Features of all heads together."""
        return self.width

    def outputs(self, o, u, rest):
        return self.gated(self.by_step(self.normalised(o)), rest)

    def gated(self, o_BTU: jax.Array, rest: Any) -> jax.Array:
        """W (o * silu(gate)) of normalised outputs."""
        return self.out(o_BTU * nn.silu(self.gate(rest).astype(jnp.float32)))

    def normalised(self, o: jax.Array) -> jax.Array:
        """norm(o) in the compute type."""
        return self.norm(o).astype(self.dtype)

    def activated(self, u: jax.Array) -> jax.Array:
        """silu(u), computed in float32, in the compute type."""
        return nn.silu(u.astype(jnp.float32)).astype(self.dtype)

    def by_head(self, x: jax.Array) -> jax.Array:
        """[B, T, N * H] -> [B, N, T, H]."""
        return jnp.swapaxes(x.reshape(*x.shape[:-1], self.num_heads, -1), 1, 2)

    def by_step(self, o_BNTV: jax.Array) -> jax.Array:
        """[B, N, T, V] -> [B, T, N * V]."""
        o_BTNV = jnp.swapaxes(o_BNTV, 1, 2)
        return o_BTNV.reshape(*o_BTNV.shape[:2], -1)


#: The shortest and the longest step at the start.
STEPS = (1e-3, 0.1)


class Decay(nn.Module):
    """exp(A) dt and dt = softplus(W x + b) for each head, in float32: exp(-exp(A) dt) is the decay of a step. At the
    start dt is log-uniform over [0.001, 0.1] for x = 0, and exp(A) uniform over [1, 16].
    """

    num_heads: int
    dtype: str

    def setup(self):
        def spread(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
            low, high = STEPS
            dt = jnp.exp(jax.random.uniform(key, shape, minval=jnp.log(low), maxval=jnp.log(high)))
            return dt + jnp.log(-jnp.expm1(-dt))  # softplus(b) = dt

        def rates(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
            return jnp.log(jax.random.uniform(key, shape, minval=1.0, maxval=16.0))

        self.step = Dense(self.num_heads, use_bias=False, dtype=self.dtype, batch_first=True)
        self.step_bias = self.param("step_bias", spread, (self.num_heads,))
        self.log_rate = self.param("log_rate", rates, (self.num_heads,))

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """x [..., E] -> exp(A) dt and dt, [..., N] each."""
        dt = nn.softplus(self.step(x).astype(jnp.float32) + self.step_bias)
        return jnp.exp(self.log_rate) * dt, dt


#: The options of a `Block` whose MLP is a gated one, behind RMS normalisations.
GATED = {"mlp_kind": "gated", "norm_kind": "rms"}


def out_scale(num_layers: int, mlp_size: int) -> float:
    """Returns the initial variance of a branch: those of all layers, with or without an MLP, add up to one."""
    return 1 / (num_layers * (2 if mlp_size else 1))


class BlocksCore(Stack):
    """Residual blocks, a mixer and a gated MLP each, after an RMS normalisation; the last one normalises their sum: a
    core of a `ChunkedStepNetwork`, whose steps are blocks of one token. Subclasses make the `layers` and the `norm`.
    """

    def start(self, batch_size: int, num_steps: int = 0) -> list[Any]:
        return self.init_caches(batch_size, num_steps, 1)

    def step(self, carry: list[Any], x_BE: jax.Array, t: jax.Array) -> tuple[list[Any], jax.Array]:
        caches, h_B1E = self.through_layers(carry, x_BE[:, None], t, method="step")
        return caches, self.norm(h_B1E[:, 0])

    def extend(self, carry: list[Any], x_BTE: jax.Array, t: jax.Array) -> tuple[list[Any], jax.Array]:
        caches, h_BTE = self.through_layers(carry, x_BTE, t, 1, method="extend")
        return caches, self.norm(h_BTE)

    def keep(self, carries: list[Any], n: jax.Array) -> list[Any]:
        return [self.apply_layer(i, cache, n, method="keep") for i, cache in enumerate(carries)]


class MixerCore(BlocksCore):
    """Equal blocks, each with a mixer that `mixer` makes, given `out_scale`; `mlp_size` 0: without an MLP."""

    mixer: Callable[..., nn.Module]
    width: int
    num_layers: int
    mlp_size: int
    activation: str
    dropout: float
    remat: bool
    unroll: int
    dtype: str

    LAYER = Block

    def setup(self):
        self.layers = self.stack()
        self.norm = nn.RMSNorm(dtype=self.dtype)

    def layer_fields(self):
        scale = out_scale(self.num_layers, self.mlp_size)
        mixer = functools.partial(self.mixer, out_scale=scale)
        return fields_from(self, Block, make_attention=mixer, out_scale=scale, **GATED)

    def __call__(self, x_BTE: jax.Array, train: bool) -> jax.Array:
        return self.norm(self.layers(x_BTE, 1, train, None)[0])


class MixerNetwork(ChunkedStepNetwork):
    """Residual blocks with a mixer over the steps of any factorization. Subclasses name the mixer, `MIXER`, and have
    its options, too. Options: `hidden_size` E, `num_layers` L, `mlp_ratio` (0: blocks without an MLP), `dropout`,
    `position`; `remat` and `unroll` as for Transformers; of mixers with heads `fused`: train and score with a kernel of
    the TPU (chunks of 128 steps; gradients without forward mode), which no device has run yet.
    """

    num_layers: int = depth_option(4)
    mlp_ratio: int = opt(3, least=0)
    dropout: float = rate_option()
    remat: bool = False
    unroll: int = 4

    TRAITS = ChunkedStepNetwork.TRAITS | {"unbounded"}
    NORMALISES = True
    ACTIVATION: ClassVar[str] = "silu"
    MIXER: ClassVar[type[LinearMixer]]

    def __init_subclass__(cls, **options: Any) -> None:
        """The options of the mixer become fields."""
        for field in dataclasses.fields(cls.MIXER):
            if field.name not in (*MIXERS.hidden, *FLAX_FIELDS) and not hasattr(cls, field.name):
                cls.__annotations__ = {**vars(cls).get("__annotations__", {}), field.name: field.type}
                setattr(cls, field.name, dataclasses.field(default=field.default, metadata=field.metadata))
        super().__init_subclass__(**options)

    def check(self, factorization):
        super().check(factorization)
        check_remat(self)
        self._mixer()(out_scale=1.0, parent=None)

    def prepare(self):
        self.core.prepare()

    def _mixer(self) -> Callable[..., LinearMixer]:
        """The mixer with all its fields but `out_scale`."""
        return functools.partial(self.MIXER, **fields_from(self, self.MIXER, width=self.hidden_size))

    def make_core(self):
        sizes = {"width": self.hidden_size, "mlp_size": self.mlp_ratio * self.hidden_size}
        return MixerCore(**fields_from(self, MixerCore, mixer=self._mixer(), activation=self.ACTIVATION, **sizes))
