"""Samples of small models on a mesh: `python -c "import mesh_samples; mesh_samples.main()"` prints them as JSON."""

import json
from collections.abc import Callable

import jax
import law_cases as cases
import numpy as np

from arjax.core.spec import NO_CONTEXT, EventSpec
from arjax.evaluation.sampling import draw_on_mesh
from arjax.parallel.sharding import make_mesh, param_shardings
from arjax.testing.sampler import ready_sampler

#: Network, event, context and what else the model is made of: vectors whose entries depend on one another, and
#: real values, too.
CASES = [
    ("lstm", EventSpec((4,), (3,)), "", {"position": "none", "conditional": "nested(hidden_sizes=(6,), features=4)"}),
    ("transformer", EventSpec((2, 3), (), "tokens", 5), "several", {}),
    ("wavenet", EventSpec((6,), (), "real", 0), "", {"conditional": "logistic_mixture(components=2)"}),
]
NUM = 6  # does not divide over the 4 parts of the batch


def samples(data: int, fsdp: int, tensor: int, some: slice = slice(1)) -> dict[str, list]:
    """What the first of the models draws on a mesh of these axes, with parameters placed by the default rules."""
    mesh, found = make_mesh(data, fsdp, tensor), {}
    for network, event, context, choice in CASES[some]:
        spec = cases.CONTEXTS[context] if context else NO_CONTEXT
        model = cases.small_model(network, event, context=spec, **choice)
        params = cases.gentle_params_of(model)
        params = jax.device_put(params, param_shardings(params, mesh))
        contexts = cases.random_context(spec, NUM)
        x, stats = draw_on_mesh(model, params, jax.random.key(3), NUM, mesh, context=contexts)
        assert x.sharding.is_fully_replicated and stats["steps"].tolist() == [model.factorization.num_steps] * NUM
        found[network] = np.asarray(x).tolist()
        if len(event.grid_shape) == 1:  # a carry that goes on, and a window that slides
            longer = draw_on_mesh(model, params, jax.random.key(3), NUM, mesh, length=9)
            assert longer.x.shape == (NUM, 9, *event.value_shape)
            found[f"longer {network}"] = np.asarray(longer.x).tolist()
    return found


def more_samples(data: int, fsdp: int, tensor: int) -> dict[str, list]:
    """The same of the others."""
    return samples(data, fsdp, tensor, slice(1, None))


#: Samplers of a model of all orders.
SAMPLERS = (
    "fixed_point",
    "fixed_point(window=3)",
    "speculative(draft='self', window=3)",
    "speculative(draft='counts(order=1)', window=3, coupling='rejection')",
    "parallel(steps=3, choose='confidence')",
    "greedy",
    "beam(width=3)",
    "best(of=2)",
)


def samples_of_all(data: int, fsdp: int, tensor: int) -> dict[str, list]:
    """The draws of every sampler on a mesh of these axes."""
    mesh, found = make_mesh(data, fsdp, tensor), {}
    model = cases.small_model("two_stream", EventSpec((2, 3), (), "tokens", 5), orders="uniform")
    params = cases.gentle_params_of(model)
    placed = jax.device_put(params, param_shardings(params, mesh))
    for call in SAMPLERS:
        sampler = ready_sampler(call, model, params)
        found[call] = np.asarray(draw_on_mesh(model, placed, jax.random.key(3), NUM, mesh, sampler=sampler).x).tolist()
    return found


def main(draws: Callable[[int, int, int], dict[str, list]] = samples) -> None:
    """On 8 devices."""
    print("found", json.dumps(draws(2, 2, 2)))
