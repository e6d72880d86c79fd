"""Law 3: the step form gives the features of the parallel form."""

import law_cases as cases
import numpy as np
from choice import each_network

#: Largest allowed difference in float32, relative to the largest feature; bfloat16 has its own, see test_precision.py.
TOLERANCE = 2e-5


@cases.each_structure(thorough=cases.STRUCTURES)
def test_step_form_equals_parallel_form(network, event, partition):
    for model in cases.models_of(network, event, partition):
        _check(model)


@each_network(["context"], cases.EACH_CONTEXT, every=4)
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
