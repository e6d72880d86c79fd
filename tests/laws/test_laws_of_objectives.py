"""The laws of every registered objective, on a small model of the kind that it trains."""

from __future__ import annotations

import pytest

from arjax.objectives import OBJECTIVES
from arjax.testing.objective import _laws

#: Options, and orders, where the usual ones do not do.
CALLS = {"elbo": "elbo(samples=2, beta=0.5, warmup=0.8)"}
ORDERS = {"learned_order": "uniform"}
CASES = [
    pytest.param(law, id=f"{name}-{law.name}")
    for name in OBJECTIVES.names()
    for law in _laws(CALLS.get(name, name), "made", ORDERS.get(name, ""))
]


@pytest.mark.parametrize("law", CASES)
def test_objective(law):
    law.check()
