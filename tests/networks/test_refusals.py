"""What a family cannot do is said in one sentence, before anything is built."""

from __future__ import annotations

import pytest

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks import NETWORKS

EVENT = EventSpec((6,))
POSITIONS = r"\(there are: none, learned, sinusoidal\)"

CASES = [
    ("made", {"activation": "rulu"}, r"unknown activation 'rulu', did you mean 'relu'\?"),
    ("causal_conv", {"activation": "gelo"}, r"unknown activation 'gelo', did you mean 'gelu'\?"),
    (
        "transformer",
        {"activation": "xyz"},
        r"unknown activation 'xyz' \(there are: relu, gelu, silu, .*\)",
    ),
    ("transformer", {"width": 10, "num_heads": 4}, "network.num_heads=4 does not divide network.width=10"),
    ("transformer", {"num_heads": 0}, "network.num_heads of 'transformer' must be at least 1, not 0"),
    ("made", {"hidden_sizes": ()}, r"network.hidden_sizes must name at least one positive size, not \(\)"),
    ("made", {"hidden_sizes": (8, 0)}, r"network.hidden_sizes must name at least one positive size, not \(8, 0\)"),
    (
        "made",
        {"hidden_sizes": (8.0,)},
        r"the option 'hidden_sizes' of the network 'made' must be a tuple such as \(500,\), not \(8.0,\)",
    ),
    (
        "made",
        {"hidden_sizes": (True,)},
        r"the option 'hidden_sizes' of the network 'made' must be a tuple such as \(500,\), not \(True,\)",
    ),
    (
        "made",
        {"hidden_sizes": 8},
        r"the option 'hidden_sizes' of the network 'made' must be a tuple such as \(500,\), not 8",
    ),
    ("lstm", {"position": "rotary"}, rf"unknown position encoding 'rotary' {POSITIONS}"),
    ("causal_conv", {"position": "rotary"}, rf"unknown position encoding 'rotary' {POSITIONS}"),
    ("transformer", {"position": "rotary"}, rf"unknown position encoding 'rotary' {POSITIONS}"),
    ("lstm", {"hidden_size": -3}, "network.hidden_size of 'lstm' must be at least 1, not -3"),
    ("lstm", {"hidden_size": 3.5}, "the option 'hidden_size' of the network 'lstm' must be an integer, not 3.5"),
    ("lstm", {"hidden_size": "big"}, "the option 'hidden_size' of the network 'lstm' must be an integer, not 'big'"),
    ("causal_conv", {"num_layers": 0}, "network.num_layers of 'causal_conv' must be at least 1, not 0"),
    ("causal_conv", {"dilation_cycle": 0}, "network.dilation_cycle of 'causal_conv' must be at least 1, not 0"),
    ("transformer", {"remat": 1}, "the option 'remat' of the network 'transformer' must be true or false, not 1"),
    (
        "transformer",
        {"with": 3},
        r"network 'transformer' has no option 'with', did you mean 'width'\?; its options .*",
    ),
    ("transformer", {"num_features": 3}, "network 'transformer' has no option 'num_features'.*"),
    ("transfomer", {}, r"unknown network 'transfomer', did you mean 'transformer'\?"),
]


@pytest.mark.parametrize(("network", "options", "message"), CASES)
def test_one_sentence(network, options, message):
    with pytest.raises(UserError, match=rf"^{message}$"):
        make_model(EVENT, network, **options)


@pytest.mark.parametrize("rate", [1.0, -0.1, 1, 2])
@pytest.mark.parametrize(
    ("network", "option"), [(n, o) for n in NETWORKS.names() for o in NETWORKS.options(n) if o.endswith("dropout")]
)
def test_dropout_is_a_rate(network, option, rate):
    with pytest.raises(UserError, match=rf"^network.{option} must be in \[0, 1\), not {float(rate)}$"):
        make_model(EVENT, network, **{option: rate})


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
