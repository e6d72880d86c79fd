"""Mixtures of Gaussians as models of tables, with words beside numbers, against numpy and direct integration; and
mixtures of engines.
"""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from refusals import refusal
from scipy import stats
from scipy.integrate import quad

import arjax
from arjax.core.errors import UserError
from arjax.core.normal import log_mass
from arjax.data.columns import Words
from arjax.interop.model_file import load_model, save_model
from arjax.models import make_model
from arjax.tables.any_order import AnyOrderTable, Sites
from arjax.tables.columns import Numbers
from arjax.tables.gaussian import Margin, WordTable, fit_margin
from arjax.tables.gaussian_fitting import Components, gaussian_table
from arjax.tables.mixed import MixedTable
from arjax.tables.table import TableModel, load_table
from arjax.testing.examples import random_like

RNG = np.random.default_rng(0)
WEIGHTS, MEANS = np.array([0.3, 0.7]), RNG.normal(size=(2, 3))
ROOTS = 0.6 * np.tril(RNG.normal(size=(2, 3, 3))) + 0.5 * np.eye(3)
COVARIANCES = ROOTS @ np.swapaxes(ROOTS, 1, 2)
PARTS = list(zip(WEIGHTS, MEANS, COVARIANCES, strict=True))
EDGES = tuple(np.linspace(-8.0, 8.0, 9).tolist())
#: Real numbers, whole numbers of a coarse grid, and numbers with a decimal.
REAL = Numbers("real", 0.0, EDGES[:-1], EDGES[1:], 0.0, 1.0, 100)
WHOLE = Numbers("whole", 1.0, (-8.0, -1.0, 0.0, 2.0), (-2.0, -1.0, 1.0, 8.0), 0.0, 1.0, 100, is_int=True)
TENTHS = Numbers("tenths", 0.1, (-8.0, -1.0, 1.0), (-1.1, 0.9, 8.0), 0.0, 1.0, 100)
COLUMNS = (REAL, WHOLE, TENTHS)
NOTHING = np.full((1, 3), np.nan)


def gaussian(columns=COLUMNS, power=1.0, size=1.0):
    return of_margins([Margin(column, 0.2, 1.5 * size, power, 0.1, 0.8) for column in columns])


def of_margins(margins):
    return gaussian_table(margins, [Components(WEIGHTS, MEANS, COVARIANCES)], math.exp(-14))


def any_order(columns=COLUMNS):
    sites = Sites(tuple(column.num_codes for column in columns))
    model = make_model(sites.event, "deep_nade", orders="uniform", hidden_sizes=(8,))
    return AnyOrderTable(columns, model, random_like(model.param_shapes))


@pytest.fixture(scope="module", params=[1.0, 0.5], ids=["plain", "power"])
def engine(request):
    return gaussian(power=request.param)


@pytest.fixture(scope="module")
def mixed():
    return MixedTable([any_order(), gaussian()], [0.4, 0.6])


@pytest.fixture(scope="module")
def table(mixed):
    return TableModel(mixed, np.tile(np.linspace(0, 5, 11), (3, 1)), {}, {})


def none(cells):
    return np.zeros(cells.shape, bool)


def test_log_prob_of_real_numbers_is_that_of_the_mixture():
    """Any values given any others, against the densities of scipy."""
    engine = gaussian([REAL, REAL, REAL])
    x = RNG.normal(size=(5, 3))
    z = np.stack([margin.forward(x[:, i]) for i, margin in enumerate(engine.margins)], 1)

    def log_p(some):
        parts = [
            np.log(w) + stats.multivariate_normal(m[some], c[np.ix_(some, some)]).logpdf(z[:, some])
            for w, m, c in PARTS
        ]
        return np.logaddexp.reduce(parts) - len(some) * math.log(1.5 * 0.8)

    np.testing.assert_allclose(engine.log_prob(x, none(x)), log_p([0, 1, 2]), rtol=1e-6)
    np.testing.assert_allclose(engine.log_prob(x, none(x), [2, 0, 1]), log_p([0, 1, 2]), rtol=1e-6)
    given = none(x)
    given[:, 1] = True
    np.testing.assert_allclose(engine.log_prob(x, given), log_p([0, 1, 2]) - log_p([1]), rtol=1e-6)
    x[:, 2] = np.nan
    np.testing.assert_allclose(engine.log_prob(x, none(x)), log_p([0, 1]), rtol=1e-6)
    assert engine.orders_agree


