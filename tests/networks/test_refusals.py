"""What a family cannot do is said in one sentence, before anything is built."""

from __future__ import annotations

import pytest

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.models import make_model

EVENT = EventSpec((6,))

CASES = [
    ("transformer", {"width": 10, "num_heads": 4}, "network.num_heads=4 does not divide network.width=10"),
    ("transformer", {"with": 3}, r"network 'transformer' has no option 'with', did you mean 'width'\?; its options .*"),
    ("transformer", {"num_features": 3}, "network 'transformer' has no option 'num_features'.*"),
    ("transfomer", {}, r"unknown network 'transfomer', did you mean 'transformer'\?"),
]


@pytest.mark.parametrize(("network", "options", "message"), CASES)
def test_one_sentence(network, options, message):
    with pytest.raises(UserError, match=rf"^{message}$"):
        make_model(EVENT, network, **options)


@pytest.mark.parametrize("network", ["lstm", "causal_conv", "transformer"])
def test_blocks_need_positions_to_tell_their_sites_apart(network):
    with pytest.raises(UserError, match=r"^steps of several sites need network.position=learned or sinusoidal"):
        make_model(EVENT, network, partition="blocks(size=2)", position="none")
    make_model(EVENT, network, partition="sites", position="none")


@pytest.mark.parametrize("dtype", ["float16", "float64", "", "bf16"])
def test_compute_types(dtype):
    with pytest.raises(UserError, match=rf"^dtype must be one of float32, bfloat16, not '{dtype}'$"):
        make_model(EVENT, "made", dtype=dtype)


def test_lists_and_whole_numbers_are_read_as_tuples_and_fractions():
    network = make_model(EVENT, "made", hidden_sizes=[4, 3], dropout=0).network
    assert network.hidden_sizes == (4, 3)
    assert (network.dropout, type(network.dropout)) == (0.0, float)
