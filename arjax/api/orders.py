"""The likelihood of examples under orders that a user chooses."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from arjax.core.errors import refuse, say_once
from arjax.core.options import is_integer
from arjax.core.traits import require
from arjax.data import Dataset
from arjax.evaluation.report import kind_of_nats
from arjax.factorization import Factorization, Orders, make_order, make_orders, needs_data, order_name, orders_need_data
from arjax.models.checks import check_factorization


class ChosenOrders(NamedTuple):
    """Some orders, cut into the blocks of a model."""

    each: Factorization  # K in one: all arrays have a first axis of length K
    weights: np.ndarray  # float32[K], which add up to 1
    kind: str  # of the score of their mixture, see `arjax.core.scores.SCORE_KINDS`


def chosen_orders(model: Any, dataset: Dataset, ordering: str, orders: str | int, num_random: int) -> ChosenOrders:
    """Returns the order of a call string; or the listed orders of a distribution and, of all permutations, `num_random`
    ones; or the first `orders` of the model.
    """
    model, is_number = require(model, "conditionals", "`log_prob` under an order"), is_integer(orders)
    refuse(
        (ordering and orders, "`ordering` is one order and `orders` are several: give one of the two"),
        (is_number and model.orders is None, "this model has one order: `orders` is the call string of a distribution"),
        (model.factorization.parents is not None, "a model of a dependency graph has the order of its graph alone"),
    )
    listed = model.orders if is_number else _listed(model, dataset, ordering, str(orders))
    num = int(orders) if is_number else len(listed.listed) + num_random * listed.has_all
    members, weights = listed.members(num), listed.shares(num).weights
    usual = model.factorization
    trained = model.orders or Orders(usual, np.asarray(usual.order)[None])
    for member in members:
        check_factorization(model.network, member)
    if new := [order_name(member) for member in members if not trained.has(member)]:
        say_once(f"this model was not trained under {ordering or new[0]}: expect a low likelihood there")
    in_order = dataclasses.replace(model, factorization=members[0], orders=None if num == 1 else listed)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *members)
    return ChosenOrders(stacked, weights.astype(np.float32), kind_of_nats(in_order, num, dataset.end))


def _listed(model: Any, dataset: Dataset, ordering: str, orders: str) -> Orders:
    """The orders of a call string, which are cut as those of the model."""
    grid_shape, examples = model.event.grid_shape, None
    reads_data = needs_data(ordering) if ordering else orders_need_data(orders)
    if reads_data and "train" in dataset.splits:
        x = dataset.some_examples("train")
        examples = x.reshape(len(x), model.event.num_sites, -1)
    if ordering:
        return Orders(model.factorization, make_order(ordering, grid_shape, examples)[None])
    return dataclasses.replace(make_orders(orders, grid_shape, data=examples), first=model.factorization)
