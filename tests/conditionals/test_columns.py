"""Mixed columns: normalised with the measure of each column, samples follow, and what does not fit is refused."""

import functools
import itertools
import json

import jax
import numpy as np
import pytest
from scipy import stats

from arjax.conditionals import make_conditional
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.models import Recipe, make, make_model, recipe_of

KINDS = {"real": 0, "tokens": 3, "binary": 2}


def scalar(kind: str, num_levels: int | None = None) -> EventSpec:
    return EventSpec((), (), kind, num_levels)


EVENT = EventSpec((3,), kind="columns", columns=tuple(itertools.starmap(scalar, KINDS.items())))
#: Real values on a fine grid, and all values of the discrete columns.
GRID = np.linspace(-40, 40, 1601)
CELLS = np.array(list(itertools.product(GRID, range(3), range(2))), np.float32)


@functools.cache
def fitted(call: str):
    model = make_model(EVENT, "made", hidden_sizes=(12,), ordering="list(order=(1, 0, 2))", conditional=call)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32) / 2, model.param_shapes)
    return model, params, jax.jit(model.log_prob)


@pytest.mark.parametrize(
    "call",
    [
        "",
        pytest.param(
            "columns(real='gaussian_mixture(components=2)', tokens='categorical')", marks=pytest.mark.slow, id="mixture"
        ),
    ],
)
def test_probabilities_and_densities_together_integrate_to_one_and_samples_follow(call):
    model, params, log_prob = fitted(call)
    p = np.exp(np.asarray(log_prob(params, CELLS), np.float64)).reshape(len(GRID), 3, 2) * (GRID[1] - GRID[0])
    assert abs(p.sum() - 1) < 1e-3 and p.sum(0).std() > 0.02
    x = np.asarray(model.sample(params, jax.random.key(1), 4000))
    counts = np.zeros((3, 2))
    np.add.at(counts, (x[:, 1].astype(int), x[:, 2].astype(int)), 1)
    expected = p.sum(0) / p.sum()
    assert stats.chisquare(counts.ravel(), expected.ravel() * len(x)).pvalue > 1e-4
    cumulative = np.cumsum(p.sum((1, 2))) / p.sum()
    assert stats.kstest(np.interp(x[:, 0], GRID, cumulative), "uniform").pvalue > 1e-4


@functools.partial(jax.jit, static_argnums=0)
def facts(family, features, values):
    return family.log_prob(features, values), family.entropy(features), family.mode(features)


def test_each_column_has_the_score_of_its_own_family():
    columns = tuple(scalar(kind, KINDS[kind]) for kind in ("real", "binary", "tokens", "real", "binary"))
    family = make_conditional("columns", EventSpec((5,), kind="columns", columns=columns))
    features = np.random.default_rng(1).normal(size=(5, 5, family.num_params)).astype(np.float32)
    values = np.array([[0.3, 1, 2, -0.7, 0]] * 5, np.float32)
    together = list(map(np.asarray, facts(family, features, values)))
    for i, column in enumerate(columns):
        alone = make_conditional("", column)
        for found, own in zip(together, facts(alone, features[:, i, : alone.num_params], values[:, i]), strict=True):
            np.testing.assert_allclose(found[:, i], own, rtol=1e-6)
    sites = np.array([3, 0, 4])  # rounds of several sites score some columns, which are traced there

    @jax.jit
    def of_some(m, features, values):
        some = family.at(m)
        return some.log_prob(features[:, m], values[:, m]), some.entropy(features[:, m])

    for found, own in zip(of_some(sites, features, values), together, strict=False):
        np.testing.assert_allclose(found, own[:, sites], rtol=1e-6)


def test_columns_of_one_step_are_drawn_independently():
    """Noise of one key is the same numbers in arrays of other shapes, so families need keys of their own."""
    columns = tuple(scalar(kind, KINDS[kind]) for kind in ("tokens", "binary", "real"))
    family = make_conditional("columns", EventSpec((3,), kind="columns", columns=columns))
    features = np.zeros((3, family.num_params), np.float32)
    draw = jax.jit(jax.vmap(lambda key: family.sample(key, features)))
    tokens, binary, real = np.asarray(draw(jax.random.split(jax.random.key(0), 6000))).T
    counts = np.bincount((2 * tokens + binary).astype(int), minlength=6)
    assert stats.chisquare(counts).pvalue > 1e-4
    for column, num in ((tokens, 3), (binary, 2)):
        assert stats.f_oneway(*(real[column == value] for value in range(num))).pvalue > 1e-4


def test_what_does_not_fit_is_one_sentence():
    for call in ("gaussian", "categorical", "mixture_of_products", "nested", "ordinal", "logistic_mixture"):
        with pytest.raises(UserError, match=r"not columns: take columns$|single number"):
            make_conditional(call, EVENT)
    with pytest.raises(UserError, match="'columns' needs mixed columns, not real: take gaussian"):
        make_conditional("columns", EventSpec((3,), kind="real"))
    with pytest.raises(UserError, match="needs real data, not binary"):
        make_conditional("columns(binary='gaussian')", EVENT)
    with pytest.raises(UserError, match="cannot be that of one column"):
        make_conditional("columns(real='mixture_of_products')", EVENT)
    for options in ({"grid_shape": (3,)}, {"grid_shape": (2,), "columns": EVENT.columns}, {"grid_shape": (1, 3)}):
        with pytest.raises(UserError, match="needs `columns`, a tuple with the EventSpec of a scalar for each"):
            EventSpec(kind="columns", **options)
    with pytest.raises(UserError, match="real data has one kind for all sites: leave columns out"):
        EventSpec((3,), kind="real", columns=EVENT.columns)
    with pytest.raises(UserError, match="of which 'columns' has no list"):
        fitted("")[0].sample(fitted("")[1], jax.random.key(0), 2, top_k=1)


def test_a_model_of_columns_is_made_again_of_its_recipe():
    model, _, _ = fitted("columns(real='gaussian(min_log_scale=-3)')")
    recipe = recipe_of(model)
    again = make(Recipe.from_json(json.loads(json.dumps(recipe.as_json())), recipe.arrays))
    assert again.event == EVENT and again.conditional == model.conditional and again.network == model.network
