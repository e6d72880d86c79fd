"""Law 3: the step form gives the features of the parallel form."""

import law_cases as cases
import numpy as np
import pytest

from arjax.networks import NETWORKS

#: Largest allowed difference in float32, relative to the largest feature; bfloat16 has its own, see test_precision.py.
TOLERANCE = 2e-5


@pytest.mark.parametrize("partition", cases.PARTITION_CALLS)
@pytest.mark.parametrize("event", cases.EVENTS)
@pytest.mark.parametrize("network", NETWORKS.names())
def test_step_form_equals_parallel_form(network, event, partition):
    orders = cases.some(cases.ORDERING_CALLS, network)
    models = [cases.served_model(network, cases.EVENTS[event], order, partition) for order in orders]
    for model in {id(model): model for model in models}.values():
        if not isinstance(model, str):
            _check(model)


@pytest.mark.parametrize("context", cases.CONTEXTS)
@pytest.mark.parametrize("network", NETWORKS.names())
def test_step_form_with_context(network, context):
    model = cases.model_in_context(network, context)
    if not isinstance(model, str):
        _check(model, cases.random_context(cases.CONTEXTS[context], cases.BATCH))


def _check(model, context=None):
    params = cases.params_of(model)
    x, garbage = cases.random_x(model.event, cases.BATCH), cases.random_x(model.event, cases.BATCH, seed=1)
    parallel = np.asarray(cases.parallel(model.network, params, x, model.factorization, context))
    stepwise = np.asarray(cases.stepwise(model.network, params, x, garbage, model.factorization, context))
    assert np.abs(parallel - stepwise).max() <= TOLERANCE * np.abs(parallel).max()
