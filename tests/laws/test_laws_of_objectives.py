"""The laws of every registered objective, on a small model of the kind that it trains."""

import dataclasses

from arjax.objectives import OBJECTIVES
from arjax.testing.laws import as_test
from arjax.testing.objective import objective_laws

#: Options, and orders, where the usual ones do not do.
CALLS = {"elbo": "elbo(samples=2, beta=0.5, warmup=0.8)"}
ORDERS = {"learned_order": "uniform"}

test_objective = as_test(
    dataclasses.replace(law, name=f"{name}-{law.name}")
    for name in OBJECTIVES.names()
    for law in objective_laws.of(CALLS.get(name, name), orders=ORDERS.get(name, ""))
)