def test_rounded_numbers_have_the_mass_of_their_intervals(engine):
    """The sum over all whole numbers and tenths is 1; of one column alone, they have the masses of scipy."""
    cells = np.repeat(NOTHING, 41, 0)
    cells[:, 1] = np.arange(-20, 21)
    margin = engine.margins[1]
    ends = margin.forward(np.arange(-20.5, 21))
    cdf = sum(w * stats.norm(m[1], math.sqrt(c[1, 1])).cdf(ends) for w, m, c in PARTS)
    np.testing.assert_allclose(np.exp(engine.log_prob(cells, none(cells))), np.diff(cdf), atol=1e-9)
    grid = np.array([[np.nan, a, b] for a in range(-25, 26) for b in np.arange(-250, 251) / 10])
    for order in ([0, 1, 2], [2, 1, 0]):
        p = np.exp(engine.log_prob(grid, none(grid), order)) * 0.1  # a density in the unit of the tenths
        np.testing.assert_allclose(p.sum(), 1, atol=1e-4)


@pytest.mark.parametrize("size", [1e14, 1e15, 1e20])
def test_intervals_that_float64_loses_have_densities_times_their_length(size):
    """Whole numbers so large that their rounding intervals have no width on the scale of the columns."""
    whole, real = ([Numbers("n", step, (-size,), (size,), 0.0, size, 100, is_int=step == 1)] * 3 for step in (1.0, 0.0))
    x = np.round(size * RNG.normal(size=(4, 3)))
    found = [gaussian(columns, 0.5, size).log_prob(x, none(x)) for columns in (whole, real)]
    np.testing.assert_allclose(*found, rtol=1e-9)


@pytest.mark.parametrize("column", [0, 1, 2])
def test_conditionals_are_ratios_of_the_joint_distribution(engine, column):
    """p(code | others) is proportional to the joint, integrated or summed over the numbers that have the code."""
    cells = np.array([[0.3, 1.0, -0.4]])
    given = np.ones(cells.shape, bool)
    found = engine.code_table(cells, given, column)[0]
    order = [*(c for c in range(3) if c != column), column]
    margin = engine.margins[column]

    def joint(value):
        row = cells.copy()
        row[0, column] = value
        return float(np.exp(engine.log_prob(row, none(row), order)[0]))

    if column:
        step = margin.column.step
        ends = zip(margin.column.low, margin.column.high, strict=True)
        values = [np.arange(low, high + step / 2, step) for low, high in ends]
        expected = np.array([sum(map(joint, some)) for some in values])
    else:
        expected = np.array([quad(joint, low, high)[0] for low, high in itertools.pairwise(margin.edges)])
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=2e-3, atol=1e-9)


def test_the_chain_rule(engine, mixed):
    cells = np.array([[0.3, 1.0, -0.4], [-1.2, 0.0, 2.0]])
    for some, order in itertools.product((engine, mixed), ([0, 1, 2], [1, 2, 0])):
        total, given = np.zeros(2), none(cells)
        first = some.log_prob(np.where(np.arange(3) == order[0], cells, np.nan), given)
        given[:, order[0]] = True
        rest = some.log_prob(cells, given, order)
        if order == [0, 1, 2]:  # evidence is read in the order of the table
            np.testing.assert_allclose(first + rest, some.log_prob(cells, none(cells), order), rtol=1e-5)
        for c in range(3):
            row = np.where(np.arange(3) <= c, cells, np.nan)
            total = total + some.log_prob(row, np.repeat(np.arange(3)[None] < c, 2, 0), [c])
        np.testing.assert_allclose(total, some.log_prob(cells, none(cells), [0, 1, 2]), rtol=1e-5)


def test_means_are_those_of_the_distribution(engine):
    cells = np.array([[np.nan, 1.0, -0.4]])
    found = engine.means(cells, ~np.isnan(cells), 0)[0]
    drawn, _ = engine.draw(np.repeat(cells, 4000, 0), 0, None, np.random.default_rng(0))
    assert abs(found - drawn.mean()) < 4 * drawn.std() / math.sqrt(4000) + 0.01


