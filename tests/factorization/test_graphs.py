"""Dependency graphs: windows, neighbourhoods, trees and given Bayesian networks."""

from __future__ import annotations

import math

import jax
import law_cases as cases
import numpy as np
import pytest
from compiled import of_family, of_model

from arjax.config import base_config, dataset_config, network_config
from arjax.config.build import build_model
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.data import make_dataset
from arjax.factorization import GRAPHS, make_factorization
from arjax.models import make_model
from arjax.networks import NETWORKS
from arjax.networks.dense.made import places

CALLS = {
    "window": "window(size=2)",
    "neighbours": "neighbours",
    "edges": "edges(arrows=((0, 1), (1, 4), (0, 4), (3, 5)))",
    "chow_liu_tree": "chow_liu_tree",
}
EVENT = EventSpec((2, 3))
SERVING = [name for name in NETWORKS.names() if "graphs" in NETWORKS.get(name).TRAITS]


_mask = jax.jit(lambda factorization: factorization.mask())


def mask_of(factorization) -> np.ndarray:
    return np.asarray(_mask(factorization))


def model_of(network, graph, event=EVENT, **choice):
    small = NETWORKS.get(network).SMALL
    return make_model(event, network, graph=graph, data=cases.random_x(event, 40), **choice, **small)


def test_graphs_are_the_arrows_they_name_and_all_are_tested():
    assert set(CALLS) == set(GRAPHS.names()) and len(SERVING) >= 2
    parents = mask_of(make_factorization((5,), graph="window(size=2)"))
    assert np.argwhere(parents).tolist() == [[1, 0], [2, 0], [2, 1], [3, 1], [3, 2], [4, 2], [4, 3]]
    blocks = mask_of(make_factorization((4,), partition="blocks(size=2)", graph="window(size=1)"))
    assert np.argwhere(blocks).tolist() == [[2, 0], [2, 1], [3, 0], [3, 1]]
    near = mask_of(make_factorization((3, 3), graph="neighbours"))
    assert np.flatnonzero(near[4]).tolist() == [0, 1, 2, 3] and np.flatnonzero(near[8]).tolist() == [4, 5, 7]
    given = mask_of(make_factorization((4,), "reversed", graph="edges(arrows=((3, 0), (2, 0)))"))
    assert np.argwhere(given).tolist() == [[0, 2], [0, 3]]


def test_a_chow_liu_tree_gives_every_site_one_parent():
    rng = np.random.default_rng(0)
    data = np.cumsum(rng.random((300, 6)) < 0.2, axis=1) % 2  # a chain: each bit is mostly the one before
    parents = mask_of(make_factorization((6,), "chow_liu", data=data, graph="chow_liu_tree"))
    assert sorted(parents.sum(1).tolist()) == [0, 1, 1, 1, 1, 1]
    assert all(abs(i - j) == 1 for i, j in np.argwhere(parents))


@pytest.mark.parametrize("graph", CALLS.values())
@pytest.mark.parametrize("network", SERVING)
def test_features_read_the_parents_and_nothing_else(network, graph):
    model = model_of(network, graph)
    seen = cases.dependence(model.network, cases.params_of(model), model.factorization)
    np.testing.assert_array_equal(seen, mask_of(model.factorization))
    np.testing.assert_array_equal(seen, model.network.dependencies(model.factorization))


@pytest.mark.parametrize("partition", [pytest.param("sites", marks=pytest.mark.slow), "blocks(size=2)"])
@pytest.mark.parametrize("network", SERVING)
def test_the_step_form_keeps_to_the_graph(network, partition):
    model = model_of(network, "window(size=1)", ordering="spiral", partition=partition)
    x, params = cases.random_x(EVENT, 8), cases.params_of(model)
    whole = np.asarray(cases.parallel(model.network, params, x, model.factorization))
    steps = cases.stepwise(model.network, params, x, cases.random_x(EVENT, 8, seed=3), model.factorization)
    np.testing.assert_allclose(whole, steps, atol=2e-5)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"direct": False}, marks=pytest.mark.slow),
        {"condition_on_masks": True},
    ],
)
def test_without_a_graph_a_structured_made_is_a_made(options):
    """The same masks on the same weights, but that MADE's units stand in the order of their degrees."""
    sizes = (15, 10)
    choice = {"ordering": "spiral", "hidden_sizes": sizes, **options}
    made, structured = (make_model(EVENT, name, **choice) for name in ("made", "structured_made"))
    params, x = cases.params_of(structured), cases.random_x(EVENT, 8)
    sorted_params = dict(params)
    for i, size in enumerate(sizes):
        turn, after = np.argsort(places(size, 6), kind="stable"), f"hidden_{i + 1}" if i == 0 else "out"
        for name in sorted_params:
            if name.startswith(f"hidden_{i}_"):
                sorted_params[name] = sorted_params[name][..., turn]
            if name.startswith(after) and name.endswith("kernel"):
                sorted_params[name] = sorted_params[name][turn]
    found = [of_model(model, "features", p, x) for model, p in ((made, sorted_params), (structured, params))]
    np.testing.assert_allclose(*found, atol=1e-5)


