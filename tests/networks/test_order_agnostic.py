"""DeepNADE and ConvNADE against their definitions in numpy, and what predicting from any observed sites promises."""

from __future__ import annotations

import functools

import jax
import law_cases as cases
import numpy as np
import pytest
from families import slow
from numpy_layers import convolve

from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model
from arjax.networks import NETWORKS
from arjax.testing.network import check_autoregressive

EVENT = EventSpec((3, 4), (), "levels", 3)
CLOSE = {"rtol": 1e-3, "atol": 1e-3}
NAMES = ("deep_nade", "conv_nade")


def build(network: str, event: EventSpec = EVENT, context: ContextSpec | None = None, **options):
    choice = {"ordering": "random(seed=2)", "partition": "sizes(sizes=(5, 3, 4))"} | options
    options = dict(NETWORKS.get(network).SMALL) | choice | ({} if context is None else {"context": context})
    model = make_model(event, network, **options)
    return model, cases.params_of(model)


@functools.partial(jax.jit, static_argnums=(0, 5))
def given(network, params, x, observed, context=None, train=False, key=None):
    rngs = None if key is None else {"dropout": key}
    return network.apply({"params": params}, x, observed, context, train=train, rngs=rngs, method="given")


def one_hot(x: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """(x * m, m) of one example [D], a row of four numbers per site."""
    return np.array([[*((x[i] == v) * observed[i] for v in range(3)), observed[i]] for i in range(len(x))], float)


def mlp(params, planes: np.ndarray) -> np.ndarray:
    """Features [D, F] from planes [D, n + 1]: the same weights whatever is observed."""
    h = params["in_bias"].astype(float)
    for i, row in enumerate(planes):
        h = h + row @ params["in_kernel"][i]
    h = np.maximum(h, 0)
    for i in range(1, 1 + sum(name.startswith("hidden_") for name in params)):
        h = np.maximum(h @ params[f"hidden_{i}"]["kernel"] + params[f"hidden_{i}"]["bias"], 0)
    return np.stack([h @ kernel + bias for kernel, bias in zip(params["out_kernel"], params["out_bias"], strict=True)])


def square(size: int) -> list[tuple[int, int]]:
    return [(a - size // 2, b - size // 2) for a, b in np.ndindex(size, size)]


def definition(network, params, x: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Features [H, W, F] of one example from the equations."""
    planes = one_hot(x.ravel(), observed.ravel())
    total = mlp(params["mlp"], planes).reshape(*x.shape, -1) if "mlp" in params else 0.0
    if "conv_0" not in params:
        return total
    maps = planes.reshape(*x.shape, 4)
    for i in range(network.num_layers):
        maps = np.maximum(convolve(params[f"conv_{i}"], maps, square(network.kernel_size)), 0)
    return total + convolve(params["out"], maps, square(network.kernel_size))


@pytest.mark.parametrize(
    ("network", "options"),
    [
        slow("deep_nade", {"hidden_sizes": (9,)}),
        ("deep_nade", {"hidden_sizes": (9, 7, 5)}),
        slow("conv_nade", {"hidden_sizes": (), "num_layers": 2}),
        ("conv_nade", {"hidden_sizes": (8, 6), "kernel_size": 5}),
    ],
)
def test_features_follow_the_definition(network, options):
    model, params = build(network, **options)
    x, rng = cases.random_x(EVENT, 4), np.random.default_rng(3)
    observed = rng.integers(0, 2, (4, 3, 4)).astype(bool)
    features = given(model.network, params, x, observed)
    expected = [definition(model.network, params, *one) for one in zip(x, observed, strict=True)]
    np.testing.assert_allclose(features, expected, **CLOSE)


COLUMNS = EventSpec(
    (4,),
    kind="columns",
    columns=(
        EventSpec((), (), "tokens", 5),
        EventSpec((), (), "binary"),
        EventSpec((), (), "real"),
        EventSpec((), (), "tokens", 3),
    ),
)


@pytest.mark.parametrize(
    ("network", "event", "context"),
    [("deep_nade", COLUMNS, ContextSpec("label", 3)), slow("deep_nade", EVENT, None), ("conv_nade", EVENT, None)],
)
def test_the_features_of_one_site_are_those_that_all_sites_have(network, event, context):
    """Also with missing values, by one program for all sites."""
    model, params = build(network, event, context, ordering="raster", partition="sites")
    x = cases.random_x(event, 6)
    if event.columns:
        x[0, 0] = x[1, 2] = np.nan
    observed = np.random.default_rng(1).integers(0, 2, x.shape).astype(bool)
    c = None if context is None else cases.random_context(context, 6)
    expected = np.asarray(given(model.network, params, x, observed, c)).reshape(6, event.num_sites, -1)
    found = jax.jit(lambda site: model.features_given_at(params, x, observed, site, context=c))
    for site in range(event.num_sites):
        np.testing.assert_allclose(found(site), expected[:, site], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", NAMES)
@pytest.mark.parametrize(
    ("partition", "context"),
    [
        ("sizes(sizes=(5, 3, 4))", ContextSpec("label", 3)),
        slow("sites", ContextSpec("label", 3)),
        slow("sites", None),
        slow("sizes(sizes=(5, 3, 4))", None),
    ],
)
def test_step_t_is_the_form_given_the_sites_of_earlier_steps(network, partition, context):
    model, params = build(network, context=context, partition=partition)
    x, step = cases.random_x(EVENT, 4), np.asarray(model.factorization.step).reshape(3, 4)
    c = None if context is None else cases.random_context(context, 4)
    features = np.asarray(cases.parallel(model.network, params, x, model.factorization, c)).reshape(4, 3, 4, -1)
    for t in range(model.factorization.num_steps):
        observed = np.broadcast_to(step < t, x.shape)
        expected = np.asarray(given(model.network, params, x, observed, c))
        np.testing.assert_allclose(features[:, step == t], expected[:, step == t], **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize("network", NAMES)
def test_dropout_differs_from_step_to_step(network):
    model, params = build(network, partition="sites", dropout=0.5)
    x, step = cases.random_x(EVENT, 2), np.asarray(model.factorization.step).reshape(3, 4)
    features = jax.jit(model.features, static_argnames="train")
    trained = np.asarray(features(params, x, train=True, key=jax.random.key(0)) - features(params, x))
    assert len({float(trained[0, step == t][0, 0]) for t in range(12)}) == 12
    once = given(model.network, params, x, step[None].repeat(2, 0) < 6, None, True, jax.random.key(0))
    assert np.abs(np.asarray(once) - given(model.network, params, x, step[None].repeat(2, 0) < 6)).max() > 1e-3


def test_convolutions_alone_see_their_neighbourhood():
    event = EventSpec((5, 6))
    model, params = build("conv_nade", event, partition="sites", hidden_sizes=(), num_layers=1)
    declared = model.network.dependencies(model.factorization)
    assert declared.sum() < np.asarray(model.factorization.mask()).sum()
    rows, columns = np.divmod(np.arange(30), 6)
    near = np.maximum(abs(rows[:, None] - rows), abs(columns[:, None] - columns)) <= 2
    np.testing.assert_array_equal(declared, near & np.asarray(model.factorization.mask()))
    check_autoregressive(model, params)


@pytest.mark.slow
def test_context_changes_what_distant_pixels_mean():
    """Of conv_nade: the fully connected part, which alone sees so far, knows the context too."""
    event = EventSpec((2, 9))
    model, params = build("conv_nade", event, ContextSpec("label", 3), partition="sites", num_layers=1)
    x = np.zeros((4, 2, 9), np.int32)
    x[2:, 0, 0] = 1
    features = np.asarray(given(model.network, params, x, np.ones_like(x, bool), {"label": np.array([0, 1, 0, 1])}))
    assert np.abs(features[0] - features[1] - features[2] + features[3])[:, -1].max() > 1e-2


def test_sequences_are_no_pictures(monkeypatch):
    """The sentence names the networks that can, without one whose name belongs to two packages."""
    monkeypatch.setitem(NETWORKS._disputed, "gru", "network 'gru' is registered twice")
    refusal = r"^conv_nade needs a grid of two dimensions, not \(6,\) \(networks that can: (?!.*\bgru\b)"
    with pytest.raises(UserError, match=refusal):
        make_model(EventSpec((6,)), "conv_nade")
