"""A denoiser from its name and options."""

from __future__ import annotations

from typing import Any

from arjax.core.spec import ContextSpec, EventSpec
from arjax.factorization import make_factorization
from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.networks.denoisers.any_order import as_denoiser
from arjax.networks.denoisers.base import DENOISERS, Denoiser, check_event


def make_denoiser(
    name: str, event: EventSpec, context_spec: ContextSpec, num_features: int, dtype: str = "float32", **options: Any
) -> Denoiser:
    """The denoiser of that name; the networks that read any set of observed sites are denoisers, too, of an absorbing
    process.

    Args:
      name: in `DENOISERS`.
      event: of the noisy examples: "real", or the discrete kind of the data.
      context_spec: its context.
      num_features: F, features per site.
      dtype: compute type.
      **options: of the family.

    Raises:
      UserError: an unknown name or option, or one that does not fit the event.
    """
    check_event(event)
    fields = (event, context_spec, num_features, dtype)
    family, resolved = DENOISERS.get(name), DENOISERS.resolve(name, options)
    if issubclass(family, OrderAgnosticNetwork):
        family.check(event, make_factorization(event.grid_shape), resolved)
        return as_denoiser(family(*fields, **resolved))
    family.check(event, resolved)
    return family(*fields, **resolved)
