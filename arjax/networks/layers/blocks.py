"""The layer of a Transformer: attention of any kind and an MLP, each with a normalisation and a residual connection."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax

from arjax.core.options import depth_option, opt, rate_option
from arjax.core.spec import EventSpec
from arjax.networks.base import ACTIVATIONS, Network, check_remat, divides, fields_from, once
from arjax.networks.layers.attention import CrossAttention
from arjax.networks.layers.dense import Dense
from arjax.networks.layers.embedding import PositionEncoder, ValueEncoder
from arjax.networks.layers.local_context import context_encoder

NORMS = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}
MLPS = ("plain", "gated")

#: The cache of a layer: the cache of its attention, and the keys and values of the context.
Cache = tuple[Any, tuple]
#: An encoded context: its positions [B, L, E], and bool[B, L], whether each exists.
Memory = tuple[jax.Array, jax.Array]


#: The name of what a kernel of attention keeps for its gradient.
FUSED = "fused_attention"


def make_norm(kind: str, epsilon: float, use_bias: bool, dtype: str) -> nn.Module:
    """A normalisation: "layer" (Ba et al., 2016), or "rms" (Zhang & Sennrich, 2019, equation 4), without a bias."""
    if kind == "rms":
        return nn.RMSNorm(epsilon=epsilon, dtype=dtype)
    return nn.LayerNorm(epsilon=epsilon, use_bias=use_bias, dtype=dtype)


def stacked(
    layer: type[nn.Module],
    num_layers: int,
    *,
    unroll: int,
    remat: bool,
    num_inputs: int = 3,
    static: Any = (2, 3),
    policy: Any = None,
) -> type[nn.Module]:
    """Returns `num_layers` equal layers, scanned: `layer` maps (x, *inputs) to (x, None), for Transformers with the
    inputs block_size, train and others. The arguments with the numbers `static`, from 1 for x, are no arrays. Make it
    with an explicit name, so that toggling `remat` changes neither parameter paths nor initial values. Without `remat`,
    a `policy` may say what a layer keeps for its gradient.
    """
    if remat:  # but for the results of kernels of attention, which are dear and small
        policy = jax.checkpoint_policies.save_only_these_names(FUSED)
    if policy:
        layer = nn.remat(layer, prevent_cse=False, static_argnums=static, policy=policy)
    return nn.scan(
        layer,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=(nn.broadcast,) * num_inputs,
        length=num_layers,
        unroll=unroll,
    )


def layer_params(stack: nn.Module, i: int) -> Any:
    """The parameters of layer i of a scan over layers, sliced `once`."""
    return once(stack, f"layer_{i}", lambda: jax.tree.map(lambda leaf: leaf[i], stack.variables["params"]))


class Stack(nn.Module):
    """A module whose `layers` are `num_layers` equal ones, `stacked`; steps run them one by one, as a scan would copy
    their caches. Subclasses have the fields `num_layers`, `unroll` and `remat`, and name the class of a layer.
    """

    LAYER: ClassVar[type[nn.Module]]

    def layer_fields(self) -> dict[str, Any]:
        return fields_from(self, self.LAYER)

    def stack(self, **options: Any) -> nn.Module:
        """The layers, `stacked`; called in `setup`."""
        options = {"unroll": self.unroll, "remat": self.remat} | options
        if self.is_initializing():  # one loop body draws the parameters of all layers
            options["unroll"] = 1
        return stacked(self.LAYER, self.num_layers, **options)(**self.layer_fields(), name="layers")

    def one_layer(self) -> nn.Module:
        return self.LAYER(**self.layer_fields(), parent=None)

    def apply_layer(self, i: int, *args: Any, method: str) -> Any:
        return self.one_layer().apply({"params": layer_params(self.layers, i)}, *args, method=method)

    def init_caches(self, *args: Any) -> list[Any]:
        return [self.apply_layer(i, *args, method="init_cache") for i in range(self.num_layers)]

    def through_layers(self, caches: list[Any], h: Any, *args: Any, method: str) -> tuple[list[Any], Any]:
        """A method (cache, h, *args) -> (cache, h) of all layers, each of which takes the h of the one below."""
        after = []
        for i, cache in enumerate(caches):
            cache, h = self.apply_layer(i, cache, h, *args, method=method)
            after.append(cache)
        return after, h

    def prepare(self) -> None:
        """Slices the parameters of all layers out of the scan over layers."""
        for i in range(self.num_layers):
            layer_params(self.layers, i)


def check_stack(network: Any) -> None:
    """Raises `UserError` when heads do not divide the width, or recomputation would save no memory."""
    divides(network.num_heads, network.width, of="width")
    check_remat(network)


class Layer(nn.Module):
    """The modules of a layer of attention and an MLP, W_2 act(W_1 x), or "gated": W_2 (act(W_3 x) * W_1 x) (Shazeer,
    "GLU Variants Improve Transformer", 2020, equation 6; SwiGLU with "silu", GEGLU with "gelu").

    Attributes:
      make_attention: makes the attention, with those methods of `attention.SelfAttention` that the network uses.
      out_scale: initial variance of each branch of the residual stream, relative to the usual one.
      mlp_size: hidden units of the MLP; 0 for a layer without one.
      make_cross: makes the `CrossAttention` to the context, or None.
    """

    make_attention: Callable[[], nn.Module]
    width: int
    mlp_size: int
    dropout: float
    activation: str
    out_scale: float
    dtype: str
    mlp_kind: str = "plain"
    norm_kind: str = "layer"
    norm_epsilon: float = 1e-6
    use_bias: bool = True
    make_cross: Callable[[], CrossAttention] | None = None

    def setup(self):
        dense = functools.partial(Dense, use_bias=self.use_bias, dtype=self.dtype, batch_first=True)
        norm = functools.partial(make_norm, self.norm_kind, self.norm_epsilon, self.use_bias, self.dtype)
        self.attention_norm = norm()
        self.attention = self.make_attention()
        if self.make_cross is not None:
            self.cross_norm = norm()
            self.cross = self.make_cross()
        self.drop = nn.Dropout(self.dropout)
        if not self.mlp_size:
            return
        self.mlp_norm = norm()
        self.up = dense(self.mlp_size)
        if self.mlp_kind == "gated":
            self.gate = dense(self.mlp_size)
        init = nn.initializers.variance_scaling(self.out_scale, "fan_in", "truncated_normal")
        self.down = dense(self.width, kernel_init=init)

    def _mlp(self, x: jax.Array) -> jax.Array:
        x, act = self.mlp_norm(x), ACTIVATIONS[self.activation]
        return self.down(act(self.gate(x)) * self.up(x) if self.mlp_kind == "gated" else act(self.up(x)))


class Block(Layer):
    """x + attention(norm(x)), then x + cross(norm(x), context) if there is a context, then x + MLP(norm(x))."""

    def __call__(
        self, x_BTE: jax.Array, block_size: int, train: bool, memory: Memory | None = None
    ) -> tuple[jax.Array, None]:
        """All tokens; in the form (carry) -> (carry, None) of a scan over layers."""
        x = x_BTE + self.drop(self.attention(self.attention_norm(x_BTE), block_size), deterministic=not train)
        if memory is not None:
            mixed = self.cross(self.cross_norm(x), self.cross.keys_values(memory[0]), memory[1])
            x = x + self.drop(mixed, deterministic=not train)
        if not self.mlp_size:
            return x, None
        return x + self.drop(self._mlp(x), deterministic=not train), None

    def init_cache(self, batch_size: int, num_steps: int, block_size: int, memory: Memory | None = None) -> Cache:
        """The cache of the attention before step 0, and the keys and values of the context."""
        cross = () if memory is None else (self.cross.keys_values(memory[0]), memory[1])
        return self.attention.init_cache(batch_size, num_steps, block_size), cross

    def step(self, cache: Cache, x_BME: jax.Array, t: jax.Array) -> tuple[Cache, jax.Array]:
        past, mixed = self.attention.step(cache[0], self.attention_norm(x_BME), t)
        return (past, cache[1]), self._finish(x_BME + mixed, cache[1])

    def loop_carry(self, cache: Cache, tokens: int, past: Cache | None = None) -> Cache:
        return self.attention.loop_carry(cache[0], tokens, None if past is None else past[0]), cache[1]

    def extend(self, cache: Cache, x_BTE: jax.Array, t: jax.Array, block_size: int) -> tuple[Cache, jax.Array]:
        past, mixed = self.attention.extend(cache[0], self.attention_norm(x_BTE), t, block_size)
        return (past, cache[1]), self._finish(x_BTE + mixed, cache[1])

    def keep(self, cache: Cache, n: jax.Array) -> Cache:
        return self.attention.keep(cache[0], n), cache[1]

    def ahead(self, cache: Cache, x_BTE: jax.Array, t: jax.Array, block_size: int) -> jax.Array:
        """The tokens of blocks that each come in place of block t."""
        mixed = self.attention.ahead(cache[0], self.attention_norm(x_BTE), t, block_size)
        return self._finish(x_BTE + mixed, cache[1])

    def _finish(self, x: jax.Array, cross: tuple) -> jax.Array:
        """Attention to the context, if any, and the MLP."""
        if cross:
            x = x + self.cross(self.cross_norm(x), *cross)
        return x + self._mlp(x) if self.mlp_size else x


class PlainStack(Stack, Network):
    """A plain stack of blocks over positions of the sites: the options and modules of several families.

    `width` E, `num_layers` L, `num_heads` N, `mlp_ratio`, `activation`, `dropout`, `position` of the sites
    ("learned" or "sinusoidal"), `remat` (recompute activations in the backward pass; needs `unroll=1`), `unroll`
    (layers per iteration of the scan over layers).
    """

    width: int = 128
    num_layers: int = depth_option(4)
    num_heads: int = 4
    mlp_ratio: int = 4
    activation: str = opt("gelu", choices=ACTIVATIONS)
    dropout: float = rate_option()
    position: str = opt("learned", choices=("learned", "sinusoidal"))
    remat: bool = False
    unroll: int = 4

    SMALL: ClassVar[Mapping[str, Any]] = {"width": 24, "num_layers": 2, "num_heads": 2}
    READOUT: ClassVar[tuple[str, ...]] = ("out",)
    LAYER: ClassVar[type[nn.Module]] = Block
    ATTENTION: ClassVar[type[nn.Module]]

    def check(self, factorization):
        super().check(factorization)
        check_stack(self)

    def setup(self):
        self.value = ValueEncoder(self.values_read, self.width, self.dtype)
        self.site = PositionEncoder(self.event.num_sites, self.width, self.position, self.dtype)
        if self.context_spec:
            self.context = context_encoder(self.context_spec, self.event, self.width, self.dtype)
        self.layers = self.stack()
        self.norm = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype)
        self.out = Dense(self.num_features, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    @property
    def values_read(self) -> EventSpec:
        """The event whose values are embedded."""
        return self.event

    def layer_fields(self):
        out_scale = 1 / (2 * self.num_layers)
        attention = functools.partial(self.ATTENTION, self.width, self.num_heads, out_scale, self.dtype)
        mlp_size = self.mlp_ratio * self.width
        return fields_from(self, self.LAYER, make_attention=attention, mlp_size=mlp_size, out_scale=out_scale)
