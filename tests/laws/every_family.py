"""Every registered family with every event that it can describe, as parameters of tests."""

import itertools

import pytest

from arjax.conditionals import make_conditional
from arjax.core.errors import UserError


def each_family(calls, events, slow, make=make_conditional):
    """Parametrises a test by families and events; pairs of a call and the name of an event may be slow."""
    fitting = []
    for call, name in itertools.product(calls, events):
        try:
            family = make(call, events[name])
        except UserError:
            continue
        marks = pytest.mark.slow if (call, name) in slow else ()
        fitting.append(pytest.param(family, events[name], id=f"{call}-{name}", marks=marks))
    return pytest.mark.parametrize(("family", "event"), fitting)
