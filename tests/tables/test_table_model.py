"""Laws of a table model: any columns given any others agree with enumeration, for parameters that nobody trained."""

import itertools
import math

import jax
import numpy as np
import pytest
from example_table import AGE, COLUMNS, table_of, untrained
from refusals import refusal

import arjax
from arjax.core.errors import UserError
from arjax.interop.model_file import SavedModel, load_model, save_model
from arjax.tables import any_order
from arjax.tables.table import load_table
from arjax.testing.examples import random_like

CODES = np.array(list(itertools.product(range(2), range(3), range(7))))


@pytest.fixture(scope="module", params=[pytest.param("one site a column", marks=pytest.mark.slow), "digits"])
def engine(request):
    return untrained(COLUMNS, 256 if request.param == "one site a column" else 4)


@pytest.fixture(scope="module")
def table(engine):
    return table_of(engine, {"id": "it names the rows"})


def cells_of_codes(codes):
    return np.stack([codes[:, 0], np.array(AGE.low)[codes[:, 1]], codes[:, 2]], 1).astype(float)


@pytest.fixture(scope="module")
def joint(engine):
    """p of all codes, column by column in the order of the table, [2, 3, 7]."""
    nats = engine.log_prob(cells_of_codes(CODES), np.zeros((len(CODES), 3), bool))
    within = AGE.log_within(cells_of_codes(CODES)[:, 1])[0]
    return np.exp(nats - within).reshape(2, 3, 7)


def test_probabilities_add_up_to_one_and_a_range_is_the_sum_of_its_codes(table, joint, engine):
    np.testing.assert_allclose(joint.sum(), 1, rtol=1e-5)
    expected = joint[:, 0].sum() + 0.5 * joint[:, 1].sum()
    found = table.probability({"sex": ["m", "f"], "age": (None, 19)})
    np.testing.assert_allclose(found.value, expected, rtol=1e-5)
    # The column alone is asked without those before it, in another order of an untrained network.
    alone = engine.code_table(np.full((1, 3), np.nan), np.zeros((1, 3), bool), 1)[0] @ AGE.weights((None, 19))
    found = table.probability({"age": (None, 19)})
    np.testing.assert_allclose(found.value, alone, rtol=1e-6)
    assert found.stderr == 0


def test_a_condition_that_no_row_fulfils_has_probability_zero(table):
    for ages in ((1000, 2000), []):
        for event in ({"age": ages, "work": ["a", "b"]}, {"age": ages, "work": "a"}, {"age": ages}):
            assert table.probability(event)[:3] == (0.0, 0.0, "exact")
        assert "no row can have" in refusal(table.probability, {"work": "a"}, given={"age": ages})


def test_ranges_are_monotone_and_complements_add_up(table):
    last = 0.0
    for high in (5, 9, 12, 29, 30):
        value = table.probability({"sex": "f", "age": (None, high)}).value
        assert value >= last
        last = value
    low, high = (table.probability({"work": "c", "age": ends}).value for ends in ((None, 12), (13, None)))
    np.testing.assert_allclose(low + high, table.probability({"work": "c", "age": (None, None)}).value, rtol=1e-6)


def test_the_product_rule(table):
    """In the order of the table; given later columns the network answers in another order, and may contradict it."""
    both = table.probability({"sex": "f", "age": (None, 12), "work": ["a", "e"]}).value
    first = table.probability({"sex": "f", "age": (None, 12)}).value
    rest = table.probability({"work": ["a", "e"]}, given={"sex": ["f"], "age": (None, 12)}).value
    np.testing.assert_allclose(both, first * rest, rtol=1e-6)


def test_progressive_sampling_is_unbiased(table, engine, monkeypatch):
    event = {"sex": ["f"], "age": (5, 20), "work": ["b", "c", "f"]}
    exact = table.probability(event)
    monkeypatch.setattr("arjax.tables.table.MOST_COMBINATIONS", 0)
    found = table.probability(event, num=4000)
    assert exact.stderr == 0 < found.stderr < 0.05
    assert abs(found.value - exact.value) < 4 * found.stderr
    given = table.probability({"work": ["b"]}, given={"age": (5, 20), "sex": ["f", "m"]}, num=4000)
    monkeypatch.undo()
    right = table.probability({"work": ["b"]}, given={"age": (5, 20), "sex": ["f", "m"]})
    assert abs(given.value - right.value) < 4 * given.stderr


def test_draws_follow_the_model(table, engine):
    """A chi-square test of draws given a range, against the codes that it allows."""
    rows = table.sample(3000, given={"age": (5, 19)}, seed=1)
    assert min(rows["age"]) >= 5 and max(rows["age"]) <= 19
    counts = np.bincount(AGE.codes(np.array(rows["age"], float)), minlength=3)
    weights = AGE.weights((5, 19))
    p = engine.code_table(np.full((1, 3), np.nan), np.zeros((1, 3), bool), 1)[0] * weights
    expected = 3000 * p / p.sum()
    chi = ((counts - expected)[:2] ** 2 / expected[:2]).sum()
    assert chi < 15
    # Within the second code, 10 to 29, the range ends at 19.
    inside = [age for age in rows["age"] if age >= 10]
    assert len(inside) < 30 or abs(np.mean(inside) - 14.5) < 4 * 2.9 / math.sqrt(len(inside))