def test_draws_follow_the_conditional_and_stay_in_range(engine):
    cells = np.repeat([[0.3, np.nan, np.nan]], 3000, 0)
    drawn = engine.complete(cells, ~np.isnan(cells), np.random.default_rng(1))
    assert (drawn[:, 0] == 0.3).all() and (drawn[:, 1] == np.round(drawn[:, 1])).all()
    assert abs(drawn[:, 1:]).max() <= 8
    np.testing.assert_allclose(drawn[:, 2], drawn[:, 2].round(1), atol=1e-9)
    p = engine.code_table(cells[:1], ~np.isnan(cells[:1]), 2)[0]
    counts = np.bincount(TENTHS.codes(drawn[:, 2]), minlength=3)
    assert ((counts - 3000 * p) ** 2 / (3000 * p)).sum() < 16


def test_a_range_is_the_sum_of_its_numbers(engine):
    condition = [(-1, 0), (2, 2)]
    drawn, log_mass = engine.draw(np.repeat(NOTHING, 500, 0), 1, condition, np.random.default_rng(0))
    assert set(drawn) == {-1.0, 0.0, 2.0}
    cells = np.repeat(NOTHING, 17, 0)
    cells[:, 1] = np.arange(-8, 9)
    p = np.exp(engine.log_prob(cells, none(cells)))
    np.testing.assert_allclose(np.exp(log_mass), (p[7] + p[8] + p[10]) / p.sum(), rtol=1e-4)
    assert engine.draw(NOTHING, 1, (9, 12), np.random.default_rng(0))[1][0] == -math.inf


@pytest.mark.parametrize("low", [-40.0, -3.0, 0.0, 2.0, 40.0])
@pytest.mark.parametrize("width", [1e-6, 1e-3, 0.5, 5.0])
def test_the_log_of_an_interval(low, width):
    expected = quad(lambda x: math.exp(-0.5 * (x * x - low * low)), low, low + width, points=[low + width / 50])[0]
    expected = math.log(expected) - 0.5 * (low * low + math.log(2 * math.pi))
    np.testing.assert_allclose(log_mass(np.array(low), np.array(low + width)), expected, rtol=1e-5)


def test_margins_have_inverses_and_slopes():
    for power in (-1.0, 0.0, 0.4, 1.0, 2.0, 3.0):
        margin = Margin(REAL, 0.2, 1.5, power, 0.1, 0.8)
        x = np.linspace(-3.9, 3.9, 11)
        np.testing.assert_allclose(margin.inverse(margin.forward(x)), x, atol=1e-9)
        slope = (margin.forward(x + 1e-5) - margin.forward(x - 1e-5)) / 2e-5
        np.testing.assert_allclose(margin.log_slope(x), np.log(slope), atol=1e-6)
    skewed = np.exp(RNG.normal(size=2000))
    z = fit_margin(REAL, skewed, is_power=True).forward(skewed)
    assert abs(z.mean()) < 1e-9 and abs(z.std() - 1) < 1e-9 and abs(stats.skew(z)) < 0.3 < abs(stats.skew(skewed))


def test_a_few_irregular_numbers_share_the_line():
    column = Numbers("v", 0.25, (0.0, 0.3, 1.0), (0.0, 0.3, 1.0), 0.3, 0.5, 100)
    margin = Margin(column, 0.3, 0.5)
    low, high = margin.bounds(np.array([0.0, 0.3, 1.0, 0.6]))
    np.testing.assert_allclose(low, [-0.125, 0.15, 0.65, 0.475])
    np.testing.assert_allclose(high, [0.15, 0.65, 1.125, 0.725])
    np.testing.assert_allclose(margin.snapped(np.array([-1, 0.2, 0.6, 0.7, 9])), [0, 0.3, 0.3, 1, 1])
    assert margin.parts((0.3, 1.0)) == [(0.15, 1.125)] and margin.parts((0.4, 0.9)) == []


