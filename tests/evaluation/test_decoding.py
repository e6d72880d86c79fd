"""Errors of next values and of decodings, against a table of conditionals."""

import numpy as np
import pytest

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.evaluation.exposure import check_decoding, decoding_errors
from arjax.models import make_model
from arjax.testing.examples import all_values, random_like

EVENT = EventSpec((4,), kind="tokens", num_levels=3)
X = all_values(EVENT)[np.random.default_rng(0).integers(0, 81, 36)]
MASK = np.broadcast_to([True, True, True, False], X.shape)


@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])
def test_both_errors_are_those_of_the_table(mask):
    """A chain of order 1, whose most probable next value is a function of the last one."""
    model = make_model(EVENT, "markov")
    params = random_like(model.param_shapes)
    best = np.asarray(params["table"]).argmax(-1)[1:]
    second, third, fourth = X[:, 1], X[:, 2], X[:, 3]
    single = np.stack([best[second] != third, best[third] != fourth], 1)
    decoded = np.stack([best[second] != third, best[best[second]] != fourth], 1)
    sites = 2 if mask is None else 1
    found = decoding_errors(model, params, Batch(X, mask=mask), batch_size=20)
    for name, wrong in (("next_step_error", single), ("greedy_error", decoded)):
        wrong = wrong[:, :sites].mean(1)
        assert found[name] == pytest.approx(wrong.mean())
        assert found[f"{name}_stderr"] == pytest.approx(wrong.std(ddof=1) / 6)
    assert (found["greedy_error"] == found["next_step_error"]) == (mask is not None)


def test_refusals():
    with pytest.raises(UserError, match="needs discrete data"):
        check_decoding(make_model(EventSpec((4,), kind="real"), "made"))
