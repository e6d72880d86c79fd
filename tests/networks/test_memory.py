"""Recurrent and convolutional networks are linear in the number of sites: their programs make no array of D x D.

And what steps make of the parameters alone is made once for all of them.
"""

from __future__ import annotations

import functools

import jax
import jax.extend.core
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from families import operations, slow

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks import NETWORKS
from arjax.networks.base import PRECOMPUTED, step_variables
from arjax.samplers import Cached, Request, example_keys

LONG = EventSpec((256, 256))
#: Elements per site: width 8, times the gates of an LSTM or the taps of a convolution.
LINEAR = 64


def largest(model, form: str) -> int:
    """Size of the largest array in one form of a network, traced for one example and never run."""
    x = jnp.zeros((1, *model.event.shape), jnp.int32)
    shapes = model.param_shapes

    def parallel(params, factorization):
        return model.network.apply({"params": params}, x, factorization)

    def stepwise(params, factorization):
        variables = {"params": params}
        carry = model.network.apply(variables, 1, factorization, method="start")
        return model.network.apply(variables, carry, x, jnp.int32(3), factorization, method="step")

    program = {"parallel": parallel, "step": stepwise}[form]
    made = operations(jax.make_jaxpr(program)(shapes, model.factorization).jaxpr)
    return max(variable.aval.size for operation in made for variable in operation.outvars)


@pytest.mark.parametrize("form", ["parallel", "step"])
@pytest.mark.parametrize("ordering", [slow("raster"), "random(seed=1)"])
@pytest.mark.parametrize("network", ["lstm", "causal_conv", "rg_lru", *(slow(n) for n in ("wavenet", "tcn"))])
def test_linear_in_the_number_of_sites(network, ordering, form):
    small = dict(NETWORKS.get(network).SMALL) | {"hidden_size": 8}
    model = make_model(LONG, network, ordering=ordering, **small)
    assert largest(model, form) <= LINEAR * LONG.num_sites


#: Elements per site that a pattern of attention may need: pairs that it looks at, with those masked in its blocks.
PATTERNS = [
    ("local_transformer", {"window": 16}, 64),
    ("image_transformer", {"query_block": 16, "memory": 16}, 64),
    ("sparse_transformer", {"stride": 256}, 4 * 256),
    ("transformer_xl", {"segment": 16, "memory": 16}, 2 * 33),  # the shift of relative positions adds a column
]


@pytest.mark.slow
@pytest.mark.parametrize(("network", "options", "per_site"), PATTERNS)
def test_attention_along_a_pattern_grows_as_its_pairs(network, options, per_site):
    model = make_model(LONG, network, width=8, num_layers=1, num_heads=2, **options)
    assert largest(model, "parallel") <= max(per_site, LINEAR) * LONG.num_sites
    assert largest(model, "step") <= LINEAR * LONG.num_sites


@pytest.mark.parametrize("form", ["parallel", "step"])
def test_a_network_for_all_orders_is_linear_too(form):
    model = make_model(LONG, "deep_nade", hidden_sizes=(8, 8))
    assert largest(model, form) <= LINEAR * LONG.num_sites


def test_the_measure_sees_a_quadratic_array():
    model = make_model(EventSpec((512,)), "transformer", width=8, num_layers=1, num_heads=1)
    assert largest(model, "parallel") >= 512**2
    assert largest(model, "step") < 512**2  # one row of scores at a time


@pytest.mark.slow
@pytest.mark.parametrize("network", ["causal_conv", "wavenet", "tcn", "linear_attention", "rg_lru"])
def test_a_carry_does_not_grow_with_the_sequence(network):
    """So a step costs the same at any length, apart from the canvas."""

    def carry_shapes(num_sites: int) -> list[tuple[int, ...]]:
        model = make_model(EventSpec((num_sites,)), network, num_layers=2, position="none")
        start = functools.partial(model.network.apply, method="start")
        carry = jax.eval_shape(lambda params: start({"params": params}, 1, model.factorization), model.param_shapes)
        return [leaf.shape for leaf in jax.tree.leaves(carry)]

    assert carry_shapes(64) == carry_shapes(4096)


#: Networks that are stacks of equal layers, and how deep they are here: no other axis is as long.
LAYERED = ("transformer", "local_transformer", "transformer_xl", "two_stream", "rg_lru", "row_lstm", "multiscale")
STACKS = {name: {"num_layers": 5} for name in (*LAYERED, "diagonal_bilstm")} | {
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
