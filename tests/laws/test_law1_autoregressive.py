"""Law 1: the features of site i depend on x_j exactly where `step[j] < step[i]`, and nowhere else."""

import jax
import law_cases as cases
import numpy as np
import pytest
from choice import each_network, own

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks.dense import made
from arjax.testing.laws import LawBroken
from arjax.testing.models import autoregressive_networks
from arjax.testing.network import check_autoregressive, check_own_places, check_parts, declared


@cases.each_structure(thorough=cases.STRUCTURES[::3])
def test_depends_on_earlier_steps_and_on_all_of_them(network, event, partition):
    for model in cases.models_of(network, event, partition):
        check_autoregressive(model, cases.params_of(model))


@pytest.mark.parametrize("network", autoregressive_networks())
def test_every_network_supports_something(network):
    """Else the laws would hold it to nothing."""
    assert cases.models_of(network, *own(network, cases.LONGER))


@each_network([], [()], takes=lambda network: False)
def test_jacobian_is_exactly_zero_where_it_must_be(network):
    model = cases.supported_model(network, cases.EVENTS["real"], "random(seed=1)", "sites")
    if isinstance(model, str):
        return
    params, x = cases.params_of(model), cases.random_x(model.event, 4)

    def features_of_one(x):
        return cases.parallel(model.network, params, x[None], model.factorization)[0]

    jacobian = jax.jit(jax.vmap(jax.jacrev(features_of_one)))(x).reshape(4, 6, 2, 6)
    np.testing.assert_array_equal((jacobian != 0).any((0, 2)), declared(model))


@each_network(["context"], cases.EACH_CONTEXT, every=16, takes=cases.is_cheap)  # as law 3
def test_context_reaches_every_site_and_opens_no_path(network, context):
    spec, model = cases.CONTEXTS[context], cases.model_in_context(network, context)
    if isinstance(model, str) or "context" not in model.network.traits:
        return
    params = cases.params_of(model)
    check_autoregressive(model, params, cases.random_context(spec, 8))
    check_parts(model, params, cases.random_context(spec, cases.BATCH))
    check_own_places(model, params)


@pytest.mark.parametrize("shift", [-1, 1])
def test_law_catches_a_mask_shifted_by_one(monkeypatch, shift):
    """The law itself: a MADE that sees its inputs one step too early or too late must not pass."""
    steps = made.input_steps
    monkeypatch.setattr(made, "input_steps", lambda event, factorization: steps(event, factorization) + shift)
    model = make_model(EventSpec((7,)), "made", hidden_sizes=(48 + shift,), direct=False)
    with pytest.raises(LawBroken, match="law 1: .* site . read" if shift < 0 else "law 1: .* do not read"):
        check_autoregressive(model, cases.params_of(model))
