"""Law 3: the step form gives the features of the parallel form."""

import law_cases as cases
import numpy as np
import pytest

from arjax.networks import NETWORKS

#: Largest allowed difference, relative to the largest feature, by compute type.
TOLERANCE = {"float32": 2e-5, "bfloat16": 4e-2}


@pytest.mark.parametrize("partition", cases.PARTITION_CALLS)
@pytest.mark.parametrize("event", cases.EVENTS)
@pytest.mark.parametrize("network", NETWORKS.names())
def test_step_form_equals_parallel_form(network, event, partition):
    checked = 0
    for ordering in cases.ORDERING_CALLS:
        model = cases.small_model(network, cases.EVENTS[event], ordering, partition)
        if isinstance(model, str):
            continue
        _check(model)
        checked += 1
    assert checked or isinstance(model, str)


@pytest.mark.parametrize("context", cases.CONTEXTS)
@pytest.mark.parametrize("network", NETWORKS.names())
def test_step_form_with_context(network, context):
    spec, cut = cases.CONTEXTS[context], "sizes(sizes=(1, 3, 2))"
    model = cases.served_model(network, cases.EVENTS["tokens"], "random(seed=1)", cut, context=spec)
    if not isinstance(model, str):
        _check(model, cases.random_context(spec, cases.BATCH))


@pytest.mark.parametrize("network", NETWORKS.names())
def test_step_form_in_bfloat16(network):
    model = cases.served_model(network, cases.EVENTS["binary"], "random(seed=1)", "blocks(size=2)", dtype="bfloat16")
    if not isinstance(model, str):
        _check(model)


def _check(model, context=None):
    params = cases.params_of(model)
    x, garbage = cases.random_x(model.event, cases.BATCH), cases.random_x(model.event, cases.BATCH, seed=1)
    parallel = np.asarray(cases.parallel(model.network, params, x, model.factorization, context))
    stepwise = np.asarray(cases.stepwise(model.network, params, x, garbage, model.factorization, context))
    assert np.abs(parallel - stepwise).max() <= TOLERANCE[model.network.dtype] * np.abs(parallel).max()
