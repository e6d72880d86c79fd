"""Missing values: every network that takes them leaves them out, in all forms, and all others refuse them."""

import law_cases as cases
import numpy as np
import pytest
from families import slow

from arjax.core.errors import UserError
from arjax.models import make_model
from arjax.networks import NETWORKS
from arjax.testing.examples import with_holes
from arjax.testing.network import check_left_out, check_steps

TAKES = [name for name in NETWORKS.names() if "holes" in NETWORKS.get(name).TRAITS]
#: One event of each network; the other is slow, and both of the one that attends as the masked Transformer does.
FAST = {"conv_nade": "real", "masked_transformer": "real"}
BOTH = [
    (name, event) if event == FAST.get(name, "columns") and name != "two_stream" else slow(name, event)
    for name in TAKES
    for event in ("real", "columns")
]


@pytest.mark.parametrize(("network", "event"), BOTH)
def test_missing_values_are_left_out(network, event):
    """And in steps of one network; those of the others, and other forms, are slow."""
    model = cases.small_model(network, cases.EVENTS[event], "random(seed=1)", "sites")
    if not isinstance(model, str):
        check_left_out(model, cases.params_of(model), [check_steps] * (network == "deep_nade"))


@pytest.mark.slow
@pytest.mark.parametrize("event", ["real", "columns"])
@pytest.mark.parametrize("network", TAKES)
@pytest.mark.parametrize("partition", ["sites", "sizes(sizes=(1, 3, 2))"])
def test_all_forms_leave_missing_values_out(network, event, partition):
    model = cases.small_model(network, cases.EVENTS[event], "random(seed=1)", partition)
    if isinstance(model, str):
        pytest.skip(model)
    check_left_out(model, cases.params_of(model))


def test_blocks_that_are_scored_jointly_refuse_them():
    event, joint = cases.EVENTS["real"], "mixture_of_products"
    holes = with_holes(event, cases.random_x(event, 3))
    model = make_model(event, "deep_nade", hidden_sizes=(8,), partition="blocks(size=2)", conditional=joint)
    assert "holes" not in model.traits
    with pytest.raises(UserError, match=r"not nan: a missing value \(NaN\) needs a model of"):
        model.log_prob(cases.random_like(model.param_shapes), holes)
    one_by_one = make_model(event, "deep_nade", hidden_sizes=(8,), conditional=joint)
    assert "holes" in one_by_one.traits
    assert np.isfinite(cases.log_prob(one_by_one, holes)).all()


def test_all_others_refuse_them():
    assert TAKES == ["conv_nade", "deep_nade", "masked_transformer", "two_stream"]
    event = cases.EVENTS["columns"]
    holes = with_holes(event, cases.random_x(event, 3))
    np.testing.assert_array_equal(np.isnan(holes).all(1), [False, True, False])
    for name in ("made", "transformer", "lstm", "independent"):
        model = cases.small_model(name, event)
        with pytest.raises(UserError, match=r"not nan: a missing value \(NaN\) needs a model of the kind"):
            model.log_prob(cases.params_of(model), holes)
