"""The networks and combinations that the fast suite takes of a test of all; the others are slow."""

import os

import pytest

from arjax.testing.models import autoregressive_networks

#: Run on many combinations, and under all orderings and conditionals.
THOROUGH = ("made",)
#: Their programs are the largest: the fast suite takes the smallest of each combination, and few laws with contexts.
DEAR = ("delta_net", "lmconv", "mamba2", "mlstm", "pixelcnn_pp", "pixelsnail", "sparse_transformer")
#: Whether slow tests are left out anyway: they are many thousands, and take seconds to collect.
FAST_ALONE = os.environ.get("PYTEST_MARKS") == "not slow"


def some(calls, network, every=3):
    """Every third of the calls, from another one for each network; all with ARJAX_ALL_LAWS, or if it is thorough."""
    if network in THOROUGH or os.environ.get("ARJAX_ALL_LAWS"):
        return calls
    return calls[autoregressive_networks().index(network) % min(every, len(calls)) :: every] if calls else calls


def own(network, combinations, every=1):
    """The combination that the fast suite takes of a network other than `made`: another each, or the first."""
    return combinations[0 if network in DEAR else autoregressive_networks().index(network) // every % len(combinations)]


def each_network(names, combinations, thorough=None, others=None, every=1, takes=lambda network: True):
    """Runs a test for every network and combination of the arguments `names`. The fast suite takes all combinations, or
    the `thorough` ones, of `made`; and of every so-manieth network that `takes` says its own one, of all or `others`.
    """
    rows, slow, thorough = [], [], combinations if thorough is None else thorough
    for place, network in enumerate(autoregressive_networks()):
        taken = place % every == 0 and takes(network)
        fast = thorough if network in THOROUGH else [own(network, others or combinations, every)] if taken else []
        rows += [pytest.param(network, *combination) for combination in combinations if combination in fast]
        slow += [pytest.param(network, *c, marks=pytest.mark.slow) for c in combinations if c not in fast]
    return pytest.mark.parametrize(["network", *names], rows if rows and FAST_ALONE else rows + slow)
