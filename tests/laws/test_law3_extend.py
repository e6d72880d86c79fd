"""Law 3, second half: any cut into extends and keeps gives the features of the parallel form.

A few networks are fast: law 4 reads prompts with `extend` and `keep` of others, and tests/networks has the windows of
sparse attention.
"""

import law_cases as cases
from choice import each_network

from arjax.testing.network import check_extends

#: Carries of each form: a queue, a cache of keys of relative positions, and a scan of the step.
EXTENDING = ("causal_conv", "transformer_xl", "rnn")


@cases.each_structure(thorough=(), takes=EXTENDING.__contains__)
def test_any_cut_equals_the_parallel_form(network, event, partition):
    model = cases.models_of(network, event, partition)[:1]
    if model:
        check_extends(model[0], cases.params_of(model[0]))


@each_network(["context"], cases.EACH_CONTEXT, thorough=(), takes=lambda network: False)
def test_any_cut_equals_the_parallel_form_in_a_context(network, context):
    model = cases.model_in_context(network, context)
    if not isinstance(model, str):
        check_extends(model, cases.params_of(model), cases.random_context(cases.CONTEXTS[context], cases.BATCH))
