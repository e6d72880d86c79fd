"""The study of tables: its measures, its rivals, and the file of its results."""

import math

import numpy as np
import pytest

from arjax.core.errors import UserError


@pytest.fixture
def study(load_script, monkeypatch, tmp_path):
    found = load_script("experiments/tables/study.py")
    monkeypatch.setattr(found, "RESULTS", tmp_path / "results.csv")
    return found


@pytest.fixture
def metrics(load_script):
    return load_script("experiments/tables/metrics.py")


def words(*values):
    return np.array(values, object)


def linear(num=400):
    """A number, another that it determines, and a word that it determines."""
    x = np.random.default_rng(0).normal(size=num)
    return {"x": x, "y": 3 * x + 1, "sign": np.where(x > 0, "up", "down").astype(object)}


def test_the_distance_to_the_closest_row_is_that_of_numbers_and_words(metrics):
    train = {"a": np.array([0.0, 10.0]), "b": words("u", "v")}  # a has the standard deviation 5
    rows = {"a": np.array([0.0, 5.0, 10.0]), "b": words("u", "v", "w")}
    np.testing.assert_allclose(metrics.closest_rows(rows, train), [0, 1, 1], atol=1e-6)
    rows = {"a": np.array([5.0]), "b": words("w")}
    np.testing.assert_allclose(metrics.closest_rows(rows, train), [math.sqrt(2)], rtol=1e-6)


def test_chained_regressions_find_what_determines_a_cell(metrics):
    train, rows = linear(), linear(100)
    holed, holes = metrics.with_holes(rows, 0.3, seed=0)
    filled = metrics.chained_ridge(train, holed, 0.3, seed=0)
    error, accuracy = metrics.imputation_error(rows, filled, holes, train)
    usual = metrics.imputation_error(rows, metrics.most_frequent(train, holed), holes, train)
    assert error < 0.8 * usual[0] and accuracy > 0.8 > usual[1]
    known = ~holes[:, 2]
    assert (filled["sign"][known] == rows["sign"][known]).all() and None not in filled["sign"]
    imputed = metrics.iterative_imputer(train, holed, 0.3, seed=0)
    assert metrics.imputation_error(rows, imputed, holes, train)[0] < 0.8 * usual[0]


def test_cells_without_a_true_value_are_no_error(metrics):
    table = {"a": np.array([1.0, math.nan]), "b": words(None, "u")}
    filled = {"a": np.array([2.0, 5.0]), "b": words("v", "u")}
    assert metrics.imputation_error(table, filled, np.ones((2, 2), bool), {"a": np.array([0.0, 2.0])}) == (1, 1)


def test_one_hot_vectors_are_found_in_bits(study):
    x = np.random.default_rng(0).integers(0, (3, 2, 4), (50, 3))
    bits = np.concatenate([np.eye(n, dtype=np.uint8)[x[:, i]] for i, n in enumerate((3, 2, 4))], 1)
    assert study.one_hot_groups(bits) == [(0, 3), (3, 5), (5, 9)]
    with pytest.raises(UserError, match="the bits from 5 on are no one-hot vectors"):
        study.one_hot_groups(np.delete(bits, 7, 1))


def test_the_page_shows_what_was_measured(load_script, repository):
    page = load_script("experiments/tables/page.py")
    lines = [["b", "nats", "arjax", "nats", "2.5"], ["b", "draws", "ctgan", "copies", "0.0012"]]
    found = page.table([*lines, ["a", "nats", "arjax", "nats", "1234.5"]]).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in found]
    assert cells[0] == ["data", "measure", "arjax", "ctgan"] and cells[2] == ["a", "nats of a test row", "1234", ""]
    assert cells[3:] == [["b", "nats of a test row", "2.5", ""], ["b", page.WORDS["draws", "copies"], "", "0.0012"]]
    text = (repository / "experiments/tables/README.md").read_text()
    assert page.table(page.study.lines()) in text, "run experiments/tables/page.py"
