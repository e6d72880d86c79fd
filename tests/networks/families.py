"""The families for which dear tests are fast, for the rest they are slow; and what programs consist of."""

from __future__ import annotations

import pytest
from jax.extend.core import jaxprs_in_params

from arjax.testing.models import autoregressive_networks

#: One for each way to compute: masks, sums, attention, recurrence, and convolutions in one and two dimensions.
FEW = ("made", "nade", "transformer", "lstm", "wavenet", "pixelcnn")


def slow(*values):
    """Parameters of a test that is slow with them."""
    return pytest.param(*values, marks=pytest.mark.slow)


def fast_for(names) -> list:
    """Parameters of a test: every registered family, those that are not among `names` marked slow."""
    names = set(names)
    return [pytest.param(name, marks=() if name in names else pytest.mark.slow) for name in autoregressive_networks()]


def operations(jaxpr):
    """All operations of a program, however deep in its calls and loops; a loop counts once."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from operations(inner)
