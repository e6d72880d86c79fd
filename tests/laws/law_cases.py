"""What the laws are checked on: every registered network, ordering, partition, conditional and sampler, kept small."""

import functools
import itertools
import os
import types

import jax
import jax.numpy as jnp
import pytest

from arjax.conditionals import CONDITIONALS, make_conditional
from arjax.core.errors import UserError
from arjax.factorization import ORDERINGS, PARTITIONS
from arjax.models import AutoregressiveModel
from arjax.networks import NETWORKS
from arjax.samplers.base import Steps
from arjax.testing import CONTEXTS, EVENTS
from arjax.testing.examples import BATCH, all_values, another_part, random_context, random_like, random_x  # noqa: F401
from arjax.testing.forms import dependence, log_prob, parallel, stepwise  # noqa: F401
from arjax.testing.models import gentle_params_of, params_of, served_model, small_model  # noqa: F401

#: Options for the components that cannot be called without; a new component of that kind needs a line here.
ORDERING_OPTIONS = {"tiles": "(height=2, width=2)", "random": "(seed=1)", "list": "(order=(3, 0, 5, 1, 4, 2))"}
PARTITION_OPTIONS = {"blocks": "(size=2)", "sizes": "(sizes=(1, 3, 2))"}
ORDERING_CALLS = [name + ORDERING_OPTIONS.get(name, "") for name in ORDERINGS.names()]
PARTITION_CALLS = [name + PARTITION_OPTIONS.get(name, "") for name in PARTITIONS.names()]
#: Run on many combinations, and under all orderings and conditionals.
THOROUGH = ("made",)
#: What laws 1, 3 and 4 take of a network: alike, so that they share its model and its compiled programs.
COMBINATIONS = list(itertools.product(EVENTS, PARTITION_CALLS))
#: Every block structure, and every kind of data on the structure that has steps of different sizes.
STRUCTURES = [(event, cut) for event, cut in COMBINATIONS if event == "levels_vector" or "(1, 3, 2)" in cut]


def some(calls, network, every=3):
    """Every third of the calls, from another one for each network; all with ARJAX_ALL_LAWS, or if it is thorough."""
    if network in THOROUGH or os.environ.get("ARJAX_ALL_LAWS"):
        return calls
    return calls[NETWORKS.names().index(network) % min(every, len(calls)) :: every] if calls else calls


def own(network, combinations, every=1):
    """The combination that the fast suite takes of a network other than `made`: another one each."""
    return combinations[NETWORKS.names().index(network) // every % len(combinations)]


def each_network(names, combinations, thorough=None, every=1, takes=lambda network: True):
    """Runs a test for every network and combination of the arguments `names`; most are slow. The fast suite takes all
    combinations, or the `thorough` ones, of `made`, and of every so-manieth network that `takes` says its own one.
    """
    rows, thorough = [], combinations if thorough is None else thorough
    for place, network in enumerate(NETWORKS.names()):
        taken = place % every == 0 and takes(network)
        fast = thorough if network in THOROUGH else [own(network, combinations, every)] if taken else []
        marks = [() if combination in fast else pytest.mark.slow for combination in combinations]
        rows += [pytest.param(network, *c, marks=mark) for c, mark in zip(combinations, marks, strict=True)]
    return pytest.mark.parametrize(["network", *names], rows)


EACH_CONTEXT = [(name,) for name in CONTEXTS]


def models_of(network: str, event: str, partition: str) -> list[AutoregressiveModel]:
    """The models of a combination, under some of the orders, on which laws 1, 3 and 4 try a network: of tokens where it
    refuses the event, and of single sites only where it serves the partition under none of them.
    """
    orders = some(ORDERING_CALLS, network)
    for kind in (event, "tokens"):
        models = [served_model(network, EVENTS[kind], ordering, partition) for ordering in orders]
        served = {id(model): model for model in models if not isinstance(model, str)}.values()
        if served:
            break
    fewest = min((model.factorization.num_steps for model in served), default=0)
    return [model for model in served if model.factorization.num_steps == fewest]


def model_in_context(network: str, context: str) -> AutoregressiveModel | str:
    """The model on which laws 1 and 3 try a context: one, so that both run the same compiled program."""
    choice = {"partition": "sizes(sizes=(1, 3, 2))", "context": CONTEXTS[context]}
    return served_model(network, EVENTS["tokens"], "random(seed=1)", **choice)


#: Options for conditionals that would be large without.
CONDITIONAL_OPTIONS = {"nested": "(hidden_sizes=(12,), features=6)"}


@functools.partial(jax.jit, static_argnums=0)
def drawn_from(conditional, features, keys, canvas, observed, factorization):
    """What the naive sampler draws under these keys where its passes give these features [B, D, F]."""
    model = types.SimpleNamespace(conditional=conditional, factorization=factorization)
    steps = Steps(model, {}, keys, observed, 1.0)

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
    "beta": "(low=-2, high=2, min_log_shape=1.3)",
    "mixture_of_products": "(components=2, base='gaussian(min_log_scale=-1.0)')",
}
REAL_CONDITIONALS = [
    name + REAL_OPTIONS.get(name, "(min_log_scale=-1.0)") for name in fitting_conditionals(EVENTS["real"])
]
EACH_REAL = [(call,) for call in REAL_CONDITIONALS]
