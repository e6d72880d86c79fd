"""What steps make of the parameters alone is made once for all of them, and changes no value."""

import functools

import jax
import jax.extend.core
import law_cases as cases
import numpy as np
import pytest

from arjax.core.spec import EventSpec
from arjax.networks.base import PRECOMPUTED, step_variables
from arjax.samplers import Cached, Request, example_keys

#: Networks that are stacks of equal layers, and how deep they are here: no other axis is as long.
STACKS = {
    "transformer": {"num_layers": 5},
    "local_transformer": {"num_layers": 5},
    "transformer_xl": {"num_layers": 5},
    "two_stream": {"num_layers": 5},
    "rg_lru": {"num_layers": 5},
    "row_lstm": {"num_layers": 5},
    "diagonal_bilstm": {"num_layers": 5},
    "multiscale": {"num_layers": 5},
    "pixelsnail": {"num_blocks": 5},
    "pixelcnn_pp": {"num_resnets": 5, "num_scales": 1},
}


def loops(jaxpr):
    """The loops of a program that are in no other loop."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("scan", "while"):
            yield equation
        else:
            for inner in jax.extend.core.jaxprs_in_params(equation.params):
                yield from loops(inner)


@pytest.mark.slow
@pytest.mark.parametrize("network", STACKS)
def test_no_step_of_a_draw_cuts_a_stack_of_parameters(network):
    """XLA would copy all layers in every step."""
    model = cases.supported_model(network, EventSpec((2, 3)), "raster", "sites", **STACKS[network])
    params, canvas = cases.params_of(model), np.zeros((2, 2, 3), np.int32)
    arguments = params, example_keys(jax.random.key(0), 2), Request(canvas)
    program = jax.make_jaxpr(lambda *args: Cached()(model, *args))(*arguments).jaxpr
    steps = [loop for loop in loops(program) if loop.params.get("length") == 6]
    assert len(steps) == 1
    enter = [variable.aval.shape for variable in steps[0].invars]
    stacked = {leaf.shape for leaf in jax.tree.leaves(params) if leaf.shape[0] == 5 and len(leaf.shape) > 2}
    assert stacked and not stacked & set(enter)
    assert PRECOMPUTED in jax.eval_shape(functools.partial(step_variables, model.network), params)
