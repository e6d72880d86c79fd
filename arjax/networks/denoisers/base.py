"""The contract of a denoiser, a network with the time of a noisy example in its context, and its layers."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.networks.base import Context, Network
from arjax.networks.layers.dense import Dense
from arjax.networks.layers.embedding import ContextEncoder, PositionEncoder
from arjax.networks.layers.local_context import LocalEncoder

#: The part of the context of a denoiser that holds the time, beside the parts of its `context_spec`.
TIME = "time of the chain"


class NoisyNetwork(Network):
    """A network that reads noisy values: those of a `Denoiser`, or of the blocks of a `BlockTransformer`.

    Attributes:
      event: shape and kind of one noisy example: "real", or the discrete kind of the data, whose values 0, ..., V - 1
        may then also be the mask token V of an absorbing process.
    """

    TRAITS = frozenset({"context"})

    def check(self, factorization):
        if self.event.columns:
            raise UserError("a chain has one process for all sites, and the columns of this table have several kinds")


class Denoiser(NoisyNetwork):
    """A network that sees all sites of a noisy example: the features of each site depend on all sites, itself included.
    It follows no order and has no step form.

    `x` holds the noisy values, and the part `TIME` of the context their times, float32[B] in [0, 1]: 0 is the data, and
    1 the end of the forward process. No factorization is read.
    """


def context_of(network: Network, context: Context) -> dict[str, jax.Array] | None:
    """Returns the parts of a context that the spec of the network has, or None if it has none."""
    return {name: context[name] for name, _ in network.context_spec.parts} or None


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
    def __call__(self, context: Context) -> jax.Array | None:
        condition = None
        if self.use_time:
            waves = PositionEncoder(1, self.width + self.width % 2, "sinusoidal", self.dtype)(1000 * context[TIME])
            hidden = nn.silu(Dense(self.width, dtype=self.dtype, name="time_in")(waves))
            condition = Dense(self.width, dtype=self.dtype, name="time_out")(hidden)
        if self.context_spec.as_whole:
            vector = ContextEncoder(self.context_spec.as_whole, self.width, self.dtype, name="context")(context)
            condition = vector if condition is None else condition + vector
        return condition


def local_maps(network: Denoiser, width: int, context: Context) -> jax.Array | None:
    """The encoded local parts of the context, [B, *pixels, width], by a submodule called "local"; None without any."""
    spec = network.context_spec.at_sites
    if not spec:
        return None
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
