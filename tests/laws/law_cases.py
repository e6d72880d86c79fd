"""What the laws are checked on: every registered network, ordering, partition, conditional and sampler, kept small."""

import functools
import itertools
import types

import jax
import jax.numpy as jnp
from choice import DEAR, each_network, some

from arjax.conditionals import CONDITIONALS, make_conditional
from arjax.core.errors import UserError
from arjax.factorization import ORDERINGS, PARTITIONS
from arjax.models import AutoregressiveModel
from arjax.samplers import Request
from arjax.samplers.base import Steps
from arjax.testing import CONTEXTS, EVENTS
from arjax.testing.examples import BATCH, all_values, random_context, random_like, random_x  # noqa: F401
from arjax.testing.forms import dependence, log_prob, parallel, stepwise  # noqa: F401
from arjax.testing.models import autoregressive_networks, gentle_params_of, params_of, small_model, supported_model  # noqa: F401

#: Options for the components that cannot be called without; a new component of that kind needs a line here.
ORDERING_OPTIONS = {"tiles": "(height=2, width=2)", "random": "(seed=1)", "list": "(order=(3, 0, 5, 1, 4, 2))"}
PARTITION_OPTIONS = {"blocks": "(size=2)", "sizes": "(sizes=(1, 3, 2))"}
ORDERING_CALLS = [name + ORDERING_OPTIONS.get(name, "") for name in ORDERINGS.names()]
PARTITION_CALLS = [name + PARTITION_OPTIONS.get(name, "") for name in PARTITIONS.names()]
#: What laws 1, 3 and 4 take of a network: alike, so that they share its model and its compiled programs.
COMBINATIONS = list(itertools.product(EVENTS, PARTITION_CALLS))
#: For `made`: every block structure, and every kind of data on the structure that has steps of different sizes.
STRUCTURES = [c for c in COMBINATIONS if c[0] == "levels_vector" or "(1, 3, 2)" in c[1] or c == ("tokens", "rows")]
#: For one other network each: of 3 steps or more, which two rows or scales are not.
LONGER = [c for c in COMBINATIONS if c[1] not in ("rows", "scales") or c == ("tokens", "rows")]
#: A draw with a cache takes the steps that law 3 compares with a pass, and its program is dearer: the fast suite draws
#: from a few networks.
IN_DRAWS = autoregressive_networks()[1::16]
each_structure = functools.partial(each_network, ["event", "partition"], COMBINATIONS, others=LONGER)


EACH_CONTEXT = [(name,) for name in CONTEXTS]


def is_cheap(network: str) -> bool:
    return network not in DEAR


def models_of(network: str, event: str, partition: str) -> list[AutoregressiveModel]:
    """The models of a combination, under some of the orders, on which laws 1, 3 and 4 try a network: of tokens where it
    refuses the event, and of single sites only where it supports the partition under none of them.
    """
    orders = some(ORDERING_CALLS, network)
    for kind in (event, "tokens"):
        models = [supported_model(network, EVENTS[kind], ordering, partition) for ordering in orders]
        supported = {id(model): model for model in models if not isinstance(model, str)}.values()
        if supported:
            break
    fewest = min((model.factorization.num_steps for model in supported), default=0)
    return [model for model in supported if model.factorization.num_steps == fewest]


def model_in_context(network: str, context: str) -> AutoregressiveModel | str:
    """The model on which laws 1 and 3 try a context: one, so that both run the same compiled program."""
    choice = {"partition": "sizes(sizes=(1, 3, 2))", "context": CONTEXTS[context]}
    return supported_model(network, EVENTS["tokens"], "random(seed=1)", **choice)


#: Options for conditionals that would be large without.
CONDITIONAL_OPTIONS = {"nested": "(hidden_sizes=(12,), features=6)"}


@functools.partial(jax.jit, static_argnums=0)
def drawn_from(conditional, features, keys, canvas, observed, factorization):
    """What the naive sampler draws under these keys where its passes give these features [B, D, F]."""
    event = types.SimpleNamespace(value_shape=conditional.value_shape)
    model = types.SimpleNamespace(conditional=conditional, factorization=factorization, event=event)
    steps = Steps(model, {}, keys, Request(observed=observed))

    def body(t, canvas):
        sites_M = jnp.minimum(factorization.sites(t)[0], factorization.num_sites - 1)
        return steps.fill(canvas, t, features[:, sites_M])

    return jax.lax.fori_loop(0, factorization.num_steps, body, canvas)


def fitting_conditionals(event):
    """The registered conditionals that can describe an event."""

    def fits(name):
        try:
            make_conditional(name, event)
        except UserError:
            return False
        return True

    return [name + CONDITIONAL_OPTIONS.get(name, "") for name in CONDITIONALS.names() if fits(name)]


#: Densities are integrated on grids: no scale may be so small that it falls between the points.
REAL_OPTIONS = {
    "mixture_of_products": "(components=2, base='gaussian(min_log_scale=-1.0)')",
    "spline": "(bins=2, bound=2, min_log_scale=0.5)",
}
REAL_CONDITIONALS = [
    name + REAL_OPTIONS.get(name, "(min_log_scale=-1.0)") for name in fitting_conditionals(EVENTS["real"])
]
EACH_REAL = [(call,) for call in REAL_CONDITIONALS]
