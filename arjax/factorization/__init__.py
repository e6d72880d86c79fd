"""Factorizations: orderings, partitions and the dependencies that follow from them."""

import numpy as np

from arjax.factorization.factorization import Factorization, check_permutation, from_order
from arjax.factorization.orderings import ORDERINGS
from arjax.factorization.partitions import PARTITIONS

__all__ = ["ORDERINGS", "PARTITIONS", "Factorization", "from_order", "make_factorization"]


def make_factorization(
    grid_shape: tuple[int, ...], ordering: str = "raster", partition: str = "sites"
) -> Factorization:
    """The factorization named by two call strings, such as `random(seed=3)` and `blocks(size=4)`.

    Raises:
      UserError: an unknown name or option, not a permutation, or block sizes that do not fit.
    """
    grid_shape = tuple(grid_shape)
    order_D = check_permutation(ORDERINGS.call(ordering, grid_shape), int(np.prod(grid_shape)))
    return from_order(order_D, PARTITIONS.call(partition, order_D, grid_shape), grid_shape)