@pytest.mark.parametrize("words", [["b", "g"], ["a", "b", "c", "f"]])
def test_draws_of_a_column_in_digits_follow_the_model(table, engine, words):
    """A condition that allows some of the codes under a first digit: each word is as frequent as it is probable."""
    rows = table.sample(2000, given={"work": words}, seed=1)
    p = engine.code_table(np.full((1, 3), np.nan), np.zeros((1, 3), bool), 2)[0] * COLUMNS[2].weights(words)
    counts = np.bincount([COLUMNS[2].words.index(word) for word in rows["work"]], minlength=7)
    assert counts[p == 0].sum() == 0
    expected = 2000 * p[p > 0] / p.sum()
    assert ((counts[p > 0] - expected) ** 2 / expected).sum() < 20
    _, log_mass_N = engine.draw(np.full((5, 3), np.nan), 2, words, np.random.default_rng(0))
    np.testing.assert_allclose(log_mass_N, math.log(p.sum()), rtol=1e-5)  # exact, whatever is drawn


def test_draws_that_no_row_can_have_are_refused_in_digits():
    """Also where digits are more than there are codes, here 2 x 2 for 3."""
    assert "no row can have" in refusal(table_of(untrained(COLUMNS, 2)).sample, 2, given={"age": (1000, 2000)})


def test_completions_keep_the_known_cells(table):
    rows = {"work": ["a", None, "c"], "age": [None, 12, 30], "sex": [None, None, "f"], "note": ["x", "y", "z"]}
    for full in table.impute(rows, num=2):
        assert full["work"][0] == "a" and full["work"][2] == "c" and full["age"][1:] == [12, 30]
        assert full["sex"][2] == "f" and None not in full["sex"] + full["age"] + full["work"]
        assert full["note"] == ["x", "y", "z"]
    best = table.impute(rows)
    assert isinstance(best["age"][0], int)
    proba = table.predict_proba(rows, "sex")
    assert best["sex"][0] == ("m" if proba["m"][0] > proba["f"][0] else "f")
    np.testing.assert_allclose(np.array(proba["m"]) + np.array(proba["f"]), 1, rtol=1e-5)


def test_a_missing_cell_is_not_scored_and_not_given(engine):
    cells = cells_of_codes(CODES)
    cells[:, 1] = np.nan
    nats = engine.log_prob(cells, np.zeros(cells.shape, bool))
    first = np.log(engine.code_table(cells, np.zeros(cells.shape, bool), 0)[np.arange(len(CODES)), CODES[:, 0]])
    given = np.zeros(cells.shape, bool)
    given[:, 0] = True
    second = engine.log_prob(cells, given)
    np.testing.assert_allclose(nats, first + second, rtol=1e-4)


def test_one_pass_agrees_with_a_pass_for_each_column(engine):
    cells = cells_of_codes(CODES)
    cells[::5, 0] = np.nan
    cells[::7, 2] = np.nan
    for order in ([0, 1, 2], [2, 0, 1]):
        once = engine.log_prob(cells, np.zeros(cells.shape, bool), order)
        nothing = np.zeros(cells.shape, bool)
        nothing[0, 0] = True  # a missing cell that is given: the row does not change, but the pass does
        np.testing.assert_allclose(once, engine.log_prob(cells, nothing, order), rtol=1e-4)


def test_the_table_of_a_site_is_that_of_its_features(engine):
    """Of rows that differ, are equal, or differ in values that are not observed."""
    x = engine.sites.values(CODES[[7, 7, 30, 11, 30, 12, 41, 20]])
    observed = np.random.default_rng(0).random(x.shape) < 0.5
    observed[4:] = observed[1] = observed[0] = np.arange(x.shape[1]) == 1

    @jax.jit
    def tables(params):
        features = engine.model.features_given(params, x, observed)
        families = engine.model.head(params).families
        return [family.log_table(features[:, d, : family.num_params]) for d, family in enumerate(families)]

    for site, expected in enumerate(tables(engine.params)):
        np.testing.assert_allclose(engine._table(x, observed, site), expected, rtol=1e-4, atol=1e-5)


def test_equal_rows_are_computed_once(table, monkeypatch):
    """A query that allows one code of each column has one row, whatever the number of draws; nan equals nan."""
    sizes, computed = [], any_order._log_table

    def counted(model, params, x, *rest):
        sizes.append(len(x))
        return computed(model, params, x, *rest)

    monkeypatch.setattr(any_order, "_log_table", counted)
    monkeypatch.setattr("arjax.tables.table.MOST_COMBINATIONS", 0)
    table.probability({"sex": "f", "age": 30, "work": "c"}, num=1000)
    assert set(sizes) == {16}
    first, row = any_order._different(np.array([[np.nan, 1], [0, 1], [np.nan, 1], [np.nan, 2]]))
    assert sorted(first.tolist()) == [0, 1, 3] and row[0] == row[2] and len(set(row.tolist())) == 3


