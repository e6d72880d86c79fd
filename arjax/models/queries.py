"""Conditional queries: p(query | evidence) is exact in an order that visits the evidence first."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.errors import UserError
from arjax.factorization import Factorization, from_order
from arjax.models.autoregressive import AutoregressiveModel, Params


def evidence_first(model: AutoregressiveModel, *groups: np.ndarray) -> Factorization:
    """A factorization of the model that visits these groups of sites one after another, before all others.

    The model's own where it does; else, of a model with several orders, one of those: the first of a pool that does, or
    among all orders its own with the groups moved to the front. Sites of one step are independent given the steps
    before, so groups may also meet within a step.

    Args:
      model: the model.
      *groups: bool[D] each, which do not overlap.

    Raises:
      UserError: none of the model's orders does; the sentence says what is in the way.
    """
    group_D = np.full(model.event.num_sites, len(groups))
    for number, member_D in reversed(list(enumerate(groups))):
        group_D[np.asarray(member_D, bool).ravel()] = number
    own, orders = model.factorization, model.orders
    if _conflict(own, group_D) is None:
        return own
    if orders is None:
        raise UserError(f"this order cannot condition on the observed sites: {_conflict(own, group_D)}")
    sizes = (np.asarray(own.blocks) < own.num_sites).sum(1)
    if orders.pool is None:
        return from_order(np.lexsort((np.asarray(own.rank), group_D)), sizes, own.grid_shape)
    for order in orders.pool:
        factorization = from_order(order, sizes, own.grid_shape)
        if _conflict(factorization, group_D) is None:
            return factorization
    raise UserError(
        f"none of the {len(orders.pool)} orders of this model visits the observed sites first: train it with "
        "model.orders=uniform, or with an order that does"
    )


def _conflict(factorization: Factorization, group_D: np.ndarray) -> str | None:
    """What keeps the groups from following one another, or None where they do."""
    step_D = np.asarray(factorization.step)
    for number in range(group_D.max()):
        before, after = step_D[group_D <= number], step_D[group_D > number]
        if len(before) and len(after) and before.max() > after.min():
            return (
                f"a site drawn in step {after.min()} comes before an observed one of step {before.max()}; use an "
                "ordering that visits the observed sites first"
            )
    return None


def conditional_log_prob(
    model: AutoregressiveModel, params: Params, x: jax.Array, query: Any, evidence: Any, context: Any = None
) -> jax.Array:
    """log p(x[query] | x[evidence], c) in nats, float32[B]: exact, for any set of sites that an order puts first.

    Args:
      model: the model.
      params: its parameters.
      x: examples [B, *grid, *value]; values outside of the two sets do not matter.
      query: bool[*grid], the sites that are scored.
      evidence: bool[*grid], the sites that are given; none may be asked for as well.
      context: [B, ...], for a model that has one.

    Raises:
      UserError: wrong shapes, sets that overlap, or no order of the model has the evidence first and the query second.
    """
    sets = {"query": np.asarray(query, bool), "evidence": np.asarray(evidence, bool)}
    for name, member in sets.items():
        if member.shape != model.event.grid_shape:
            raise UserError(f"the {name} has shape {member.shape}, but the grid is {model.event.grid_shape}")
    if (sets["query"] & sets["evidence"]).any():
        raise UserError("the query and the evidence overlap: a site is asked for or given, not both")
    factorization = evidence_first(model, sets["evidence"], sets["query"])
    counts = (sets["query"] | sets["evidence"]).reshape(*model.event.grid_shape, *[1] * len(model.event.value_shape))
    x = jnp.where(counts, x, 0)  # what is missing may be marked by anything
    mask = jnp.broadcast_to(jnp.asarray(sets["query"]), (len(x), *model.event.grid_shape))
    return model.log_prob(params, x, mask=mask, context=context, factorization=factorization)