def test_layers_of_few_units_serve_the_same_sites_spread_over_the_order():
    few, more, all_sites = (places(size, 100) for size in (10, 50, 99))
    assert set(few) < set(more) < set(all_sites) == set(range(1, 100))
    assert np.diff(np.sort(few)).max() <= 20 and np.diff(np.sort(more)).max() <= 4


@pytest.mark.parametrize("graph", ["window(size=0)", pytest.param("neighbours(distance=0)", marks=pytest.mark.slow)])
@pytest.mark.parametrize("network", [SERVING[0], *(pytest.param(n, marks=pytest.mark.slow) for n in SERVING[1:])])
def test_a_graph_without_arrows_is_independence(network, graph):
    """Scores compiled with their network: products with an empty mask have been compiled wrongly."""
    event = EventSpec((4,), (2,), "levels", 256)
    model = model_of(network, graph, event)
    params, x = cases.params_of(model), cases.random_x(event, 3)
    features_BDF = np.asarray(cases.parallel(model.network, params, x, model.factorization))
    np.testing.assert_array_equal(features_BDF, np.broadcast_to(features_BDF[:1], features_BDF.shape))
    apart = np.asarray(of_family(model.conditional, "log_prob", features_BDF, x)).sum(-1)
    np.testing.assert_allclose(of_model(model, "log_prob", params, x), apart, rtol=1e-5)


@pytest.mark.parametrize("sizes", [(3,), (24, 7)])
@pytest.mark.parametrize("graph", CALLS.values())
def test_units_without_direct_connections_lead_where_they_say(graph, sizes):
    """Few units do not reach all parents, and none reaches anything else."""
    choice = {"hidden_sizes": sizes, "direct": False, "activation": "tanh"}  # relu may be 0 on all examples
    model = make_model(EVENT, "structured_made", graph=graph, data=cases.random_x(EVENT, 40), **choice)
    params, declared = cases.params_of(model), model.network.dependencies(model.factorization)
    np.testing.assert_array_equal(cases.dependence(model.network, params, model.factorization), declared)
    assert not (declared & ~mask_of(model.factorization)).any() and declared.any()


@pytest.mark.parametrize("network", [SERVING[0], *(pytest.param(n, marks=pytest.mark.slow) for n in SERVING[1:])])
def test_a_markov_chain_is_normalised_and_forgets(network):
    """In a chain of order one, p(x_3 | x_1, x_2) = p(x_3 | x_2): computed from the joint over all values."""
    event = EventSpec((4,))
    model = model_of(network, "window(size=1)", event)
    joint = np.exp(cases.log_prob(model, cases.all_values(event))).reshape(2, 2, 2, 2)
    assert joint.sum() == pytest.approx(1, abs=1e-5)
    three = joint.sum(3)
    given_both = three / three.sum(2, keepdims=True)
    np.testing.assert_allclose(given_both[0], given_both[1], atol=1e-5)
    samples = np.asarray(model.sample(cases.params_of(model), jax.random.key(0), 4000))
    counts = np.zeros((2, 2, 2, 2))
    np.add.at(counts, tuple(samples.T), 1 / 4000)
    assert np.abs(counts - joint).sum() / 2 < 0.05


@pytest.mark.parametrize(
    ("graph", "sentence"),
    [
        ("edges(arrows=((3, 1),))", "edge from site 3, drawn in step 3, to site 1, drawn in step 1"),
        ("edges(arrows=((1, 1),))", "use an ordering that visits parents first"),
        ("edges(arrows=((0, 9),))", r"sites from 0 to 5, not \(0, 9\)"),
        ("edges(arrows=((0, 1, 2),))", "an edge is"),
        ("edges(arrows=7)", "an edge is"),
        ("windw(size=1)", "did you mean 'window'"),
        ("chow_liu_tree", "the graph 'chow_liu_tree' is read off training examples: give them as `data`"),
    ],
)
def test_impossible_graphs_are_refused(graph, sentence):
    with pytest.raises(UserError, match=sentence):
        make_model(EVENT, "fvsbn", graph=graph)


def test_networks_that_read_everything_are_refused():
    with pytest.raises(UserError, match=r"reads all earlier sites.*networks that can: .*fvsbn"):
        make_model(EVENT, "made", graph="window(size=1)")
    with pytest.raises(UserError, match="goes with one order"):
        make_model(EVENT, "fvsbn", graph="window(size=1)", orders="uniform")
    model = make_model(EVENT, "lstm", hidden_size=4)
    other = make_factorization((2, 3), graph="window(size=1)")
    with pytest.raises(UserError, match="not the parents of a graph"):
        model.log_prob(cases.random_like(model.param_shapes), cases.random_x(EVENT, 2), factorization=other)


def test_a_graph_of_the_config_reaches_the_model():
    config = base_config()
    config.dataset = dataset_config("digits")
    config.network = network_config("fvsbn")
    config.model.update(graph="chow_liu_tree", ordering="chow_liu")
    model = build_model(config, make_dataset("digits"))
    assert mask_of(model.factorization).sum() == 63
    x = np.asarray(make_dataset("digits").splits["test"].arrays.x[:2])
    score = jax.jit(lambda key: model.log_prob(model.init(key), x))(jax.random.key(0))
    assert -score.mean() / 64 / math.log(17) == pytest.approx(1, abs=0.05)
