"""Law 3, second half: any cut into extends and keeps, and several steps from those before all of them, each as if it
came next, give the features of the parallel form.

A few networks are fast: law 4 reads prompts with `extend` and `keep` of others, and tests/networks has the windows of
sparse attention.
"""

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from choice import each_network
from families import fast_for, slow

from arjax.core.spec import EventSpec
from arjax.factorization import from_order
from arjax.networks import NETWORKS
from arjax.networks.base import ChunkedNetwork
from arjax.testing.forms import ROUNDS, WINDOW, in_place_of
from arjax.testing.network import check_ahead, check_extends

#: Carries of two forms: a queue and a scan of the step; law 4 reads prompts into caches of keys.
EXTENDING = ("causal_conv", "rnn")
AHEAD = [name for name in NETWORKS.names() if "ahead" in NETWORKS.get(name).TRAITS]
#: Networks with an own way to look ahead, and one of those that read tokens in their order.
FAST_AHEAD = ("conv_nade", "masked_transformer", "transformer")


@cases.each_structure(thorough=(), takes=EXTENDING.__contains__)
def test_any_cut_equals_the_parallel_form(network, event, partition):
    for model in cases.models_of(network, event, partition)[:1]:
        check_extends(model, cases.params_of(model))


@cases.each_structure(thorough=(), takes=FAST_AHEAD.__contains__)
def test_each_of_the_next_steps_as_if_it_came_at_once(network, event, partition):
    if network in AHEAD:
        for model in cases.models_of(network, event, partition)[:1]:
            check_ahead(model, cases.params_of(model))


@each_network(["context"], cases.EACH_CONTEXT, thorough=(), takes=lambda network: False)
def test_both_in_a_context(network, context):
    model = cases.model_in_context(network, context)
    if not isinstance(model, str):
        for check in (check_extends, check_ahead) if network in AHEAD else (check_extends,):
            check(model, cases.params_of(model), cases.random_context(cases.CONTEXTS[context], cases.BATCH))


#: Those to which the steps of a block are independent of one another; tokens of a Transformer see their block.
BLIND = (slow("masked_transformer"), "deep_nade", slow("conv_nade"), slow("two_stream"))


@pytest.mark.parametrize("network", BLIND)
def test_the_next_steps_are_one_block(network):
    """The parallel pass in which they are one gives their features."""
    model = cases.small_model(network, cases.EVENTS["tokens"], "random(seed=1)", "sites")
    params, x = cases.params_of(model), cases.random_x(model.event, cases.BATCH)
    garbage = cases.random_x(model.event, 8, seed=1)
    found = in_place_of(model.network, params, x[:8], garbage, model.factorization, None, 3)
    order = np.asarray(model.factorization.order)
    block = from_order(order, [1, 1, 3, 1], model.event.grid_shape)
    expected = np.asarray(cases.parallel(model.network, params, x, block))[:8, order[2:5]]
    np.testing.assert_allclose(found[:, 2, :, 0], expected, atol=2e-5 * np.abs(expected).max())


LINE = EventSpec((16,), (), "tokens", 3)
#: Longer than rings, patterns and segments, and every way to attend.
LONGER = {
    "rotary, shared heads": ("transformer", LINE, {"num_kv_heads": 1, "rotary": True, "head_size": 8}),
    "blocks in a ring": ("local_transformer", LINE, {"window": 3, "partition": "sizes(sizes=(1, 3, 2, 3, 1, 2, 4))"}),
    "segments": ("transformer_xl", LINE, {"segment": 3, "memory": 2}),
    "segments of blocks": ("transformer_xl", LINE, {"segment": 2, "memory": 1, "partition": "blocks(size=2)"}),
    "a kernel of 1": ("causal_conv", LINE, {"kernel_size": 1, "num_layers": 2}),
    "dilated": ("wavenet", LINE, {"kernel_size": 3, "num_layers": 3, "dilation_cycle": 3}),
}


@pytest.mark.parametrize("name", [name if name == "a kernel of 1" else slow(name) for name in LONGER])
def test_cuts_of_longer_sequences(name):
    network, event, choice = LONGER[name]
    model = cases.small_model(network, event, **choice)
    assert model.factorization.num_steps <= ROUNDS * WINDOW  # what one example may read in all
    check_extends(model, cases.params_of(model))


@pytest.mark.parametrize("network", fast_for(("wavenet",)))
def test_a_window_may_be_longer_than_the_sequence(network):
    """From step 1 on of 6; the carry after the last step that exists is the last one there is."""
    if not issubclass(NETWORKS.get(network), ChunkedNetwork):
        return
    model = cases.supported_model(network, cases.EVENTS["tokens"], "snake", "sites")
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
