"""Boosted trees of rows: enumeration, draws, scikit-learn's own predictions, the engine of rows, and files."""

import itertools
import math

import numpy as np
import pytest
from example_table import COLUMNS, table_of, untrained
from refusals import refusal
from sklearn.ensemble import HistGradientBoostingClassifier

from arjax.data.columns import Words
from arjax.interop.model_file import load_model, save_model
from arjax.tables import boosted
from arjax.tables.boosted import fit_boosted
from arjax.tables.engine import FitSettings
from arjax.tables.mixed import choose_rows
from arjax.tables.table import TableModel, load_table

ROWS = np.array(list(itertools.product(range(2), range(31), range(7))), np.float64)


def dependent(num, seed):
    """Rows of `COLUMNS`: work is a or b where sex and age agree, and another word elsewhere; some cells are missing."""
    rng = np.random.default_rng(seed)
    sex, age = rng.integers(2, size=num), rng.choice(31, num, p=np.arange(1, 32) / 496)
    agree = (sex == 1) == (age >= 15)
    cells = np.stack([sex, age, np.where(agree, rng.integers(2, size=num), 2 + rng.integers(5, size=num))], 1).astype(
        float
    )
    cells[rng.random(cells.shape) < 0.02] = np.nan
    return cells


@pytest.fixture(scope="module")
def engine():
    cells = {"train": dependent(1500, 0), "validation": dependent(500, 1)}
    return fit_boosted(FitSettings(COLUMNS, cells, seconds=60), 2)[0]


def test_all_rows_add_up_to_one_and_draws_have_their_frequencies(engine):
    p = np.exp(engine.log_prob_over_orders(ROWS))
    assert math.isclose(p.sum(), 1000 / 1001, rel_tol=1e-9)
    agree = (ROWS[:, 0] == 1) == (ROWS[:, 1] >= 15)
    assert p[agree & (ROWS[:, 2] < 2)].sum() / p[agree].sum() > 0.85
    num = 20_000
    drawn = engine.draw_rows(num, np.random.default_rng(0))
    place = (drawn @ [31 * 7, 7, 1]).astype(int)
    for marks in (agree, ROWS[:, 2] < 2, agree & (ROWS[:, 2] == 3), (ROWS[:, 0] == 1) & (ROWS[:, 1] == 30)):
        mean = p[marks].sum()
        assert abs(marks[place].mean() - mean) < 5 * math.sqrt(mean / num)


