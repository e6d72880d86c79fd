"""The first parameters of a run: one program, traced once, with one loop over the layers of a stack."""

import flax.linen as nn
import jax
import jax.extend.core
import numpy as np
import pytest

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.objectives import make_objective
from arjax.parallel.sharding import make_mesh, replicated
from arjax.training.optimizer import make_optimizer
from arjax.training.state import StepSpec, abstract_state, fresh_state, init_state


def test_the_program_of_the_first_state_finds_what_its_shapes_have_traced():
    model = make_model(EventSpec((5,), (), "levels", 3), "made", hidden_sizes=(13,))  # no other test has this one
    spec = StepSpec(model, make_objective("teacher_forcing"), make_optimizer("adam", 1e-3, 1), total_steps=1)
    mesh, traced = make_mesh(1, 1, 1, jax.devices()[:1]), []

    def count(method, args, kwargs, context):
        traced.append(context.method_name)
        return method(*args, **kwargs)

    key = jax.device_put(jax.random.key(0), replicated(mesh))
    with nn.intercept_methods(count):
        shapes = abstract_state(spec, mesh)
        calls = len(traced)
        state = init_state(spec, key, mesh)
    assert calls and len(traced) == calls
    assert jax.tree.map(lambda leaf: leaf.shape, state) == jax.tree.map(lambda leaf: leaf.shape, shapes)
    expected = jax.jit(lambda key: fresh_state(spec, key))(jax.random.key(0))
    for ours, theirs in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def draws(jaxpr):
    """The number of random draws that a program has, those of a loop counted as often as its body is written out."""
    total = sum(equation.primitive.name == "random_bits" for equation in jaxpr.eqns)
    for equation in jaxpr.eqns:
        scan = equation.params if equation.primitive.name == "scan" else {"unroll": 1, "length": 1}
        total += min(scan["unroll"], scan["length"]) * sum(
            map(draws, jax.extend.core.jaxprs_in_params(equation.params))
        )
    return total


@pytest.mark.parametrize("network", ["transformer", "delta_net", "row_lstm"])
def test_deeper_stacks_have_no_larger_program(network):
    def draws_of(num_layers):
        model = make_model(EventSpec((2, 3), (), "levels", 3), network, num_layers=num_layers)
        return draws(jax.make_jaxpr(model.init)(jax.random.key(0)).jaxpr)

    assert draws_of(4) == draws_of(2) > 0