@pytest.mark.slow
def test_surprise_is_that_of_a_cell_given_all_others(engine):
    cells = cells_of_codes(CODES)
    found = engine.surprise(cells)
    table = engine.code_table(cells, np.ones(cells.shape, bool), 2)
    np.testing.assert_allclose(found[:, 2], -np.log(table[np.arange(len(CODES)), CODES[:, 2]]), rtol=1e-4)
    cells[3, 1] = np.nan
    assert np.isnan(engine.surprise(cells)[3, 1])


def test_outliers_come_first(table):
    rows = {"sex": ["m", "f", "m"], "age": [5, 10**6, 20], "work": ["a", "b", "c"]}
    found = table.outliers(rows)
    assert found["row"][0] == 1 and found["column"][0] == "age" and found["value"][0] == "1000000"
    assert len(table.outliers(rows, num=2)["row"]) == 2


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda t: t.sample(2, given={"sexx": "f"}), "the table has no column 'sexx'.*'sex'"),
        (lambda t: t.sample(2, given={"id": "f"}), "the column 'id' is not modelled: it names the rows"),
        (lambda t: t.sample(2, given={"age": (100, None)}), "no row can have"),
        (lambda t: t.sample(0), "num"),
        (lambda t: t.probability({"sex": "f"}, given={"sex": "m"}), "is a part of the event and given"),
    ],
)
def test_mistakes_are_one_sentence(table, call, sentence):
    with pytest.raises(UserError, match=sentence):
        call(table)


def test_a_table_is_saved_with_its_columns(table, engine, tmp_path):
    path = table.save(tmp_path / "t.safetensors")
    again = load_table(path)
    assert again.columns == table.columns and again.left_out == table.left_out and again.names == table.names
    rows = {"sex": ["f", "m"], "age": [12, None], "work": ["a", "f"]}
    np.testing.assert_array_equal(again.log_prob(rows), table.log_prob(rows))
    assert again.sample(5, seed=3) == table.sample(5, seed=3) and again.outliers(rows) == table.outliers(rows)
    with pytest.raises(UserError, match=r"holds the model of a table: open it with arjax.load_table"):
        arjax.load(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda about: about.pop("columns"), "lacks 'columns'"),
        (lambda about: about["columns"].pop(), "its columns are not those of the model"),
        (lambda about: about.update(more=1), "unknown entry 'more'"),
        (lambda about: about.update(usual=[[1.0, 2.0], [1.0], [1.0, 2.0]]), "usual must have a list of equally many"),
        (lambda about: about.update(patterns={"01": 3}), "patterns must have a mark for each column"),
        (lambda about: about.update(num_orders=10**9), "num_orders must be at most 10000"),
        (lambda about: about.update(form="paper"), "form is one of lists, rows.*not 'paper'"),
        (lambda about: about.update(results={"validation_nats": 1.0}), "validation_stderr must be a number"),
        (lambda about: about.update(left_out={"id": 3}), "left_out/id must be a text"),
    ],
)
def test_a_forged_file_is_one_sentence(table, engine, tmp_path, change, sentence):
    saved = load_model(table.save(tmp_path / "t.safetensors"))
    change(saved.about["table"])
    save_model(tmp_path / "t.safetensors", saved)
    with pytest.raises(UserError, match=sentence):
        load_table(tmp_path / "t.safetensors")


def test_the_model_of_no_table_is_refused(tmp_path):
    model = arjax.make_model(arjax.EventSpec((3,)), "made", hidden_sizes=(4,))
    save_model(tmp_path / "m.safetensors", SavedModel(model, random_like(model.param_shapes), None, None, {}))
    with pytest.raises(UserError, match=r"does not hold the model of a table: open it with arjax.load"):
        load_table(tmp_path / "m.safetensors")


@pytest.mark.slow
def test_many_rows_are_computed_in_pieces(table, engine, monkeypatch):
    rows = {"sex": ["f", None, "m"] * 4, "age": [None, 12, 30] * 4, "work": ["a", "b", None] * 4}
    whole, once = table.impute(rows), table.surprise(rows)
    monkeypatch.setattr("arjax.tables.any_order.ROWS", 5)
    monkeypatch.setattr("arjax.tables.table.ROWS", 5)
    assert table.impute(rows) == whole
    for name, values in table.surprise(rows).items():
        np.testing.assert_allclose(values, once[name], rtol=1e-5)


def test_rows_of_one_draw_have_several_orders_of_the_columns(monkeypatch):
    def place(engine, cells_NC, c, condition, rng):
        return (~np.isnan(cells_NC)).sum(1).astype(float), np.zeros(len(cells_NC))

    engine, cells = untrained(COLUMNS), np.full((1000, len(COLUMNS)), np.nan)
    monkeypatch.setattr(type(engine), "draw", place)  # a cell is the number of cells that were drawn before it
    places = engine.complete(cells, ~np.isnan(cells), np.random.default_rng(0))
    assert (np.sort(places, 1) == np.arange(len(COLUMNS))).all()
    _, counts = np.unique(places, axis=0, return_counts=True)
    assert len(counts) > 4 and counts.max() <= 500
