"""Codes of numbers that recur: point masses, columns that are nearly always rounded, sums of a few constants."""

import numpy as np
import pytest
from example_table import table_of, untrained

from arjax.tables import fitting
from arjax.tables.columns import make_numbers
from arjax.tables.gaussian import Margin, WordTable
from arjax.tables.gaussian_fitting import Components, gaussian_table
from arjax.tables.mixed import MixedTable
from arjax.tables.point_masses import PointMassTable, SplitColumns
from arjax.tables.products import ProductsTable
from arjax.tables.table import load_table

NUM = 2000
#: A validation row of a table of 200 rows.
HELD = np.random.default_rng(0).permutation(200)[0]
RNG = np.random.default_rng(0)
RAIN = np.where(RNG.random(NUM) < 0.7, 0.0, RNG.exponential(3.0, NUM))


def rain():
    return make_numbers("rain", RAIN, 50)


def test_a_real_number_in_many_rows_is_a_point_mass():
    column = rain()
    assert column.masses == (0.0,) and column.step == 0 and (column.codes(RAIN[RAIN == 0]) == 0).all()
    assert column.weights(0.0).tolist() == [1.0] + [0.0] * (column.num_codes - 1)
    np.testing.assert_allclose(column.weights((0, None)), 1)
    assert column.weights((1e-9, None))[0] == 0
    log_p, known = column.log_within(RAIN)
    assert known.all() and np.allclose(np.exp(log_p[RAIN == 0]), NUM / (NUM + 1))  # a probability, no density
    for condition in (None, (None, 0.5), [(0, 0), (2, 3)]):
        drawn = column.draw(np.zeros(20, int), RNG, condition)
        assert (drawn == 0).all()
    assert (column.draw(np.arange(1, column.num_codes), RNG) > 0).all()
    middle = make_numbers("x", np.where(RNG.random(NUM) < 0.3, 0.5, RNG.normal(size=NUM)), 50)
    cells = middle.draw(RNG.integers(0, middle.num_codes, 500), RNG)
    np.testing.assert_array_equal(middle.codes(cells), middle.codes(middle.cells(cells)))
    assert middle.masses == (0.5,) and middle.log_within(cells)[1].all() and (np.diff(middle.low) > 0).all()


def test_the_network_answers_and_draws_exact_zeros():
    engine = untrained((rain(), make_numbers("n", RNG.integers(0, 5, NUM).astype(float), 50, is_int=True)))
    table = table_of(engine)
    p = table.probability({"rain": 0.0}).value
    assert p == pytest.approx(engine.code_table(np.full((1, 2), np.nan), np.zeros((1, 2), bool), 0)[0, 0]) and p > 0
    drawn = np.array(table.sample(1000, seed=0)["rain"])
    assert abs((drawn == 0).mean() - p) < 4 * np.sqrt(p * (1 - p) / 1000)


def test_columns_that_are_nearly_always_rounded_are_rounded():
    weights = np.where(RNG.random(NUM) < 0.88, RNG.gamma(5, 1, NUM).round(3), RNG.gamma(5, 1, NUM))
    column = make_numbers("w", weights, 50)
    assert column.step == 0.001 and not column.is_int and np.isfinite(column.log_within(weights)[0]).all()
    drawn = column.values(column.draw(RNG.integers(0, column.num_codes, 300), RNG))
    assert all(round(value, 3) == value for value in drawn) and column.log_within(weights)[1].mean() > 0.99
    grid = np.arange(0, 30, 2e-4)  # a density: it adds up to 1 between the rounded numbers, too
    codes, (log_p, known) = column.codes(grid), column.log_within(grid)
    p_code = np.bincount(column.codes(weights), minlength=column.num_codes) / NUM
    assert (p_code[codes] * np.exp(log_p) * known).sum() * 2e-4 == pytest.approx(1, abs=0.01)
    normal = make_numbers("x", RNG.normal(size=NUM), 50)
    assert normal.step == 0 and not normal.masses


