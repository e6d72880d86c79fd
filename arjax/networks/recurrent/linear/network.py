"""Networks of equal residual blocks, each with a mixer of steps and an MLP: parallel in training, O(1) in a step."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax

from arjax.core.options import depth_option, opt, rate_option
from arjax.networks.base import FLAX_FIELDS, check_remat, fields_from
from arjax.networks.layers.blocks import Block, Stack
from arjax.networks.layers.steps import ChunkedStepNetwork
from arjax.networks.recurrent.linear.mixer import MIXERS, LinearMixer

#: The options of a `Block` whose MLP is a gated one, behind RMS normalisations.
GATED = {"mlp_kind": "gated", "norm_kind": "rms"}


def out_scale(num_layers: int, mlp_size: int) -> float:
    """Variance of a branch at the start: those of all layers, with or without an MLP, add up to one."""
    return 1 / (num_layers * (2 if mlp_size else 1))


class MixerCore(Stack):
    """Residual blocks, a mixer and a gated MLP each, after an RMS normalisation; the last one normalises their sum.

    Attributes:
      mixer: makes the mixer of a block, with its `out_scale`.
      mlp_size: 0 for blocks without an MLP.
    """

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
        """All steps, [B, T, E] -> [B, T, E]."""
        return self.norm(self.layers(x_BTE, 1, train, None)[0])

    def start(self, batch_size: int) -> list[Any]:
        """One cache per layer."""
        return self.init_caches(batch_size, 0, 1)

    def step(self, carry: list[Any], x_BE: jax.Array, t: jax.Array) -> tuple[list[Any], jax.Array]:
        """One step through all layers."""
        caches, h_B1E = self.through_layers(carry, x_BE[:, None], t, method="step")
        return caches, self.norm(h_B1E[:, 0])

    def extend(self, carry: list[Any], x_BTE: jax.Array, t: jax.Array) -> tuple[list[Any], jax.Array]:
        """Several steps through all layers."""
        caches, h_BTE = self.through_layers(carry, x_BTE, t, 1, method="extend")
        return caches, self.norm(h_BTE)

    def keep(self, carries: list[Any], n: jax.Array) -> list[Any]:
        """The caches after the first n steps of `extend`."""
        return [self.apply_layer(i, cache, n, method="keep") for i, cache in enumerate(carries)]


class MixerNetwork(ChunkedStepNetwork):
    """Residual blocks with a mixer over the steps of any factorization. Subclasses name the mixer, `MIXER`: its options
    are theirs.

    Options: `hidden_size` E, `num_layers` L, `mlp_ratio` (0: blocks without an MLP), `dropout`, `position`; `remat` and
    `unroll` as for Transformers.
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
        self.MIXER(**self.mixer_fields(), out_scale=1.0, parent=None)

    def prepare(self):
        self.core.prepare()

    def mixer_fields(self) -> dict[str, Any]:
        """The fields of the mixer but `out_scale`."""
        fields = fields_from(self, self.MIXER, width=self.hidden_size)
        return {name: value for name, value in fields.items() if name != "out_scale"}

    def make_core(self):
        mixer = functools.partial(self.MIXER, **self.mixer_fields())
        sizes = {"width": self.hidden_size, "mlp_size": self.mlp_ratio * self.hidden_size}
        return MixerCore(**fields_from(self, MixerCore, mixer=mixer, activation=self.ACTIVATION, **sizes))
