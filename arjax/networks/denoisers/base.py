"""The contract of a denoiser, a network with the time of a noisy example in its context; its layers; and networks that
predict from any set of observed sites. These *are* denoisers of absorbing processes: they read the sites that are not
masked, and predict the others (Hoogeboom et al., "Autoregressive Diffusion Models", 2022, section 3).
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.errors import UserError
from arjax.core.spec import DISCRETE_KINDS, ContextSpec, EventSpec
from arjax.factorization import make_factorization
from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.networks.base import BUILDER_FIELDS, NETWORKS, Context, Network, context_of, name_of
from arjax.networks.layers.dense import Dense
from arjax.networks.layers.embedding import ContextEncoder, PositionEncoder
from arjax.networks.layers.local_context import LocalEncoder, check_local

#: The part of the context of a denoiser that holds the time, beside the parts of its `context_spec`.
TIME = "time of the chain"


class NoisyNetwork(Network):
    """A network that reads noisy values: those of a `Denoiser`, or of the blocks of a `BlockTransformer`. `event`
    describes one noisy example: "real", or the discrete kind of the data, whose values 0, ..., V - 1 may then also be
    the mask token V of an absorbing process.
    """

    TRAITS = frozenset({"context"})

    def check(self, factorization):
        self.event.check_kind((*DISCRETE_KINDS, "real"), "a chain has one process for all sites, of one kind of data")


class Denoiser(NoisyNetwork):
    """A network that sees all sites of a noisy example: the features of each site depend on all sites, itself included.
    It reads no factorization and has no step form. `x` holds the noisy values, and the part `TIME` of the context their
    times, float32[B] in [0, 1]: 0 is the data, and 1 the end of the forward process.
    """


class ConditionEncoder(nn.Module):
    """The time and the context, without its local parts, as one vector, [B, E]; or None without both. The time,
    multiplied by 1000, goes through sinusoids and two layers (Ho, Jain & Abbeel, "Denoising Diffusion Probabilistic
    Models", 2020, with 1000 steps, appendix B). The vector of the context is added.
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
    """n vectors [B, 1, ..., features] of a condition [B, E], for an array of `ndim` axes; 0 without a condition."""

    features: int
    num: int
    dtype: str

    @nn.compact
    def __call__(self, condition_BE: jax.Array | None, ndim: int) -> list[Any]:
        if condition_BE is None:
            return [0.0] * self.num
        dense = Dense(self.num * self.features, dtype=self.dtype, kernel_init=nn.initializers.normal(0.02))
        vectors = dense(nn.silu(condition_BE))
        return jnp.split(vectors.reshape(len(vectors), *[1] * (ndim - 2), -1), self.num, -1)


class AnyOrderDenoiser(Denoiser):
    """Features given the sites without a mask; the time is not read. Its parameters are {"network": those of the
    network}, so that a trained order-agnostic model is a trained denoiser.
    """

    network: OrderAgnosticNetwork = None  # type: ignore[assignment]  # fields of the base have no defaults

    @nn.nowrap
    def check(self, factorization):
        super().check(factorization)
        self.network.check(factorization)

    def __call__(self, x, factorization, context, *, train=False):
        is_mask = x == self.event.num_levels
        observed = ~is_mask.reshape(*x.shape[: 1 + len(self.event.grid_shape)], -1).any(-1)
        return self.network.given(jnp.where(is_mask, 0, x), observed, context_of(self, context), train=train)


def as_denoiser(network: Network) -> Denoiser:
    """Returns the network as a denoiser; raises `UserError` unless it is one, or any-order on discrete data."""
    if isinstance(network, Denoiser):
        return network
    if not isinstance(network, OrderAgnosticNetwork):
        able = (Denoiser, OrderAgnosticNetwork) if network.event.num_levels else Denoiser
        names = ", ".join(name for name in NETWORKS.names() if issubclass(NETWORKS.get(name), able))
        raise UserError(
            f"a denoiser sees all sites without a mask, and the network {name_of(network)!r} only those of earlier "
            f"steps: choose one of {names}"
        )
    network.event.check_kind(DISCRETE_KINDS, "an absorbing process needs discrete data")
    form = {name: getattr(network, name) for name in BUILDER_FIELDS}
    return AnyOrderDenoiser(**form, network=network)


def make_noisy(
    name: str, event: EventSpec, context_spec: ContextSpec, num_features: int, dtype: str = "float32", **options: Any
) -> Network:
    """Returns a network that reads noisy values, with `num_features` F per site and the compute type `dtype`. The
    `event` of the noisy examples is "real", or the discrete kind of the data. Raises `UserError` for an unknown option,
    or one that does not fit the event.
    """
    check_local(event, context_spec)
    return NETWORKS.get(name)(event, context_spec, num_features, dtype, **NETWORKS.resolve(name, options))


def make_denoiser(name: str, *form: Any, **options: Any) -> Denoiser:
    """Returns the denoiser of that name, as `make_noisy`; raises `UserError` for a network that does not denoise."""
    denoiser = as_denoiser(make_noisy(name, *form, **options))
    denoiser.check(make_factorization(denoiser.event.grid_shape))
    return denoiser