def test_rounded_numbers_between_two_intervals_have_codes():
    """New rows have such numbers as often as others; what lies far from both neighbours is no part of either."""
    rows = np.random.default_rng(7).gamma(5, 1, (2, NUM)).round(4)
    column = make_numbers("w", rows[0], 100)
    assert column.step == 1e-4 and column.log_within(rows[1])[1].mean() > 0.99  # .95 with gaps
    assert (
        np.isclose(column.lows[1:], column.highs[:-1] + 1e-4).mean() > 0.95
        and (column.lows[1:] > column.highs[:-1]).all()
    )
    assert (column.low[0], column.high[-1]) == (rows[0].min(), rows[0].max())
    grid = np.round(np.arange(column.low[0], column.high[-1], 1e-4), 4)
    mass = np.exp(column.log_within(grid)[0]).sum() * 1e-4
    assert mass == pytest.approx(column.num_codes * NUM / (NUM + 1), rel=1e-6)  # each code adds up to 1
    apart = make_numbers("n", np.concatenate([np.arange(0, 300), np.arange(9000, 9300)]).astype(float), 10, is_int=True)
    assert not apart.log_within(np.array([400.0, 8900.0]))[1].any()


def test_sums_of_a_few_constants_have_codes_however_many():
    constants = np.array([1.37, 2.51, 11.93, 40.07, 97.31])
    sums = (RNG.poisson([1.0, 0.7, 0.5, 0.4, 0.3], (20_000, 5)) @ constants).round(2)
    column = make_numbers("s", sums, 100)
    assert column.low == column.high and column.num_codes > 256
    assert np.isin(column.values(column.draw(np.arange(column.num_codes), RNG)).astype(float), sums).all()
    smooth = make_numbers("n", RNG.geometric(0.01, 20_000).astype(float), 100, is_int=True)
    assert smooth.low != smooth.high  # nearly all numbers of its intervals recur


WORD = Components(np.array([0.4, 0.6]), np.array([[-1.0, 0.5], [1.0, -0.5]]), np.stack([np.eye(2)] * 2))


@pytest.fixture(scope="module", params=["real", "whole"])
def gaussian(request):
    """A mixture of Gaussians of a column with a point mass, and of another number."""
    values = RAIN if request.param == "real" else np.where(RNG.random(NUM) < 0.4, 10.0, RNG.integers(0, 30, NUM))
    columns = (
        make_numbers("v", values, 40, is_int=request.param == "whole"),
        make_numbers("x", RNG.normal(size=NUM), 40),
    )
    split = SplitColumns(columns)
    word, number, other = split.columns
    margins = [WordTable(word, np.array([[0.9, 0.1], [0.2, 0.8]])), Margin(number, 10.0, 1.5), Margin(other, 0.0, 1.0)]
    return PointMassTable(split, gaussian_table(margins, [WORD], 1e-6))


def test_gaussians_have_point_masses(gaussian, tmp_path):
    table = table_of(gaussian)
    (mass,) = gaussian.columns[0].masses
    for given in ({}, {"x": 1.5}):
        p = table.probability({"v": mass}, given=given).value
        drawn = np.array(table.sample(3000, given=given, seed=0)["v"])
        assert abs((drawn == mass).mean() - p) < 4 * np.sqrt(p * (1 - p) / 3000)
        below, above = (table.probability({"v": ends}, given=given).value for ends in ((None, mass), (mass, None)))
        assert below + above - p == pytest.approx(1, abs=1e-6)
    nothing, cells = np.full((1, 2), np.nan), np.array([[mass, np.nan]])
    p_V = gaussian.code_table(nothing, np.zeros((1, 2), bool), 0)[0]
    assert p_V.sum() == pytest.approx(1) and p_V[gaussian.columns[0].codes(np.array([mass]))[0]] == pytest.approx(0.52)
    assert np.exp(gaussian.log_prob(cells, np.zeros((1, 2), bool)))[0] == pytest.approx(0.52)
    means = gaussian.means(nothing, np.zeros((1, 2), bool), 0)[0]
    drawn = np.array(table.sample(4000, seed=1)["v"], float)
    assert abs(means - drawn.mean()) < 5 * drawn.std() / np.sqrt(4000)
    again = load_table(table.save(tmp_path / "t.safetensors"))
    rows = {"v": [mass, 3.0], "x": [0.5, -1.0]}
    np.testing.assert_array_equal(again.log_prob(rows), table.log_prob(rows))
    assert again.sample(5, seed=3) == table.sample(5, seed=3)


