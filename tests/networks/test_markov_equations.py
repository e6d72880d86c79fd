"""Markov chains and hidden Markov models against their definitions: sums over all paths, and tables by history."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy_layers import built, check
from scipy import special

from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model

TOKENS = EventSpec((6,), kind="tokens", num_levels=3)


def conditionals_of_paths(params, values):
    """log p(x_t = v | x_<t) from sums over all paths of the states, float64[T, V]."""
    params = {name: np.asarray(leaf, np.float64) for name, leaf in params.items()}
    initial, transitions, emissions = (
        special.softmax(params[name], -1) for name in ("initial", "transitions", "emissions")
    )

    def joint(values):
        total = 0.0
        for path in itertools.product(range(len(initial)), repeat=len(values)):
            p = 1.0
            for t, (z, x) in enumerate(zip(path, values, strict=True)):
                p *= (initial[z] if t == 0 else transitions[path[t - 1], z]) * emissions[z, x]
            total += p
        return total

    rows = [[joint([*values[:t], v]) for v in range(emissions.shape[1])] for t in range(len(values))]
    before = [[joint(values[:t])] for t in range(len(values))]
    return np.log(rows) - np.log(before)


@pytest.mark.parametrize("event", [TOKENS, EventSpec((2, 2))], ids=lambda event: event.kind)
def test_hidden_markov(event):
    """Rabiner (1989), equation 17: the features are the logarithms of the conditionals, or of their odds."""
    model, params = built(event, "hidden_markov", states=3, ordering="random(seed=1)")
    order = np.asarray(model.factorization.order)

    def definition(x):
        log_p = conditionals_of_paths(params, x.ravel()[order].tolist())
        features = np.empty((len(order), model.network.num_features))
        features[order] = log_p if event.kind == "tokens" else log_p[:, 1:] - log_p[:, :1]
        return features

    check(model, params, definition)


@pytest.mark.parametrize("order", [1, 2])
def test_markov(order):
    """A row for each history of at most `order` values: short ones first, then as numbers in base V."""
    model, params = built(TOKENS, "markov", order=order, ordering="random(seed=1)")
    lengths = [history for n in range(order + 1) for history in itertools.product(range(3), repeat=n)]
    row_of = {history: row for row, history in enumerate(lengths)}
    assert params["table"].shape == (len(lengths), 3)
    visited = np.asarray(model.factorization.order)

    def definition(x):
        features = np.empty((6, 3))
        for t, site in enumerate(visited):
            history = tuple(x[visited[max(0, t - order) : t]].tolist())
            features[site] = params["table"][row_of[history]]
        return features

    check(model, params, definition)


@pytest.mark.parametrize("network", ["hidden_markov", "markov"])
@pytest.mark.parametrize(
    ("event", "choice", "words"),
    [
        (EventSpec((4,), kind="real"), {}, "one whole number per site"),
        (EventSpec((4,), (2,)), {}, "one whole number per site"),
        (TOKENS, {"partition": "blocks(size=2)"}, "one site in a step"),
        (TOKENS, {"context": ContextSpec("label", 2)}, "no input for a context"),
        (TOKENS, {"orders": "uniform"}, "needs one order"),
    ],
    ids=["real", "vectors", "blocks", "context", "orders"],
)
def test_other_data_is_refused(network, event, choice, words):
    with pytest.raises(UserError, match=words):
        make_model(event, network, **choice)


def test_features_that_are_no_probabilities_are_refused():
    with pytest.raises(UserError, match="log-probabilities of 3 values, and the conditional reads 4"):
        make_model(TOKENS, "hidden_markov", conditional="mixture_of_products(components=1)")