def test_trees_are_those_of_scikit_learn():
    """Also of missing cells."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    x[rng.random(x.shape) < 0.1] = np.nan
    y = np.nan_to_num(x[:, 0]) + np.nan_to_num(x[:, 1], nan=1.0) > 0
    fitted = HistGradientBoostingClassifier(max_iter=7, early_stopping=False).fit(x, y)
    trees = boosted.all_trees([boosted._as_trees(each.nodes) for (each,) in fitted._predictors])
    odds = fitted._baseline_prediction.item() + trees.leaves(x, 0, 7).sum(1)
    np.testing.assert_allclose(odds, fitted.decision_function(x), rtol=1e-5)


def test_halvings_have_about_equally_many_rows():
    assert boosted.cut_codes(0, 4, np.array([70, 10, 10, 10])) == 1
    assert boosted.cut_codes(0, 4, np.array([10, 10, 10, 70])) == 3
    assert boosted.cut_codes(0, 4, np.zeros(4, int)) == 2
    assert boosted.cut_codes(1, 3, np.array([5, 0, 9])) == 2


@pytest.mark.parametrize(("num", "fewest"), [(640, 60), (6400, 100), (64_000, 300)])
def test_halves_with_few_of_the_rows_have_no_trees(monkeypatch, num, fewest):
    grown = []

    def grow(train, held, halving, most_trees, seed):
        grown.append((len(train.codes), most_trees > 0))
        return boosted._Grown(halving, [], np.zeros((0, 0)), np.zeros(0, bool))

    monkeypatch.setattr(boosted, "_grow", grow)
    monkeypatch.setattr(boosted, "_best_stage", lambda depth: (9, 1.0))
    codes = np.minimum(np.geomspace(1, 8000, num), 200).astype(int)
    rows = boosted._Rows(np.zeros((num, 1)), codes)
    boosted.fit_column(rows, rows, 201, 0, [])
    assert all(has_trees == (size >= fewest) for size, has_trees in grown) and min(grown)[0] < fewest


def test_columns_that_do_not_depend_have_no_trees():
    """And the engine has their frequencies."""
    rng = np.random.default_rng(0)
    cells = np.stack([rng.integers(2, size=2000), rng.integers(3, size=2000)], 1).astype(float)
    columns = [Words("a", ("x", "y")), Words("b", ("p", "q", "r"))]
    engine, _ = fit_boosted(FitSettings(columns, {"train": cells[:1000], "validation": cells[1000:]}, seconds=1), 1)
    assert len(engine.trees.roots) < 30
    p = np.exp(engine.log_prob_over_orders(np.array([[0.0, 2.0]])))[0]
    assert abs(p - (cells[:1000, 0] == 0).mean() * (cells[:1000, 1] == 2).mean()) < 0.02


def test_numbers_beyond_the_codes_have_their_own_probability(engine):
    cells = np.array([[1.0, 1e6, 0.0]])
    nats = -engine.log_prob_over_orders(cells)[0]
    assert nats > -COLUMNS[1].log_within(cells[:, 1])[0][0]


def test_whole_rows_are_drawn_from_the_best_engine_and_kept_in_a_file(engine, tmp_path):
    """Questions about some columns go to the other engines."""
    network, held = untrained(COLUMNS), dependent(300, 2)
    rows, facts = choose_rows(network, {"boosted": (engine, {"num_trees": 3})}, held, 1)
    nats = -engine.log_prob_over_orders(held).mean()
    assert rows is engine
    assert facts["boosted"] == {"validation_nats": pytest.approx(nats), "draws_rows": True, "num_trees": 3}
    worse, facts = choose_rows(engine, {"other": (network, {})}, held, 1)
    assert worse is engine and facts["other"]["draws_rows"] is False
    usual = np.tile(np.linspace(0, 5, 11), (3, 1))
    table = TableModel(network, usual, {}, {}, rows=engine)
    opened = load_table(table.save(tmp_path / "table.safetensors"))
    assert opened.sample(50, seed=3) == table.sample(50, seed=3)
    drawn = opened.sample(4000)
    agree = (np.array(drawn["sex"]) == "f") == (np.array(drawn["age"]) >= 15)
    assert np.isin(np.array(drawn["work"])[agree], ["a", "b"]).mean() > 0.85
    assert table_of(network).sample(5) != table.sample(5)
    assert "boosted trees" in table.in_words()


def test_a_file_whose_first_engine_answers_no_question_is_refused(engine, tmp_path):
    usual = np.tile(np.linspace(0, 5, 11), (3, 1))
    path = TableModel(untrained(COLUMNS), usual, {}, {}, rows=engine).save(tmp_path / "table.safetensors")
    network = load_model(path)
    network.about["table"]["engines"].reverse()
    trees = network.parts[0]._replace(about=network.about, parts=(network._replace(about={}, parts=()),))
    save_model(path, trees)
    assert "table/engines must answer questions, but for one at the end" in refusal(load_table, path)


def test_one_engine_answers_alone(engine):
    """Each answer names its engines; boosted trees refuse questions about some columns."""
    usual = np.tile(np.linspace(0, 5, 11), (3, 1))
    table = TableModel(untrained(COLUMNS), usual, {}, {}, rows=engine)
    boosted_alone = table.using("boosted")
    drawn = boosted_alone.sample(2000)
    agree = (np.array(drawn["sex"]) == "f") == (np.array(drawn["age"]) >= 15)
    assert np.isin(np.array(drawn["work"])[agree], ["a", "b"]).mean() > 0.85
    sentence = "the engine 'boosted' draws whole rows and answers no other question"
    assert refusal(boosted_alone.probability, {"sex": "f"}) == sentence
    assert refusal(boosted_alone.impute, {"sex": [None], "age": [3], "work": ["a"]}) == sentence
    assert "no engine 'boost': it has any_order, boosted, did you mean 'boosted'?" in refusal(table.using, "boost")
    assert table.probability({"sex": "f"}).engine == table.using("any_order").quantile("age", 0.5).engine == "any_order"
    assert table.expectation(lambda rows: rows["age"], num=10).engine == "boosted"


def test_the_last_column_of_an_order_is_predicted(engine):
    """From all others, as the joint probabilities have it; gaps and other columns go to the other engines."""
    whole = ROWS.copy()
    first = engine.orders[0][-1]
    alone = boosted.BoostedTable(COLUMNS, engine.orders[:1], engine.halvings[:1], engine.trees)
    p = np.exp(alone.log_prob_over_orders(ROWS)).reshape(2, 31, 7)
    exact = (p / p.sum(first, keepdims=True)).reshape(-1)
    codes = COLUMNS[first].codes(ROWS[:, first]) if hasattr(COLUMNS[first], "codes") else ROWS[:, first].astype(int)
    found = alone.prediction(whole, first)
    np.testing.assert_allclose(found[np.arange(len(ROWS)), codes], exact)
    np.testing.assert_allclose(found.sum(1), 1)
    assert first == 2 and alone.prediction(whole, 0) is None
    network = untrained(COLUMNS)
    table = TableModel(network, np.tile(np.linspace(0, 5, 11), (3, 1)), {}, {}, rows=alone)
    rows = {"sex": ["f", "f", None], "age": [20, 3, 20]}
    shown, usual = (np.stack(list(each.predict_proba(rows, "work").values())) for each in (table, table_of(network)))
    expected = alone.prediction(table._cells(rows, "refuse", needed={"sex", "age"})[0][:2], 2)
    np.testing.assert_allclose(shown[:, :2].T, expected)
    np.testing.assert_array_equal(shown[:, 2], usual[:, 2])
    assert table.predict_proba(rows | {"work": ["a"] * 3}, "sex") == table_of(network).predict_proba(
        rows | {"work": ["a"] * 3}, "sex"
    )
