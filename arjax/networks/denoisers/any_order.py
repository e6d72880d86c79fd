"""Networks that predict from any set of observed sites, as denoisers of an absorbing process.

Such a network reads the sites that are not masked, and predicts those that are. So it *is* the denoiser of an absorbing
process, and the order-agnostic model is absorbing diffusion (Hoogeboom et al., "Autoregressive Diffusion Models", 2022,
section 3): see `arjax.models.discrete_chain`.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from arjax.core.errors import UserError
from arjax.core.spec import DISCRETE_KINDS, ContextSpec, EventSpec
from arjax.factorization import make_factorization
from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.networks.base import BUILDER_FIELDS, NETWORKS, Network, name_of
from arjax.networks.denoisers.base import Denoiser, context_of
from arjax.networks.layers.local_context import check_local


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
    """Returns the network, if it is a denoiser, or the denoiser that an any-order network is; raises `UserError` for
    networks that follow an order, and for real data in any order.
    """
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


def make_denoiser(
    name: str, event: EventSpec, context_spec: ContextSpec, num_features: int, dtype: str = "float32", **options: Any
) -> Denoiser:
    """Returns the denoiser of that name, with `num_features` F per site and the compute type `dtype`.

    `event` is that of the noisy examples: "real", or the discrete kind of the data. Raises `UserError` for a network
    that does not denoise, an unknown option, or one that does not fit the event.
    """
    check_local(event, context_spec)
    network = NETWORKS.get(name)(event, context_spec, num_features, dtype, **NETWORKS.resolve(name, options))
    denoiser = as_denoiser(network)
    denoiser.check(make_factorization(event.grid_shape))
    return denoiser
