"""Factorizations: orderings, partitions and the dependencies that follow from them.

    factorization = make_factorization((8, 8), ordering="random(seed=3)", partition="blocks(size=4)")

Orderings, partitions, graphs and distributions over orders are functions in registries, written as call strings. Those
with a parameter `data` are read off training examples; the same examples give the same order.
"""

import numpy as np

from arjax.core.options import checked_arguments
from arjax.factorization import data_orderings  # noqa: F401  registers orderings
from arjax.factorization.factorization import Factorization, from_order, reorder
from arjax.factorization.graphs import GRAPHS, graph_needs_data, with_graph
from arjax.factorization.order_distributions import (
    ORDER_DISTRIBUTIONS,
    Orders,
    Shares,
    Weighted,
    make_orders,
    orders_need_data,
)
from arjax.factorization.orderings import ORDERINGS, make_order, needs_data, order_name
from arjax.factorization.partitions import PARTITIONS

__all__ = [
    "GRAPHS",
    "ORDERINGS",
    "ORDER_DISTRIBUTIONS",
    "PARTITIONS",
    "Factorization",
    "Orders",
    "Shares",
    "Weighted",
    "from_order",
    "graph_needs_data",
    "make_factorization",
    "make_order",
    "make_orders",
    "needs_data",
    "order_name",
    "orders_need_data",
    "reorder",
    "with_graph",
]


@checked_arguments()
def make_factorization(
    grid_shape: tuple[int, ...],
    ordering: str = "raster",
    partition: str = "sites",
    data: np.ndarray | None = None,
    graph: str = "",
) -> Factorization:
    """Returns the factorization of call strings such as `random(seed=3)`, `blocks(size=4)` and `window(size=8)`.
    Orderings and graphs may be read off training examples `data`, [N, D] or [N, D, value]. Raises `UserError` for an
    unknown name or option, an order that is no permutation, or block sizes that do not fit.
    """
    grid_shape = tuple(grid_shape)
    order_D = make_order(ordering, grid_shape, data)
    factorization = from_order(order_D, PARTITIONS.call(partition, order_D, grid_shape), grid_shape)
    return with_graph(factorization, graph, data)
