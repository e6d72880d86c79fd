"""Conditional queries: p(query | evidence) is exact in an order that visits the evidence first."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from arjax.conditionals.blocks import visit_numbers
from arjax.core.arrays import is_known
from arjax.core.errors import UserError, refuse
from arjax.factorization import Factorization, from_order


def evidence_first(model: Any, *groups: np.ndarray) -> Factorization:
    """Returns a factorization of the model that visits these groups of sites one after another, before all others.

    The groups are bool[D] each, without overlap: the evidence, then the query, if it is not all remaining sites. The
    factorization is the model's own if that fits, else the first that fits out of a pool or, for all orders, the
    model's own with the groups moved to the front. Two groups may share a step whose sites are independent, or whose
    joint conditional can be given any of them; another joint conditional must visit the groups one after another within
    it.
    """
    unknown = not all(is_known(leaf) for leaf in jax.tree.leaves((model.factorization, model.orders)))
    sentence = "the orders of a model must be known outside `jit` where sites are observed or scored"
    remedy = "one is looked for that visits these first: close over the model instead of passing it as an argument"
    refuse((unknown, f"{sentence}, as {remedy}"))
    group_D = np.full(model.event.num_sites, len(groups))
    for number, member_D in reversed(list(enumerate(groups))):
        group_D[np.asarray(member_D, bool).ravel()] = number
    usual, orders, head = model.factorization, model.orders, model.conditional
    within_steps = head.joint and not head.any_given

    def conflict(factorization: Factorization) -> str | None:
        visit_D = visit_numbers(head, factorization) if within_steps else np.asarray(factorization.step)
        return _conflict(np.asarray(factorization.step), visit_D, group_D)

    obstacle = conflict(usual)
    if obstacle is None:
        return usual
    refuse((orders is None, f"this order cannot {obstacle}"))
    sizes = (np.asarray(usual.blocks) < usual.num_sites).sum(1)
    for order in orders.listed:
        factorization = from_order(order, sizes, usual.grid_shape)
        if conflict(factorization) is None:
            return factorization
    if orders.has_all:
        # The blocks keep their order of visits; the sites fill them group by group.
        visited_D = visit_numbers(head, usual)[np.asarray(usual.order)] if within_steps else np.arange(usual.num_sites)
        order_D = np.empty(usual.num_sites, np.int64)
        order_D[np.argsort(visited_D, kind="stable")] = np.lexsort((np.asarray(usual.rank), group_D))
        moved = from_order(order_D, sizes, usual.grid_shape)
        obstacle = conflict(moved)
        refuse((obstacle is not None, f"no order of this model can {obstacle}"))
        return moved
    raise UserError(
        f"none of the {len(orders.listed)} orders of this model visits the observed sites first: train it with "
        "model.orders=uniform, or with an order that does"
    )


def _conflict(step_D: np.ndarray, visit_D: np.ndarray, group_D: np.ndarray) -> str | None:
    """Why the order, by steps or `visit_numbers` int[D], does not fit; None where the groups follow one another."""
    for number in range(group_D.max()):
        before, after = (np.flatnonzero(part) for part in (group_D <= number, group_D > number))
        if not len(before) or not len(after):
            continue
        last, first = before[visit_D[before].argmax()], after[visit_D[after].argmin()]
        if visit_D[last] > visit_D[first]:
            within = ", whose sites depend on one another" if step_D[first] == step_D[last] else ""
            if number:
                return (
                    f"leave out the sites that are not in the query: one, of step {step_D[first]}, comes before "
                    f"one of the query, of step {step_D[last]}{within}; use an ordering that visits the query first"
                )
            return (
                f"condition on the observed sites: a site drawn in step {step_D[first]} comes before an observed one "
                f"of step {step_D[last]}{within}; use an ordering that visits the observed sites first"
            )
    return None
