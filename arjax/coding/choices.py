"""The ways to code the examples of a model: by one autoregressive model, or by a mixture of some that visit the sites
in one order.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from arjax.core.batch import Batch
from arjax.models import Model
from arjax.models.base import Params
from arjax.models.extras import Member, step_members
from arjax.samplers.stepwise import check_tables


@dataclasses.dataclass(frozen=True)
class Choice:
    """One way to code examples.

    Attributes:
      name: in words, "" where there is no other.
      members: of the mixture whose tables are used.
    """

    name: str
    members: tuple[Member, ...]

    def nats(self, x: np.ndarray, context: Any) -> float:
        """-log p of examples under its first member."""
        member = self.members[0]
        return -float(_log_prob(member.model, member.params, Batch(x, context or {})))


@jax.jit
def _log_prob(model: Any, params: Params, batch: Batch) -> jax.Array:
    return model.score(params, batch).log_prob.sum()


def choices(model: Model, params: Params, num_orders: int = 1) -> list[Choice]:
    """The ways to code the examples of a model, of which the best one is taken for a file.

    A mixture over orders has no tables: a step of one order is no step of another. So a model of several orders has a
    choice for each of `num_orders`, and a mixture of models in different orders one for each member.

    Raises `UserError` for models without tables.
    """
    members = step_members(model, params)
    for member in members:
        check_tables(member.model)
    if len(members) == 1 and members[0].model.orders is not None:
        own = members[0]
        orders = own.model.orders.members(num_orders) if num_orders > 1 else [own.model.factorization]
        made = [dataclasses.replace(own.model, factorization=order, orders=None) for order in orders]
        return [Choice(f"order {k} of {len(made)}", (own._replace(model=each),)) for k, each in enumerate(made)]
    members = tuple(each._replace(model=dataclasses.replace(each.model, orders=None)) for each in members)
    blocks = [np.asarray(member.model.factorization.blocks) for member in members]
    if all(np.array_equal(blocks[0], other) for other in blocks):
        return [Choice("", members)]
    return [Choice(f"member {k} of {len(members)}", (member,)) for k, member in enumerate(members)]
