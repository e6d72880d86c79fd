"""The options of the coder as one value."""

import numpy as np
import pytest

from arjax.coding import CodingOptions, compress, decompress
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.testing.examples import random_like


def test_the_work_is_announced_once():
    model = make_model(EventSpec((2, 3), (), "tokens", 5), "made", hidden_sizes=(4,))
    params, x = random_like(model.param_shapes), np.random.default_rng(0).integers(0, 5, (9, 2, 3))
    announced: list[str] = []
    options = CodingOptions(streams=4, about={"form": "array"}, tell=lambda: announced.append("begins"))
    found = compress(model, params, x, options)
    assert announced == ["begins"] and found.streams == 4  # decoding for the comparison tells nothing
    restored = decompress(model, params, found.data, options)
    assert np.array_equal(restored.x, x) and restored.about == {"form": "array"} and len(announced) == 2


def test_options_are_checked_when_they_are_made():
    for streams in (-1, 2**16 + 1, 1.5, True):
        with pytest.raises(UserError, match=r"streams must be (at least 0|at most 65536|an integer), not"):
            CodingOptions(streams=streams)
    for num_orders in (0, -2, 2**16 + 1, True):
        with pytest.raises(UserError, match=r"num_orders must be (at least 1|at most 65536|an integer), not"):
            CodingOptions(num_orders=num_orders)
