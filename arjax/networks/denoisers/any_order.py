"""Networks that predict from any set of observed sites, as denoisers of an absorbing process.

Such a network reads the sites that are not masked, and predicts those that are. So it *is* the denoiser of an absorbing
process, and the order-agnostic model is absorbing diffusion (Hoogeboom et al., "Autoregressive Diffusion Models", 2022,
section 3): see `arjax.models.discrete_chain`.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.factorization import make_factorization
from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.networks.denoisers.base import DENOISERS, Denoiser, check_event
from arjax.networks.layers.local_context import check_local


class AnyOrderDenoiser(Denoiser):
    """Features given the sites without a mask; the time is not read. Its parameters are {"network": those of the
    network}, so that a trained order-agnostic model is a trained denoiser.
    """

    network: OrderAgnosticNetwork = None  # type: ignore[assignment]  # fields of the base have no defaults

    def __call__(self, x_t, t, context=None, *, train=False):
        is_mask = x_t == self.event.num_levels
        observed = ~is_mask.reshape(*x_t.shape[: 1 + len(self.event.grid_shape)], -1).any(-1)
        return self.network.given(jnp.where(is_mask, 0, x_t), observed, context, train=train)


def as_denoiser(network: OrderAgnosticNetwork) -> AnyOrderDenoiser:
    """An any-order network as a denoiser; raises `UserError` for networks that follow an order, and for real data."""
    if not isinstance(network, OrderAgnosticNetwork):
        raise UserError("a denoiser sees all sites without a mask, and this network only those of earlier steps")
    if not network.event.is_discrete:
        raise UserError(f"an absorbing process needs discrete data, not {network.event.kind}")
    return AnyOrderDenoiser(network.event, network.context_spec, network.num_features, network.dtype, network=network)


def make_denoiser(
    name: str, event: EventSpec, context_spec: ContextSpec, num_features: int, dtype: str = "float32", **options: Any
) -> Denoiser:
    """The denoiser of that name in `DENOISERS`, with `num_features` F per site and the compute type `dtype`; `event` is
    that of the noisy examples: "real", or the discrete kind of the data. Raises `UserError` for an unknown name or
    option, or one that does not fit the event.
    """
    check_event(event)
    check_local(event, context_spec)
    fields = (event, context_spec, num_features, dtype)
    family, resolved = DENOISERS.get(name), DENOISERS.resolve(name, options)
    if issubclass(family, OrderAgnosticNetwork):
        family.check(event, make_factorization(event.grid_shape), resolved)
        return as_denoiser(family(*fields, **resolved))
    family.check(event, resolved)
    return family(*fields, **resolved)