def test_a_mixture_of_engines(mixed):
    cells = np.array([[0.3, 1.0, -0.4], [np.nan, 0.0, 2.0]])
    parts = [engine.log_prob(cells, none(cells)) for engine in mixed.engines]
    expected = np.log(0.4 * np.exp(parts[0]) + 0.6 * np.exp(parts[1]))
    np.testing.assert_allclose(mixed.log_prob(cells, none(cells)), expected, rtol=1e-9)
    given = none(cells)
    given[:, :2] = True
    evidence = np.array([[0.3, 1.0, np.nan], [np.nan, 0.0, np.nan]])
    before = [engine.log_prob(evidence, none(cells)) for engine in mixed.engines]
    r = 0.4 * np.exp(before[0]) / (0.4 * np.exp(before[0]) + 0.6 * np.exp(before[1]))
    tables = [engine.code_table(cells, given, 2) for engine in mixed.engines]
    expected = r[:, None] * tables[0] + (1 - r[:, None]) * tables[1]
    np.testing.assert_allclose(mixed.code_table(cells, given, 2), expected, rtol=1e-6)
    drawn = mixed.complete(np.repeat(evidence[:1], 2000, 0), np.repeat(~np.isnan(evidence[:1]), 2000, 0), RNG)
    p = mixed.code_table(cells[:1], given[:1], 2)[0]
    counts = np.bincount(TENTHS.codes(drawn[:, 2]), minlength=3)
    assert ((counts - 2000 * p) ** 2 / (2000 * p)).sum() < 16


@pytest.mark.parametrize("kind", ["gaussian", "mixed"])
def test_ranges_are_monotone_and_complements_add_up(kind, engine, mixed):
    table = TableModel(engine if kind == "gaussian" else mixed, np.zeros((3, 2)), {}, {})
    last = 0.0
    for high in (-2.5, -1.0, 0.05, 1.0, 8.0):
        found = table.probability({"real": (None, high)}, given={"whole": 1})
        assert found.value >= last and found.stderr == 0
        last = found.value
    np.testing.assert_allclose(last, 1, rtol=1e-6)
    low, high = (table.probability({"tenths": ends}).value for ends in ((None, 0.4), (0.5, None)))
    np.testing.assert_allclose(low + high, 1, rtol=1e-6)
    both = [table.probability({"whole": (-1, 3), "tenths": ends}) for ends in ((None, 0.4), (0.5, None))]
    one = table.probability({"whole": (-1, 3)})
    error = math.hypot(*(found.stderr for found in both))
    assert 0 < error < 0.05 and abs(both[0].value + both[1].value - one.value) < 4 * error


@pytest.mark.parametrize("kind", ["gaussian", "mixed"])
def test_several_ranges_are_estimated_without_bias(kind, engine, mixed):
    some = engine if kind == "gaussian" else mixed
    table = TableModel(some, np.zeros((3, 2)), {}, {})
    found = table.probability({"whole": (0, 2), "tenths": (-1, 0.9)}, num=4000)
    expected = 0.0
    for a in (0, 1, 2):
        row = np.array([np.nan, a, np.nan])
        expected += some.exact_mass(NOTHING[0], [(1, (a, a))])[0] * some.exact_mass(row, [(2, (-1, 0.9))])[0]
    assert abs(found.value - expected) < 4 * found.stderr < 0.1


def test_draws_with_conditions_fulfil_them(table):
    rows = table.sample(200, given={"whole": (0, 2), "tenths": [(-1, 0), 2.5]}, seed=1)
    assert set(rows["whole"]) <= {0, 1, 2} and all(-1 <= v <= 0 or v == 2.5 for v in rows["tenths"])
    assert all(isinstance(v, int) for v in rows["whole"]) and all(-8 <= v <= 8 for v in rows["real"])
    with pytest.raises(UserError, match="no row can have"):
        table.sample(2, given={"whole": (12, None)})
    full = table.impute({"real": [0.5, None], "whole": [None, 1], "tenths": [None, 0.3]})
    assert isinstance(full["whole"][0], int) and full["tenths"][0] == round(full["tenths"][0], 1)


def test_evidence_far_outside_is_no_error(engine):
    cells = np.array([[1e6, np.nan, np.nan], [-1e9, np.nan, 1e7]])
    drawn = engine.complete(cells, ~np.isnan(cells), np.random.default_rng(0))
    assert np.isfinite(drawn).all() and abs(drawn[:, 1]).max() <= 8
    np.testing.assert_allclose(engine.code_table(cells, ~np.isnan(cells), 1).sum(1), 1)
    assert np.isfinite(engine.means(cells, ~np.isnan(cells), 1)).all()


