"""The contract of a denoiser: features of every site from a whole noisy example and its time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.errors import UserError
from arjax.core.registry import Origin, Registry
from arjax.core.spec import ContextSpec, EventSpec
from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.networks.base import BUILDER_FIELDS, NETWORKS, Context
from arjax.networks.layers.dense import Dense
from arjax.networks.layers.embedding import ContextEncoder, PositionEncoder
from arjax.networks.layers.local_context import LocalEncoder


class _Denoisers(Registry):
    """Denoisers by name; networks that predict from any set of observed sites are denoisers, too."""

    def names(self) -> list[str]:
        any_order = [name for name in NETWORKS.names() if issubclass(NETWORKS.get(name), OrderAgnosticNetwork)]
        return sorted({*super().names(), *any_order})

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def get(self, name: str) -> Any:
        if not super().__contains__(name) and name in self.names():
            return NETWORKS.get(name)
        return super().get(name)

    def origin(self, name: str) -> Origin | None:
        return super().origin(name) or NETWORKS.origin(name)

    def name_of(self, component: object) -> str:
        return super().name_of(component) or NETWORKS.name_of(component)


DENOISERS = _Denoisers("denoiser", hidden=BUILDER_FIELDS)


class NoisyNetwork(nn.Module):
    """A network that reads noisy values. Parameters are float32; `dtype` is the compute type. Features are float32.

    Attributes:
      event: shape and kind of one noisy example: "real", or the discrete kind of the data, whose values 0, ..., V - 1
        may then also be the mask token V of an absorbing process.
      context_spec: the context that the chain is conditioned on.
      num_features: F, features per site.
      dtype: "float32" or "bfloat16".
    """

    event: EventSpec
    context_spec: ContextSpec
    num_features: int
    dtype: str

    #: Options that make the family small enough for tests.
    SMALL: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def check(cls, event: EventSpec, options: Mapping[str, Any]) -> None:
        """Raises `UserError` in one sentence when the family cannot support this event or these options."""


class Denoiser(NoisyNetwork):
    """Turns a noisy example and its time into one feature vector per site. Unlike a `Network` it has no order: the
    features of each site depend on all sites, itself included.
    """

    def __call__(
        self, x_t: jax.Array, t: jax.Array, context: Context | None = None, *, train: bool = False
    ) -> jax.Array:
        """Features [B, *grid, F] of the noisy values x_t [B, *grid, *value] at the times t float32[B] in [0, 1].

        Time 0 is the data and time 1 the end of the forward process. `train=True` needs an rng named "dropout".
        """
        raise TypeError(f"{type(self).__name__} computes no features")


def check_event(event: EventSpec) -> None:
    """Raises `UserError` for mixed columns, which no forward process here can make noisy."""
    if event.columns:
        raise UserError("a chain has one process for all sites, and the columns of this table have several kinds")


def noisy_event(event: EventSpec) -> EventSpec:
    """The noisy values as an event to be embedded: V + 1 tokens for discrete data, the last of which is the mask."""
    if not event.is_discrete:
        return event
    return EventSpec(event.grid_shape, event.value_shape, "tokens", event.num_levels + 1)


class ConditionEncoder(nn.Module):
    """The time and the context, without its local parts, as one vector, [B, E]; None where there is neither.

    The time goes through sinusoids and two layers (Ho, Jain & Abbeel, "Denoising Diffusion Probabilistic Models", 2020,
    appendix B); it is multiplied by 1000, which are the steps of that paper. The vector of the context is added.
    """

    context_spec: ContextSpec
    width: int
    dtype: str
    use_time: bool = True

    @nn.compact
    def __call__(self, t_B: jax.Array, context: Context | None) -> jax.Array | None:
        condition = None
        if self.use_time:
            waves = PositionEncoder(1, self.width + self.width % 2, "sinusoidal", self.dtype)(1000 * t_B)
            hidden = nn.silu(Dense(self.width, dtype=self.dtype, name="time_in")(waves))
            condition = Dense(self.width, dtype=self.dtype, name="time_out")(hidden)
        if self.context_spec.as_whole:
            assert context is not None
            vector = ContextEncoder(self.context_spec.as_whole, self.width, self.dtype, name="context")(context)
            condition = vector if condition is None else condition + vector
        return condition


def local_maps(network: Denoiser, width: int, context: Context | None) -> jax.Array | None:
    """The encoded local parts of the context, [B, *pixels, width], by a submodule called "local"; None without any."""
    spec = network.context_spec.at_sites
    if not spec:
        return None
    assert context is not None
    return LocalEncoder(spec, network.event, width, network.dtype, name="local")(context)


class Modulation(nn.Module):
    """n vectors [B, 1, ..., features] of a condition [B, E], for an array of `ndim` axes; None without a condition."""

    features: int
    num: int
    dtype: str

    @nn.compact
    def __call__(self, condition_BE: jax.Array | None, ndim: int) -> list[Any]:
        if condition_BE is None:
            return [None] * self.num
        dense = Dense(self.num * self.features, dtype=self.dtype, kernel_init=nn.initializers.normal(0.02))
        vectors = dense(nn.silu(condition_BE))
        return jnp.split(vectors.reshape(len(vectors), *[1] * (ndim - 2), -1), self.num, -1)
