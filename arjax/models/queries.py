"""Conditional queries: p(query | evidence) is exact in an order that visits the evidence first."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from arjax.conditionals.blocks import Query, turns
from arjax.core.arrays import as_sites, is_known
from arjax.core.errors import UserError
from arjax.factorization import Factorization, from_order
from arjax.models.checks import as_values


def evidence_first(model: Any, *groups: np.ndarray) -> Factorization:
    """A factorization of the model that visits these groups of sites one after another, before all others.

    It is the one order of a query, of draws given evidence as of scores. The model's own where it does; else, of a
    model with several orders, one of those: the first of a pool that does, or among all orders its own with the groups
    moved to the front. Groups may meet within a step where its sites are independent given the steps before, or where a
    joint conditional can be given any of them; under other joint conditionals their turns within the step have to
    follow, too.

    Args:
      model: the model.
      *groups: bool[D] each, which do not overlap: the evidence, then what is asked for. The last of them may be left
        out where it is all that remains.

    Raises:
      UserError: none of the model's orders does; the sentence says what is in the way. Or the orders are not known,
        because the model is an argument of a transformed function.
    """
    _check_known(model)
    group_D = np.full(model.event.num_sites, len(groups))
    for number, member_D in reversed(list(enumerate(groups))):
        group_D[np.asarray(member_D, bool).ravel()] = number
    own, orders, head = model.factorization, model.orders, model.conditional
    by_turns = head.joint and not head.any_given

    def conflict(factorization: Factorization) -> str | None:
        turn_D = turns(head, factorization) if by_turns else np.asarray(factorization.step)
        return _conflict(np.asarray(factorization.step), turn_D, group_D)

    if conflict(own) is None:
        return own
    if orders is None:
        raise UserError(f"this order cannot {conflict(own)}")
    sizes = (np.asarray(own.blocks) < own.num_sites).sum(1)
    if orders.pool is None:
        # The slots are visited step by step and turn by turn; the sites fill them group by group.
        visited_D = turns(head, own)[np.asarray(own.order)] if by_turns else np.arange(own.num_sites)
        order_D = np.empty(own.num_sites, np.int64)
        order_D[np.argsort(visited_D, kind="stable")] = np.lexsort((np.asarray(own.rank), group_D))
        moved = from_order(order_D, sizes, own.grid_shape)
        if conflict(moved) is not None:
            raise UserError(f"no order of this model can {conflict(moved)}")
        return moved
    for order in orders.pool:
        factorization = from_order(order, sizes, own.grid_shape)
        if conflict(factorization) is None:
            return factorization
    raise UserError(
        f"none of the {len(orders.pool)} orders of this model visits the observed sites first: train it with "
        "model.orders=uniform, or with an order that does"
    )


def _check_known(model: Any) -> None:
    """Raises `UserError` when the model is an argument of a transformed function, whose orders cannot be looked at."""
    if not all(is_known(leaf) for leaf in jax.tree.leaves((model.factorization, model.orders))):
        raise UserError(
            "the orders of a model must be known outside `jit` where sites are observed or asked for, as one is looked "
            "for that visits these first: close over the model instead of passing it as an argument"
        )


def _conflict(step_D: np.ndarray, turn_D: np.ndarray, group_D: np.ndarray) -> str | None:
    """What the order cannot do, and why, or None where the groups follow one another.

    `turn_D` says when each site is visited: its step, or finer.
    """
    for number in range(group_D.max()):
        before, after = (np.flatnonzero(part) for part in (group_D <= number, group_D > number))
        if not len(before) or not len(after):
            continue
        last, first = before[turn_D[before].argmax()], after[turn_D[after].argmin()]
        if turn_D[last] > turn_D[first]:
            within = ", whose sites depend on one another" if step_D[first] == step_D[last] else ""
            if number:
                return (
                    f"leave out the sites that are not asked for: one of them, of step {step_D[first]}, comes before "
                    f"one that is asked for, of step {step_D[last]}{within}; use an ordering that visits those first"
                )
            return (
                f"condition on the observed sites: a site drawn in step {step_D[first]} comes before an observed one "
                f"of step {step_D[last]}{within}; use an ordering that visits the observed sites first"
            )
    return None


def conditional_log_prob(
    model: Any,
    params: Any,
    x: jax.Array,
    query: Any,
    evidence: Any,
    context: Any = None,
    mask: Any = None,
) -> jax.Array:
    """log p(x[query] | x[evidence], c) in nats, float32[B]: exact, for any set of sites that an order puts first.

    Args:
      model: the model.
      params: its parameters.
      x: examples [B, *grid, *value]; values outside of the two sets do not matter.
      query: bool[*grid], the sites that are scored.
      evidence: bool[*grid], the sites that are given; none may be asked for as well.
      context: [B, ...], for a model that has one.
      mask: [B, *grid], the sites of the query that count in each example; None: all. As in `log_prob`, others are given
        to those visited after them.

    Raises:
      UserError: wrong shapes, sets that overlap, or no order of the model has the evidence first and the query second.
    """
    sets = {"query": query, "evidence": evidence}
    sets = {name: as_sites(model.event, member, f"the {name}") for name, member in sets.items()}
    if (sets["query"] & sets["evidence"]).any():
        raise UserError("the query and the evidence overlap: a site is asked for or given, not both")
    factorization = evidence_first(model, sets["evidence"], sets["query"])
    x = as_values(model.event, x, counts=sets["query"] | sets["evidence"])
    query = Query(sets["query"], sets["evidence"])
    return model.log_prob(params, x, mask=mask, context=context, factorization=factorization, query=query)