@pytest.mark.parametrize("place", [1e17, -1e60, 1e99])
def test_evidence_beyond_all_precision_has_probabilities(place, engine, mixed):
    cells = np.array([[np.nan, place, np.nan]])
    for each in (engine, mixed, MixedTable([engine, gaussian()], [0.5, 0.5])):
        for c in (0, 2):
            assert each.code_table(cells, ~np.isnan(cells), c).sum() == pytest.approx(1)
            low, high = each.columns[c].low[0], each.columns[c].high[-1]
            assert low <= each.means(cells, ~np.isnan(cells), c)[0] <= high
            drawn, log_mass = each.draw(cells, c, None, np.random.default_rng(0))
            assert low <= drawn[0] <= high and abs(log_mass[0]) < 1e-6  # of float32
            parts = [
                each.draw(cells, c, part, np.random.default_rng(0))[1][0] for part in [(None, -0.05), (-0.05, None)]
            ]
            assert np.exp(parts).sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("kind", ["gaussian", "mixed"])
def test_engines_are_saved_bit_for_bit(kind, engine, mixed, tmp_path):
    some = engine if kind == "gaussian" else mixed
    table = TableModel(some, np.tile(np.linspace(0, 5, 11), (3, 1)), {}, {})
    again = load_table(table.save(tmp_path / "t.safetensors"))
    rows = {"real": [0.5, None], "whole": [-3, 1], "tenths": [None, 0.3]}
    np.testing.assert_array_equal(again.log_prob(rows), table.log_prob(rows))
    assert again.sample(5, seed=3) == table.sample(5, seed=3) and again.in_words() == table.in_words()
    assert "mixture of 2 Gaussians" in again.in_words()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda engines: engines.pop(), "as many entries as there are models, 2"),
        (
            lambda engines: engines[0].update(kind="forest"),
            "kind must be one of any_order, gaussian, products, boosted, not 'forest'",
        ),
        (lambda engines: engines.reverse(), "the model of another kind of data"),
        (lambda engines: engines[1]["margins"].pop(), "its columns are not those of the model"),
        (lambda engines: engines[1].update(more=1), "unknown entry 'more'"),
    ],
)
def test_a_forged_file_is_one_sentence(table, tmp_path, change, sentence):
    saved = load_model(table.save(tmp_path / "t.safetensors"))
    change(saved.about["table"]["engines"])
    save_model(tmp_path / "t.safetensors", saved)
    assert sentence in refusal(load_table, tmp_path / "t.safetensors")


COLOUR = Words("colour", ("red", "green", "blue"))
P = np.array([[0.7, 0.2, 0.1], [0.05, 0.15, 0.8]])
NUMBERS = [0, 2, 3]
CELLS = np.array([[0.3, 0, -0.4, 1.1], [-0.2, 2, 0.9, 0.1], [1.5, 1, 0.0, -0.7]])


@pytest.fixture(scope="module")
def with_words():
    numbers = [Margin(dataclasses.replace(REAL, name=name), 0.2, 1.5, 1.0, 0.1, 0.8) for name in "abc"]
    return of_margins([numbers[0], WordTable(COLOUR, P), *numbers[1:]])


def log_joint(engine, cells, columns):
    """log p of some columns: sum_k w_k p_k(word) N_k(numbers)."""
    z = np.stack([engine.margins[c].forward(cells[:, c]) for c in NUMBERS], 1)
    dims = [NUMBERS.index(c) for c in columns if c != 1]
    terms = []
    for k in range(2):
        log_p = np.full(len(cells), math.log(WEIGHTS[k]))
        if dims:
            log_p += stats.multivariate_normal(MEANS[k][dims], COVARIANCES[k][np.ix_(dims, dims)]).logpdf(z[:, dims])
        terms.append(log_p + (np.log(P[k][cells[:, 1].astype(int)]) if 1 in columns else 0))
    return np.logaddexp.reduce(terms) - len(dims) * math.log(1.5 * 0.8)


@pytest.mark.parametrize(
    ("given", "asked"), [([], [0, 1, 2, 3]), ([1], [0, 3]), ([2, 0], [1]), ([0, 1], [2]), ([], [1])]
)
def test_any_columns_given_any_others(with_words, given, asked):
    cells = np.where(np.isin(np.arange(4), given + asked), CELLS, np.nan)
    marks = np.tile(np.isin(np.arange(4), given), (3, 1))
    expected = log_joint(with_words, CELLS, given + asked) - (log_joint(with_words, CELLS, given) if given else 0)
    for order in (None, [3, 2, 1, 0]):
        np.testing.assert_allclose(with_words.log_prob(cells, marks, order), expected, rtol=1e-6)


