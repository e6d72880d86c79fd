"""Law 3, third part: several steps from those before all of them, each as if it came next."""

import law_cases as cases
import numpy as np
import pytest
from choice import each_network

from arjax.factorization import from_order
from arjax.networks import NETWORKS
from arjax.testing.forms import in_place_of
from arjax.testing.network import check_ahead

AHEAD = [name for name in NETWORKS.names() if "ahead" in NETWORKS.get(name).TRAITS]


#: Networks with an own way to look ahead, and one of those that read tokens in their order.
FAST = ("conv_nade", "deep_nade", "masked_transformer", "two_stream", "transformer")


@cases.each_structure(thorough=(), takes=FAST.__contains__)
def test_each_of_the_next_steps_as_if_it_came_at_once(network, event, partition):
    if network in AHEAD:
        for model in cases.models_of(network, event, partition)[:1]:
            check_ahead(model, cases.params_of(model))


@each_network(["context"], cases.EACH_CONTEXT, thorough=(), takes=lambda network: False)
def test_each_of_the_next_steps_in_a_context(network, context):
    if network in AHEAD:
        model = cases.model_in_context(network, context)
        check_ahead(model, cases.params_of(model), cases.random_context(cases.CONTEXTS[context], cases.BATCH))


#: Those to which the steps of a block are independent of one another; tokens of a Transformer see their block.
BLIND = ("masked_transformer", "deep_nade", "conv_nade", "two_stream")


@pytest.mark.parametrize("network", [pytest.param(n, marks=[pytest.mark.slow] * (n != "two_stream")) for n in BLIND])
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
