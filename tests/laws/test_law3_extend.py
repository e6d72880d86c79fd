"""Law 3, second half: any cut into extends and keeps gives the features of the parallel form.

Some networks are fast: law 4 reads prompts with `extend` and `keep` of all.
"""

import law_cases as cases
from choice import each_network

from arjax.networks import NETWORKS
from arjax.testing.network import check_extends

#: Every network that extends in one pass, and some of the others, which scan their step.
EXTENDING = [name for n, name in enumerate(NETWORKS.names()) if NETWORKS.get(name).CHUNK > 1 or n % 10 == 6]


@cases.each_structure(thorough=(), every=3, takes=EXTENDING.__contains__)
def test_any_cut_equals_the_parallel_form(network, event, partition):
    model = cases.models_of(network, event, partition)[:1]
    if model:
        check_extends(model[0], cases.params_of(model[0]))


@each_network(["context"], cases.EACH_CONTEXT, thorough=(), every=8, takes=EXTENDING.__contains__)
def test_any_cut_equals_the_parallel_form_in_a_context(network, context):
    model = cases.model_in_context(network, context)
    if not isinstance(model, str):
        check_extends(model, cases.params_of(model), cases.random_context(cases.CONTEXTS[context], cases.BATCH))
