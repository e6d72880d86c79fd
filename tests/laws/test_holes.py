"""Missing values: every network that takes them leaves them out, in all forms, and all others refuse them."""

import law_cases as cases
import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.networks import NETWORKS
from arjax.testing.examples import with_holes
from arjax.testing.network import check_left_out

TAKES = [name for name in NETWORKS.names() if NETWORKS.get(name).TAKES_HOLES]
#: One event of each network; the other is slow.
FAST = {"conv_nade": "real", "masked_transformer": "real"}


def cases_of(name):
    for event in ("real", "columns"):
        slow = [pytest.mark.slow] if event != FAST.get(name, "columns") else []
        yield pytest.param(name, event, marks=slow, id=f"{name}-{event}")


@pytest.mark.parametrize(("network", "event"), [case for name in TAKES for case in cases_of(name)])
def test_missing_values_are_left_out(network, event):
    model = cases.small_model(network, cases.EVENTS[event], "random(seed=1)", "sites")
    if not isinstance(model, str):
        check_left_out(model, cases.params_of(model))


def test_all_others_refuse_them():
    assert TAKES == ["conv_nade", "deep_nade", "masked_transformer", "two_stream"]
    event = cases.EVENTS["columns"]
    holes = with_holes(event, cases.random_x(event, 3))
    np.testing.assert_array_equal(np.isnan(holes).all(1), [False, True, False])
    for name in ("made", "transformer", "lstm", "independent"):
        model = cases.small_model(name, event)
        with pytest.raises(UserError, match=r"not nan: a missing value \(NaN\) needs a network that predicts from any"):
            model.log_prob(cases.params_of(model), holes)
