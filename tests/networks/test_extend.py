"""Windows of steps in one pass: longer sequences than rings, patterns and segments, and every way to attend."""

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from families import fast_for

from arjax.core.spec import EventSpec
from arjax.networks import NETWORKS
from arjax.networks.base import ChunkedNetwork
from arjax.testing.forms import ROUNDS, WINDOW
from arjax.testing.network import check_extends

LINE, PICTURE = EventSpec((16,), (), "tokens", 3), EventSpec((4, 4), (), "levels", 4)
MODELS = {
    "rotary, shared heads": ("transformer", LINE, {"num_kv_heads": 1, "rotary": True, "head_size": 8}),
    "blocks in a ring": ("local_transformer", LINE, {"window": 3, "partition": "sizes(sizes=(1, 3, 2, 3, 1, 2, 4))"}),
    "tiles": (
        "image_transformer",
        PICTURE,
        {"query_block": (2, 2), "memory": (1, 1), "ordering": "tiles(height=2, width=2)"},
    ),
    "segments": ("transformer_xl", LINE, {"segment": 3, "memory": 2}),
    "segments of blocks": ("transformer_xl", LINE, {"segment": 2, "memory": 1, "partition": "blocks(size=2)"}),
    "a kernel of 1": ("causal_conv", LINE, {"kernel_size": 1, "num_layers": 2}),
    "dilated": ("wavenet", LINE, {"kernel_size": 3, "num_layers": 3, "dilation_cycle": 3}),
}
#: One way to attend of each family; tests of sparse attention have its patterns, and law 3 short sequences of all.
FAST = ("blocks in a ring",)
CUT_ROUNDS = ROUNDS * WINDOW  # what one example may read in all


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in FAST)) for name in MODELS])
def test_cuts_of_longer_sequences(name):
    network, event, choice = MODELS[name]
    model = cases.small_model(network, event, **choice)
    assert model.factorization.num_steps <= CUT_ROUNDS
    check_extends(model, cases.params_of(model))


#: Two ways to remember steps: all of them, and queues of convolutions.
MEMORIES = ("wavenet",)


@pytest.mark.parametrize("name", fast_for(MEMORIES))
def test_a_window_may_be_longer_than_the_sequence(name):
    """From step 1 on of 6; the carry after the last step that exists is the last one there is."""
    if not issubclass(NETWORKS.get(name), ChunkedNetwork):
        return
    model = cases.supported_model(name, cases.EVENTS["tokens"], "snake", "sites")
    network, factorization, params = model.network, model.factorization, cases.params_of(model)
    x, variables = cases.random_x(model.event, 4), {"params": params}

    @jax.jit
    def read(x, n):
        carry = network.apply(variables, 4, factorization, method="start")
        carry, _ = network.apply(variables, carry, x, jnp.int32(0), factorization, method="step")
        carries, features = network.apply(variables, carry, x, jnp.int32(1), 9, factorization, method="extend")
        carry = network.apply(variables, carries, n, method="keep")
        return features, network.apply(variables, carry, x, 1 + n, factorization, method="step")[1]

    expected = np.asarray(cases.parallel(network, params, x, factorization))[:, np.asarray(factorization.order)]
    for n in (0, 4):
        features, after = map(np.asarray, read(x, n))
        assert np.isfinite(features).all() and features.shape[:3] == (4, 9, 1)
        np.testing.assert_allclose(features[:, :5, 0], expected[:, 1:], atol=2e-5 * np.abs(expected).max())
        np.testing.assert_allclose(after[:, 0], expected[:, 1 + n], atol=2e-5 * np.abs(expected).max())
