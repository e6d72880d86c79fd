"""What a page holds: the description of a model for its scripts, its programs, and the arrays of these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.base import CONDITIONAL, bound
from arjax.core.errors import UserError, refuse
from arjax.core.traits import require
from arjax.data import Dataset
from arjax.factorization import order_name
from arjax.models import AutoregressiveModel, Model
from arjax.networks import NETWORKS
from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.page.program import Arrays, Program, numbered, translate
from arjax.reporting.reports import describe_scores

#: A page of more parameters would neither load nor answer in a useful time.
MOST_PARAMETERS = 10_000_000
#: Sites and values for which there is a place on the page.
MOST_SITES, MOST_LEVELS = 1600, 256


def contents(
    model: Model, params: Any, dataset: Dataset, results: Mapping[str, Any] | None
) -> tuple[dict[str, Any], list[np.ndarray], int]:
    """Returns the parts of the page of a model with its parameters: the description that the scripts read, as JSON
    without the arrays; the arrays, the weights first and then the constants of the programs; and the number of weights.

    There are three forms of pages. `any_order`: the network predicts from any set of observed sites, by one program
    `given`. `in_order` and `text`: it reads the sites in one order, by the programs `start` and `step`. The class on
    which the joint is conditioned is one more input of each program.
    """
    stepwise = require(model, "conditionals", "a page")
    check(stepwise, dataset)
    arrays = Arrays()
    weights = numbered(arrays, params)
    num_weights, form = len(arrays.arrays), page_form(stepwise, dataset)
    name = NETWORKS.name_of(type(stepwise.network)) or type(stepwise.network).__name__
    try:
        programs = _given(stepwise, arrays, weights) if form == "any_order" else _steps(stepwise, arrays, weights)
    except UserError as error:
        raise UserError(f"no page of the network {name!r}: {error}") from error
    vocabulary, classes = dataset.vocabulary, list(dataset.classes)
    for _, part in stepwise.context_spec.parts:
        classes = classes or list(map(str, range(part.num_levels)))
    description = {
        "form": form,
        "title": f"{dataset.name} · {name}",
        "about": about(stepwise, dataset, results),
        "grid": list(stepwise.event.grid_shape),
        "levels": stepwise.event.num_levels,
        "order": np.asarray(stepwise.factorization.order).tolist(),
        "order_name": order_name(stepwise.factorization),
        "classes": classes if stepwise.context_spec else [],
        "programs": programs,
    }
    if vocabulary is not None:
        description |= {"symbols": list(vocabulary.symbols), "end": vocabulary.end, "unknown": vocabulary.unknown}
    return description, arrays.arrays, num_weights


def page_form(model: AutoregressiveModel, dataset: Dataset) -> str:
    """The form of the page, see `contents`."""
    if dataset.vocabulary is not None:
        return "text"
    return "any_order" if isinstance(model.network, OrderAgnosticNetwork) else "in_order"


def check(model: AutoregressiveModel, dataset: Dataset) -> None:
    """Raises `UserError` in one sentence where a page cannot show the model."""
    event, form, context, conditional = model.event, page_form(model, dataset), model.context_spec, model.conditional
    is_text, dtype, size, here = form == "text", model.network.dtype, model.num_params, f"not {event.in_words}"
    no_levels = not 0 < event.num_values <= MOST_LEVELS
    too_large = not is_text and (len(event.grid_shape) > 2 or event.num_sites > MOST_SITES)
    is_class = len(context.parts) <= 1 and all(part.is_class for _, part in context.parts)
    in_blocks = form != "any_order" and model.factorization.block_size > 1
    is_backward = is_text and (np.asarray(model.factorization.order) != np.arange(event.num_sites)).any()
    no_table = "a page needs the probability of each value, which this conditional does not list"
    by_sites = "a page shows one site after another: use model.partition=sites, or a network for any order"
    few = f"a page has at most {MOST_PARAMETERS:,} parameters, and this model {size:,}"
    refuse(
        (no_levels, f"a page shows sites of one whole number below {MOST_LEVELS}, {here}"),
        (too_large, f"a page shows a vector or a grid of at most {MOST_SITES} sites, {here}"),
        (not is_class, "a page has a place for a context that is a class, and for no other"),
        (conditional.joint or not conditional.has_table, no_table),
        (in_blocks, by_sites),
        (dtype != "float32", f"a page computes in float32, and this network in {dtype}"),
        (size > MOST_PARAMETERS, few),
        (dataset.text_unit == "byte", "a page shows texts of characters: use dataset.tokens=characters"),
        (is_backward, "a page shows texts from left to right: use model.ordering=raster"),
    )


def about(model: AutoregressiveModel, dataset: Dataset, results: Mapping[str, Any] | None) -> list[str]:
    """Lines about the model: its size, its scores, and the numbers of the page."""
    lines = [f"{model!r}"]
    if results is not None:
        scores = describe_scores(results, model.event.has_bits)
        lines.append(f"{dataset.name} {results['split']}: {scores} ({results['kind']}).")
    lines += [
        "The bits of a value are -log2 p(value | the values that were there before it). Their sum is -log2 of the "
        "joint probability of the values, in the order in which they came.",
        "The entropy of a site is the mean number of bits that its value will have.",
    ]
    if page_form(model, dataset) == "text" and model.event.num_sites > 1:
        reach = f"The network reads at most {model.event.num_sites} characters"
        ends = dataset.vocabulary is not None and dataset.vocabulary.end is not None
        more = "; of a longer text it reads the last ones, at least half as many"
        lines.append(f"{reach}{'' if ends else more}.")
    return lines


def _given(model: AutoregressiveModel, arrays: Arrays, weights: Any) -> dict[str, Program]:
    """`given(x int32[1, *grid], observed bool[1, *grid], class) -> log p of all values of all sites, float32[D, V]`."""

    def given(params: Any, x: jax.Array, observed: jax.Array, context: Any) -> jax.Array:
        variables = {"params": _of_network(params)}
        features: Any = model.network.apply(variables, x, observed, context or None, method="given")
        table = bound(model.conditional, params).log_table(features)
        return table.reshape(model.event.num_sites, model.event.num_levels)

    x = jax.ShapeDtypeStruct((1, *model.event.grid_shape), jnp.int32)
    observed = jax.ShapeDtypeStruct(x.shape, jnp.bool_)
    return {"given": translate(given, arrays, weights, x, observed, _class_input(model))}


def _steps(model: AutoregressiveModel, arrays: Arrays, weights: Any) -> dict[str, Program]:
    """`start(class) -> carry`, `step(carry, canvas int32[1, *grid], t, class) -> log p of all values [V], carry`: of
    the site of step t, on a canvas with the values of the steps before t. A carry is some number of arrays.
    """
    network, factorization = model.network, model.factorization

    def start(params: Any, context: Any) -> Any:
        return network.apply({"params": _of_network(params)}, 1, factorization, context or None, method="start")

    def step(params: Any, carry: Any, canvas: jax.Array, t: jax.Array, context: Any) -> tuple[jax.Array, Any]:
        variables = {"params": _of_network(params)}
        made: Any = network.apply(variables, carry, canvas, t, factorization, context or None, method="step")
        carry, features = made
        sites_M, _ = factorization.sites(t)
        table = bound(model.conditional, params).at(sites_M).log_table(features[0])
        return table.reshape(model.event.num_levels), carry

    label = _class_input(model)
    carry = jax.eval_shape(start, model.param_shapes, label)
    canvas, t = jax.ShapeDtypeStruct((1, *model.event.grid_shape), jnp.int32), jax.ShapeDtypeStruct((), jnp.int32)
    made = translate(start, arrays, weights, label), translate(step, arrays, weights, carry, canvas, t, label)
    return dict(zip(("start", "step"), made, strict=True))


def _class_input(model: AutoregressiveModel) -> dict[str, jax.ShapeDtypeStruct]:
    """The context as the input of a program: the number of the class, int32[1]; nothing where there is no context."""
    return {name: jax.ShapeDtypeStruct((1,), jnp.int32) for name, _ in model.context_spec.parts}


def _of_network(params: Any) -> Any:
    return {name: part for name, part in params.items() if name != CONDITIONAL}
