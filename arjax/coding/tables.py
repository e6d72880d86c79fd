"""The tables of a model that is coded: of one autoregressive model, or of a mixture of some that visit the sites in one
order.

A mixture has the conditionals p(x_t | x_<t) = sum_k w_k(x_<t) p_k(x_t | x_<t). Its weights w_k(x_<t) follow from the
values so far by Bayes' rule, so the product of the conditionals is the mixture of whole examples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.coding.entropy import LEAST
from arjax.core.batch import Batch
from arjax.core.spec import EventSpec
from arjax.models import Model
from arjax.models.base import Member, Params
from arjax.samplers.stepwise import StepTables, check_tables

#: (table [B, k, V], j) -> values int32[B, k] of the scalars j, ..., j + k - 1 of a step.
Choose = Callable[[jax.Array, int], np.ndarray]


class MixedTables:
    """The steps of B examples under one model, or under a mixture of several with the same order.

    Attributes:
      num, num_scalars, t: as those of `StepTables`.
      event: of the examples.
      blocks_SM: the sites of the steps.
      exists_Sn: whether the scalars of a step exist: short steps have sites that do not.
    """

    def __init__(self, members: Sequence[Member], num: int):
        """`num`: B. Raises `UserError` where a member has no tables."""
        self.steps = [StepTables(member.model, member.params, num) for member in members]
        self._start = jnp.stack([jnp.asarray(member.log_weight, jnp.float32) for member in members])
        self.num, self.num_scalars = num, self.steps[0].num_scalars
        self.event: EventSpec = members[0].model.event
        self.blocks_SM = np.asarray(members[0].model.factorization.blocks)
        self.exists_Sn = np.repeat(self.blocks_SM < self.event.num_sites, self.event.value_size, axis=1)

    @property
    def t(self) -> int:
        """The next step."""
        return self.steps[0].t

    def begin(self, context: Any = None, prompt: np.ndarray | None = None) -> None:
        """As `StepTables.begin`; the weights begin anew."""
        for steps in self.steps:
            steps.begin(context, prompt)
        self._log_weight_KB = jnp.broadcast_to(self._start[:, None], (len(self.steps), self.num))

    def step(self, choose: Choose) -> np.ndarray:
        """Makes a step with the values that are chosen, int32[B, n], and returns them."""
        tables = [steps.table() for steps in self.steps]
        values_Bn = choose(tables[0], 0) if len(tables) == 1 else self._mixed(tables, choose)
        for steps in self.steps:
            steps.put(values_Bn)
        return values_Bn

    def _mixed(self, tables: list[jax.Array], choose: Choose) -> np.ndarray:
        """The values of the scalars one after another: given each one, the weights of the members change."""
        values_Bn = np.zeros((self.num, self.num_scalars), np.int32)
        found = tuple(tables)
        for j in range(self.num_scalars + 1):
            exists_n = self.exists_Sn[self.t]
            weights, table = _mix(self._log_weight_KB, found, values_Bn.copy(), exists_n, np.int32(j))
            if j < self.num_scalars:
                values_Bn[:, j : j + 1] = choose(table, j)
        self._log_weight_KB = weights
        return values_Bn


@jax.jit
def _mix(
    log_weight_KB: jax.Array, tables: tuple[jax.Array, ...], values_Bn: jax.Array, exists_n: jax.Array, j: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The weights given the first j scalars of a step, and the table of scalar j, [B, 1, V]."""
    p_KBnV = jnp.stack(tables)
    own_KBn = jnp.take_along_axis(p_KBnV, values_Bn[None, :, :, None], -1)[..., 0]
    counts_n = exists_n & (jnp.arange(values_Bn.shape[1]) < j)
    given_KB = jnp.where(counts_n, jnp.log(jnp.maximum(own_KBn, LEAST)), 0.0).sum(-1)
    log_weight_KB = jax.nn.log_softmax(log_weight_KB + given_KB, axis=0)
    next_KBV = jax.lax.dynamic_index_in_dim(p_KBnV, jnp.minimum(j, values_Bn.shape[1] - 1), 2, keepdims=False)
    return log_weight_KB, (jnp.exp(log_weight_KB)[..., None] * next_KBV).sum(0)[:, None]


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
    members = model.step_members(params)
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