def test_gaussians_draw_values_of_a_sparse_column():
    values = RNG.choice([0, 7, 30, 31, 500, 1000], NUM).astype(float)
    column = make_numbers("v", values, 40, is_int=True)
    margin = Margin(column, 450.0, 110.0)
    assert set(margin.snapped(RNG.normal(450, 300, 500))) <= set(values)
    engine = gaussian_table([margin], [Components(np.ones(1), np.zeros((1, 1)), np.ones((1, 1, 1)))], 1e-6)
    grid = np.arange(-3000, 3000.0)[:, None]
    assert np.exp(engine.log_prob(grid, np.zeros(grid.shape, bool))).sum() == pytest.approx(1, abs=0.01)


def test_a_fraction_in_a_column_of_whole_numbers_has_no_probability(gaussian, capsys):
    """Under every engine, as `probability` says; and the row is the strangest one."""
    if gaussian.columns[0].step != 1:
        pytest.skip("a column of real numbers has no whole ones")
    num = sum(column.num_codes for column in gaussian.columns)
    products = ProductsTable(gaussian.columns, {"log_weights": np.zeros(2), "log_p": RNG.normal(size=(2, num))})
    engines = [gaussian, products, untrained(gaussian.columns)]
    rows = {"v": [3, 3.5, None], "x": [0.5, 0.5, 1.0]}
    for engine in (*engines, MixedTable(engines, np.full(3, 1 / 3))):
        table = table_of(engine)
        assert table.probability({"v": 3.5}).value == 0
        assert (table.log_prob(rows) == -np.inf).tolist() == [False, True, False]
        assert table.surprise(rows)["v"][1] == np.inf > max(table.surprise(rows)["x"])
        found = table.outliers(rows, num=1)
        assert (found["row"], found["value"], found["nats"]) == ([1], ["3.5"], [np.inf])
        assert table.impute(rows)["v"][:2] == [3, 3.5]
    said = "row 1 of the table holds 3.5 in the column 'v', which has whole numbers: its probability is 0"
    assert capsys.readouterr().err == f"arjax: {said}\n"


@pytest.mark.parametrize("apart", [False, True])
def test_columns_hold_whole_numbers_where_the_validation_rows_do(apart, monkeypatch, capsys):
    """Otherwise these rows would have no probability, and choose no engine."""
    seen = []
    monkeypatch.setattr(fitting, "_fit", lambda left_out, frame, budget: seen.append(budget.training))
    values = RNG.integers(0, 30, 200).astype(float)
    options = {"validation": {"v": [3.0, 3.5]}} if apart else {}
    fitting.fit_table({"v": values if apart else np.where(np.arange(200) == HELD, 3.5, values)}, **options)
    ((column,), cells) = seen[0].columns, seen[0].cells
    assert (column.step, column.is_int, column.is_counted) == (1, False, False)
    assert 3.5 in cells["validation"] and 3.5 not in cells["train"] and not column.never(cells["validation"]).any()
    assert np.isfinite(column.log_within(np.array([3.5]))[0]).all()
    assert "v: no whole numbers, as validation rows have fractions" in capsys.readouterr().out
    fitting.fit_table({"v": values})
    assert seen[1].columns[0].is_counted
