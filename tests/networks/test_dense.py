"""Dense networks against their definitions, in plain numpy loops: MADE (Germain et al., 2015), the network that keeps
to a graph (Chen et al., 2023), independent sites, separate networks, FVSBN and NADE.
"""

from __future__ import annotations

import functools
import itertools

import jax
import law_cases as cases
import numpy as np
import pytest
from families import slow
from numpy_layers import built, check, random_like
from scipy import special

from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model
from arjax.networks.dense.made import places

LINE = EventSpec((6,))
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def paper(x, params, step, depth):
    """Logits of equations (8)-(13) for inputs of these steps and degrees as evenly over 0, ..., D - 2 as whole numbers
    allow; with the mean of U * M wherever there is a U.
    """
    below, below_degrees = x.astype(float), step
    for layer in range(depth):
        W, b = params[f"hidden_{layer}_kernel"].T, params[f"hidden_{layer}_bias"]
        m = np.array([k * (len(step) - 1) // len(b) for k in range(len(b))])
        M_W = m[:, None] >= below_degrees[None, :]  # equations (8), (13)
        of_mask = (params.get(f"hidden_{layer}_mask_kernel", 0 * W.T).T * M_W).mean(1)
        below, below_degrees = np.maximum(0, b + of_mask + below @ (W * M_W).T), m
    M_V = step[:, None] > below_degrees[None, :]  # equation (9)
    of_mask = (params.get("out_mask_kernel", 0 * params["out_kernel"]).T * M_V).mean(1)
    logits = params["out_bias"] + of_mask + below @ (params["out_kernel"].T * M_V).T
    if "direct_kernel" in params:
        M_A = step[:, None] > step[None, :]  # section 3: a strictly triangular mask
        logits += x @ (params["direct_kernel"].T * M_A).T
    return logits


ARCHITECTURES = [((13, 4), True, True), ((11,), False, False), ((13, 4), False, True), ((11,), True, False)]


@pytest.mark.parametrize(
    ("hidden_sizes", "direct", "by_mask"),
    [
        each if each in ARCHITECTURES else slow(*each)
        for each in itertools.product([(11,), (13, 4)], [True, False], [True, False])
    ],
)
@pytest.mark.parametrize("ordering", ["raster", "random(seed=3)"])
def test_logits_follow_the_paper(ordering, hidden_sizes, direct, by_mask):
    """In one pass and step by step."""
    options = {"hidden_sizes": hidden_sizes, "direct": direct, "condition_on_masks": by_mask}
    model, params = built(LINE, "made", ordering=ordering, **options)
    x = cases.random_x(LINE, 5)
    assert ("direct_kernel" in params) is direct
    expected = paper(x, params, model.factorization.rank, len(hidden_sizes))
    features = cases.parallel(model.network, params, x, model.factorization)[..., 0]
    np.testing.assert_allclose(features, expected, **CLOSE)
    steps = cases.stepwise(model.network, params, x, 1 - x, model.factorization)[..., 0]
    np.testing.assert_allclose(steps, expected, **CLOSE)


def test_structured_made_keeps_to_a_graph():
    """Units belong to sites: one of site s sees the parents of s, and feeds whatever has these parents, or more."""
    sizes = (9, 7)
    model, params = built(LINE, "structured_made", hidden_sizes=sizes, graph="window(size=2)", direct=True)
    x = cases.random_x(LINE, 5)
    parents = [set(range(max(i - 2, 0), i)) for i in range(6)]
    below = x.astype(float)
    fed = [{j} for j in range(6)]  # a unit or an input feeds those whose parents contain these sites
    for layer, size in enumerate(sizes):
        reads = [parents[s] for s in places(size, 6)]
        M = np.array([[unit <= above for above in reads] for unit in fed])
        below = np.maximum(below @ (params[f"hidden_{layer}_kernel"] * M) + params[f"hidden_{layer}_bias"], 0)
        fed = reads
    M_V = np.array([[unit <= parents[i] for i in range(6)] for unit in fed])
    M_A = np.array([[j in parents[i] for i in range(6)] for j in range(6)])
    expected = params["out_bias"] + below @ (params["out_kernel"] * M_V) + x @ (params["direct_kernel"] * M_A)
    np.testing.assert_allclose(jax.jit(model.features)(params, x)[..., 0], expected, **CLOSE)


@pytest.mark.parametrize(
    ("partition", "sizes"),
    [
        *(("sites", (4,)), ("blocks(size=2)", (40, 3)), ("sites", (3, 40))),
        *(slow("blocks(size=2)", (4,)), slow("sites", (40, 3)), slow("blocks(size=2)", (3, 40))),
    ],
)
def test_too_few_units_without_direct_connections_miss_sites_and_say_so(sizes, partition):
    """Law 1 for masks that do not reach: what is declared is exactly what is read."""
    choice = {"ordering": "random(seed=2)", "partition": partition, "activation": "tanh", "hidden_sizes": sizes}
    model = make_model(EventSpec((10,)), "made", direct=False, **choice)
    declared = model.network.dependencies(model.factorization)
    assert declared.sum() < np.asarray(model.factorization.mask()).sum() or partition != "sites"
    depends = cases.dependence(model.network, cases.params_of(model), model.factorization, num=16)
    np.testing.assert_array_equal(depends, declared)
    everything = make_model(EventSpec((10,)), "made", direct=True, **choice)
    np.testing.assert_array_equal(everything.network.dependencies(model.factorization), model.factorization.mask())


BINARY = EventSpec((7,))
LEVELS = EventSpec((5,), (2,), "levels", 3)


def inputs_of(one: np.ndarray, event: EventSpec) -> np.ndarray:
    """[D, n]: bits as they are, levels one-hot."""
    if event.num_levels == 2:
        return one.reshape(event.num_sites, -1)
    return np.eye(event.num_levels)[one].reshape(event.num_sites, -1)


def site_bias(params, c) -> np.ndarray:
    bias = params["bias"]
    return bias if c is None else bias + params["context"]["table"]["embedding"][c].reshape(bias.shape)


def linear(params, inputs_Dn, steps_D, num_features) -> np.ndarray:
    """sum of W_ij x_j over the sites j of earlier steps."""
    num_sites, n = inputs_Dn.shape
    W = params["kernel"].reshape(num_sites, n, num_sites, num_features)
    out = np.zeros((num_sites, num_features))
    for i in range(num_sites):
        for j in range(num_sites):
            if steps_D[j] < steps_D[i]:
                out[i] += inputs_Dn[j] @ W[j, :, i]
    return out


def fvsbn(params, inputs_Dn, steps_D, c) -> np.ndarray:
    constant = site_bias(params["site"], c)
    return constant + linear(params["earlier"], inputs_Dn, steps_D, constant.shape[1])


def nade(params, inputs_Dn, steps_D, c, *, act=special.expit) -> np.ndarray:
    """Algorithm 1 of Larochelle & Murray (2011), with the sites of a step in the place of one site."""
    out = np.array(site_bias(params["site"], c))
    a = params["hidden_bias"].astype(float)
    if c is not None:
        a = a + params["hidden_context"]["table"]["embedding"][c]
    for t in range(steps_D.max() + 1):
        h = act(a)
        for i in np.flatnonzero(steps_D == t):
            out[i] += h @ params["out_kernel"][i]
        for i in np.flatnonzero(steps_D == t):
            a = a + inputs_Dn[i] @ params["in_kernel"][i]
    return out


def nade_and_fvsbn(params, inputs_Dn, steps_D, c) -> np.ndarray:
    out = nade(params, inputs_Dn, steps_D, c)
    return out + linear(params["earlier"], inputs_Dn, steps_D, out.shape[1])


def separate(params, inputs_Dn, steps_D, c) -> np.ndarray:
    """A perceptron per site that is given its predecessors alone."""
    W, V, depth = params["hidden_0_kernel"], params["out_kernel"], sum("hidden" in name for name in params) // 2
    num_sites, n = inputs_Dn.shape
    added = np.zeros(params["hidden_0_bias"].shape)
    if c is not None:
        added = params["context"]["table"]["embedding"][c].reshape(added.shape)
    out = []
    for i in range(num_sites):
        seen = steps_D < steps_D[i]
        h = inputs_Dn[seen].ravel() @ W[i].reshape(num_sites, n, W.shape[-1])[seen].reshape(seen.sum() * n, W.shape[-1])
        h = np.maximum(h + params["hidden_0_bias"][i] + added[i], 0)
        for layer in range(1, depth):
            h = np.maximum(h @ params[f"hidden_{layer}_kernel"][i] + params[f"hidden_{layer}_bias"][i], 0)
        out.append(h @ V[i] + params["out_bias"][i])
    return np.array(out)


DEFINITIONS = {
    "independent": ({}, lambda params, inputs_Dn, steps_D, c: site_bias(params["site"], c)),
    "fvsbn": ({}, fvsbn),
    "nade": ({"hidden_size": 6}, nade),
    "nade, direct": ({"hidden_size": 6, "direct": True, "steps_per_chunk": 3}, nade_and_fvsbn),
    "nade, relu": (
        {"hidden_size": 6, "activation": "relu", "steps_per_chunk": 1},
        functools.partial(nade, act=lambda a: np.maximum(a, 0)),
    ),
    "separate": ({"hidden_sizes": (6,)}, separate),
    "separate, deep": ({"hidden_sizes": (6, 5, 4)}, separate),
}


EVENTS = {"binary": BINARY, "levels_vector": LEVELS}
ORDERS = [("raster", (1,)), ("random(seed=3)", (1,)), ("random(seed=1)", (2, 1)), ("raster", ())]


def every_definition():
    """Under all orders of all events: for each definition another one of both, and the rest is slow."""
    for i, name in enumerate(DEFINITIONS):
        cases = list(itertools.product(ORDERS, EVENTS))
        for k, (order, event) in enumerate(cases):
            yield pytest.param(name, *order, event, marks=() if k == 3 * i % len(cases) else pytest.mark.slow)


def check_definition(name, event, **choice):
    options, definition = DEFINITIONS[name]
    model, params = built(event, name.partition(",")[0], **options, **choice)
    steps = np.asarray(model.factorization.step)

    def of_one(x, context=None):
        return definition(params, inputs_of(x, event), steps, None if context is None else context["label"])

    check(model, params, of_one, tolerance=1e-3)


@pytest.mark.parametrize(("name", "ordering", "sizes", "event"), list(every_definition()))
def test_features_follow_the_definition(name, ordering, sizes, event):
    """Single sites, blocks of uneven sizes, and one block of everything."""
    event = EVENTS[event]
    partition = "sites" if sizes == (1,) else f"sizes(sizes={(*sizes, event.num_sites - sum(sizes))})"
    check_definition(name, event, ordering=ordering, partition=partition)


@pytest.mark.slow
@pytest.mark.parametrize("name", DEFINITIONS)
def test_context_enters_as_defined(name):
    check_definition(name, BINARY, context=ContextSpec("label", 4), ordering="random(seed=3)")


@pytest.mark.slow
def test_memory_of_nade_does_not_grow_with_all_its_hidden_states():
    """The gradient keeps one a per chunk: far less than one per step."""
    event, size, batch = EventSpec((256,)), 64, 32
    model = make_model(event, "nade", hidden_size=size)
    shapes = model.param_shapes
    x = jax.ShapeDtypeStruct((batch, 256), np.int32)
    gradient = jax.jit(jax.grad(lambda p, x: model.log_prob(p, x).mean())).lower(shapes, x).compile()
    of_all_steps = 4 * batch * 256 * size
    assert gradient.memory_analysis().temp_size_in_bytes < of_all_steps


def test_nade_drops_a_unit_in_all_steps_of_an_example():
    """With W = 0 and V = 1, all sites of an example have one and the same sum over the units that are kept."""
    model = make_model(BINARY, "nade", hidden_size=10, dropout=0.5)
    params = jax.tree.map(np.zeros_like, random_like(model.param_shapes, 1.0))
    params["out_kernel"] += 1
    x = cases.random_x(BINARY, 8)
    features = jax.jit(lambda p, key: model.features(p, x, train=True, key=key))(params, jax.random.key(0))[..., 0]
    kept = np.asarray(features)[:, 0]  # of sigma(0) = 1/2, at twice the size: the number of units kept
    np.testing.assert_allclose(features, np.repeat(kept[:, None], 7, 1), rtol=1e-5)
    np.testing.assert_allclose(kept, np.round(kept), atol=1e-4)
    assert len(set(np.round(kept))) > 1


@pytest.mark.slow
def test_a_step_of_nade_costs_no_more_on_long_sequences():
    def flops(num_sites):
        model = make_model(EventSpec((num_sites,)), "nade", hidden_size=32)
        params, x = model.param_shapes, np.zeros((4, num_sites), np.int32)

        def step(params, a, x, t):
            carry = (a, np.zeros((4, num_sites, 1), np.float32))
            return model.network.apply({"params": params}, carry, x, t, model.factorization, method="step")[1]

        return jax.jit(step).lower(params, np.zeros((4, 32), np.float32), x, 3).compile().cost_analysis()["flops"]

    assert flops(400) < 1.1 * flops(40)
