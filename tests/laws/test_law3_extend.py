"""Law 3, second half: any cut into extends and keeps gives the features of the parallel form."""

import law_cases as cases
import pytest
from cuts import check_cuts

from arjax.core.spec import NO_CONTEXT
from arjax.networks import NETWORKS

SIZES = "sizes(sizes=(1, 3, 2))"
#: Event, partition and context.
MODELS = [
    ("binary", "sites", ""),
    ("levels_vector", SIZES, ""),
    ("tokens", "sites", "sequence"),
    ("real", "blocks(size=2)", "several"),
    ("tokens", SIZES, "several"),
]


def some_models():
    """Two of the models for each network that extends in one pass, one for a third of the others; the rest is slow."""
    models = []
    for place, name in enumerate(NETWORKS.names()):
        at_once = NETWORKS.get(name).CHUNK > 1
        chosen = {place % len(MODELS)} if at_once or place % 3 == 0 else set()
        chosen |= {3} if at_once else set()
        for number in range(len(MODELS)):
            models.append(pytest.param(name, number, marks=() if number in chosen else pytest.mark.slow))
    return models


@pytest.mark.parametrize(("name", "number"), some_models())
def test_any_cut_equals_the_parallel_form(name, number):
    event, partition, context = MODELS[number]
    spec = cases.CONTEXTS[context] if context else NO_CONTEXT
    model = cases.served_model(name, cases.EVENTS[event], "random(seed=1)", partition, context=spec)
    if not isinstance(model, str):
        check_cuts(model, cases.params_of(model), cases.random_context(spec, cases.BATCH))
