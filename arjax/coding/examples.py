"""Examples in batches: the rows of a batch are coded side by side, step by step, one batch after another, by one
autoregressive model, or by a mixture of some that visit the sites in one order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from arjax.coding.entropy import Chooser
from arjax.core.batch import Array, Batch
from arjax.core.spec import EventSpec
from arjax.models import Model
from arjax.models.base import Params
from arjax.models.extras import StepMember, step_members
from arjax.samplers.stepwise import OutsideSteps, check_tables

#: The parts of the context of some examples, [N, ...] each, by name.
Contexts = Mapping[str, Array]


@dataclasses.dataclass(frozen=True)
class Choice:
    """One way to code examples, with its name in words: "" if it is the only one."""

    name: str
    members: tuple[StepMember, ...]

    def nats(self, x: np.ndarray, context: Any) -> float:
        member = self.members[0]
        return -float(_log_prob(member.model, member.params, Batch(x, context or {})))


@jax.jit
def _log_prob(model: Any, params: Params, batch: Batch) -> jax.Array:
    return model.score(params, batch).log_prob.sum()


def choices(model: Model, params: Params, num_orders: int = 1) -> list[Choice]:
    """Returns the ways to code the examples of a model, of which the best one is taken for a file. A mixture over
    orders has no tables, as a step of one order is no step of another: a model of several orders has a choice for each
    of `num_orders`, and a mixture of models in different orders one for each member.
    """
    members = step_members(model, params)
    for member in members:
        check_tables(member.model)
    if len(members) == 1 and members[0].model.orders is not None:
        (only,) = members
        orders = only.model.orders.members(num_orders) if num_orders > 1 else [only.model.factorization]
        models = [dataclasses.replace(only.model, factorization=order, orders=None) for order in orders]
        return [Choice(f"order {k} of {len(models)}", (only._replace(model=m),)) for k, m in enumerate(models)]
    members = tuple(each._replace(model=dataclasses.replace(each.model, orders=None)) for each in members)
    blocks = [np.asarray(member.model.factorization.blocks) for member in members]
    if all(np.array_equal(blocks[0], other) for other in blocks):
        return [Choice("", members)]
    return [Choice(f"member {k} of {len(members)}", (member,)) for k, member in enumerate(members)]


def code_examples(
    choice: Choice, chooser: Chooser, batch: int, num: int, context: Contexts, end: int, x: np.ndarray | None = None
) -> np.ndarray:
    """Returns all examples, [N, *grid, *value], as a chooser chooses their values, out of `x` if they are known. The
    rows that fill up the last batch are zeros. Behind the token `end` a row holds nothing else, in raster order.
    """
    event: EventSpec = choice.members[0].model.event
    steps, values = OutsideSteps(choice.members, batch), np.zeros((num, *event.shape), event.dtype)
    for start in range(0, num, batch):
        rows = np.minimum(np.arange(start, start + batch), num - 1)
        real = min(batch, num - start)
        parts = {name: np.asarray(part)[rows] for name, part in context.items()}
        steps.begin(parts)
        known = None
        if x is not None:
            known = np.zeros((batch, *event.shape), event.dtype)
            known[:real] = x[start : start + real]
        values[start : start + real] = _code_batch(steps, chooser, real, end, known)[:real]
    return values


def _code_batch(steps: OutsideSteps, chooser: Chooser, real: int, end: int, known: np.ndarray | None) -> np.ndarray:
    """The values of the B rows of steps that have begun, [B, *grid, *value]; the first ones are real."""
    event, blocks_SM, num = steps.event, steps.blocks_SM, steps.num
    x = np.zeros((num, event.num_sites + 1, event.value_size), np.int32)  # one more for sites that do not exist
    if known is not None:
        x[:, :-1] = known.reshape(num, event.num_sites, -1)
    # All steps one behind another, each of them in one piece.
    values_SBn = x[:, blocks_SM].transpose(1, 0, 2, 3).reshape(len(blocks_SM), num, -1)
    goes_on_B = np.arange(num) < real

    def choose(table_BkV: np.ndarray, t: int, j: int) -> np.ndarray:
        scalars = slice(j, j + table_BkV.shape[1])
        if end >= 0 and known is None:
            values_SBn[t, :real][~goes_on_B[:real]] = end
        coded_Bk = goes_on_B[:, None] & steps.exists_Sn[t, scalars]
        values_Bk = values_SBn[t, :, scalars] = chooser(table_BkV, coded_Bk, values_SBn[t, :, scalars])
        if end >= 0:  # a step has one scalar
            goes_on_B[:] &= values_Bk[:, 0] != end
        return values_Bk

    steps.run(choose)
    values_BSMv = values_SBn.reshape(*blocks_SM.shape[:1], num, -1, event.value_size).transpose(1, 0, 2, 3)
    x[:, blocks_SM.reshape(-1)] = values_BSMv.reshape(num, -1, event.value_size)
    return x[:, :-1].reshape(num, *event.shape).astype(event.dtype)
