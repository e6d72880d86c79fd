"""Law 3: the step form gives the features of the parallel form."""

import law_cases as cases
from choice import each_network

from arjax.testing.network import check_steps


@cases.each_structure(thorough=cases.STRUCTURES[::3])
def test_step_form_equals_parallel_form(network, event, partition):
    for model in cases.models_of(network, event, partition):
        check_steps(model, cases.params_of(model))


@each_network(["context"], cases.EACH_CONTEXT, thorough=cases.EACH_CONTEXT[:1], every=16, takes=cases.is_cheap)
def test_step_form_with_context(network, context):
    model = cases.model_in_context(network, context)
    if not isinstance(model, str):
        check_steps(model, cases.params_of(model), cases.random_context(cases.CONTEXTS[context], cases.BATCH))
