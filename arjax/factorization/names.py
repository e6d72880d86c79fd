"""The name of an order, from the order itself."""

from __future__ import annotations

import inspect

import jax
import numpy as np

from arjax.core.errors import UserError
from arjax.factorization.factorization import Factorization
from arjax.factorization.orderings import ORDERINGS, make_order, needs_data


def order_name(factorization: Factorization) -> str:
    """`snake order`, `hilbert order, 4 steps`: by the first ordering that gives it at its defaults, else its sites.

    A factorization does not keep the call string of its order, so the name is that of an ordering with the same order.
    """
    if isinstance(factorization.order, jax.core.Tracer):
        return "a traced order"
    order_D = np.asarray(factorization.order)
    name = next((name for name in _usual_first() if _gives(name, factorization.grid_shape, order_D)), "")
    if name and "seed" in ORDERINGS.options(name):
        name = f"{name}(seed={ORDERINGS.options(name)['seed']})"
    if not name:
        sites = ", ".join(map(str, order_D[:5])) + (", ..." if len(order_D) > 5 else "")
        name = f"({sites})"
    steps = f", {factorization.num_steps} steps" if factorization.block_size > 1 else ""
    graph = "" if factorization.parents is None else ", a dependency graph"
    return f"{name} order{steps}{graph}"


def _usual_first() -> list[str]:
    """Orderings that need no data and no options: raster, then those that are made of no other."""
    options = {name: ORDERINGS.options(name) for name in ORDERINGS if not needs_data(name)}
    names = [name for name, own in options.items() if inspect.Parameter.empty not in own.values()]
    return sorted(names, key=lambda name: (name != "raster", "of" in options[name]))


def _gives(name: str, grid_shape: tuple[int, ...], order_D: np.ndarray) -> bool:
    try:
        return np.array_equal(make_order(name, grid_shape), order_D)
    except UserError:  # an ordering for grids of another kind
        return False