def test_words_and_numbers_given_the_others(with_words):
    """The table of words is the ratio of joints; the mean of a number follows the word."""
    others = CELLS.copy()
    others[:, 1] = np.nan
    p_NV = with_words.code_table(others, ~np.isnan(others), 1)
    joints = []
    for word in range(3):
        row = CELLS.copy()
        row[:, 1] = word
        joints.append(log_joint(with_words, row, [0, 1, 2, 3]))
    np.testing.assert_allclose(p_NV, np.exp(np.stack(joints, 1) - np.logaddexp.reduce(joints)[:, None]), rtol=1e-6)
    only_word = np.where(np.arange(4) == 1, CELLS, np.nan)
    r_KN = WEIGHTS[:, None] * P[:, CELLS[:, 1].astype(int)]
    for dim, c in enumerate(NUMBERS):  # numbers beyond the range count as its ends
        z_N = (r_KN / r_KN.sum(0) * MEANS[:, dim, None]).sum(0)
        found_N = with_words.means(only_word, ~np.isnan(only_word), c)
        np.testing.assert_allclose(found_N, with_words.margins[c].inverse(z_N), atol=0.02)


def test_words_are_drawn_as_often_as_they_are_probable(with_words):
    cells = np.repeat(np.where(np.arange(4) == 1, np.nan, CELLS[:1]), 4000, 0)
    p_V = with_words.code_table(cells[:1], ~np.isnan(cells[:1]), 1)[0]
    drawn, log_mass = with_words.draw(cells, 1, None, np.random.default_rng(0))
    counts = np.bincount(drawn.astype(int), minlength=3)
    assert ((counts - 4000 * p_V) ** 2 / (4000 * p_V)).sum() < 16 and (abs(log_mass) < 1e-9).all()
    drawn, log_mass = with_words.draw(cells, 1, ["green", "blue"], np.random.default_rng(0))
    assert set(drawn) <= {1.0, 2.0}
    np.testing.assert_allclose(np.exp(log_mass), p_V[1:].sum())
    mass = with_words.exact_mass(cells[0], [(1, "red")])[0]
    assert mass == pytest.approx(p_V[0])


def test_words_are_saved_bit_for_bit_and_forged_ones_are_refused(with_words, tmp_path):
    table = TableModel(with_words, np.tile(np.linspace(0, 5, 11), (4, 1)), {}, {})
    again = load_table(table.save(tmp_path / "t.safetensors"))
    np.testing.assert_array_equal(again._engine.log_prob(CELLS, none(CELLS)), with_words.log_prob(CELLS, none(CELLS)))
    for change, sentence in (
        (lambda words: words.pop(), "2 lists of 3 numbers"),
        (lambda words: words[0].pop(), "lists of 3 numbers"),
    ):
        saved = load_model(tmp_path / "t.safetensors")
        change(saved.about["table"]["engines"][0]["margins"][1]["words"])
        save_model(tmp_path / "f.safetensors", saved)
        assert sentence in refusal(load_table, tmp_path / "f.safetensors")


@pytest.mark.slow
def test_a_table_of_numbers_and_few_words_is_fitted_by_gaussians_too():
    rng = np.random.default_rng(0)
    group = rng.random(400) < 0.4
    x = rng.normal(size=400) + np.where(group, 3.0, -3.0)
    y = 2 * x + rng.normal(0, 0.1, 400)
    word = np.where(rng.random(400) < 0.95, np.where(group, "high", "low"), np.where(group, "low", "high"))
    table = arjax.fit_table({"x": x, "y": y, "word": word}, minutes=0.02, quiet=True)
    assert "Gaussians and words" in table.in_words()
    proba = table.predict_proba({"x": [3.0, -3.0], "y": [6.0, -6.0]}, "word")
    assert proba["high"][0] > 0.75 and proba["low"][1] > 0.75
    full = table.impute({"x": [1.0], "y": [None], "word": ["high"]})
    assert full["y"][0] == pytest.approx(2.0, abs=0.2)
