"""The conditions of networks that are given by tables of probabilities: one discrete scalar in each step."""

from __future__ import annotations

from arjax.core.errors import UserError
from arjax.networks.base import Network, name_of


class ScalarNetwork(Network):
    """A network over discrete scalars in one order, one in a step, without a context: probabilities in tables."""

    TRAITS = frozenset({"unbounded"})

    @classmethod
    def check(cls, event, factorization, options):
        if not event.is_discrete or event.value_shape:
            raise UserError(f"the network {name_of(cls)!r} needs one whole number per site, not {event.in_words}")
        if factorization.block_size > 1:
            raise UserError(f"the network {name_of(cls)!r} reads one site in a step: set model.partition=sites")

    @classmethod
    def check_context(cls, context, options):
        if context:
            raise UserError(f"the network {name_of(cls)!r} has no input for a context")
