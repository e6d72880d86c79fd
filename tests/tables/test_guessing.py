"""Best guesses of missing cells by several engines: their weights, against numpy, and what has the smallest error."""

import numpy as np
import pytest
from test_gaussian_table import any_order, gaussian

from arjax.core.errors import UserError
from arjax.data.columns import Words
from arjax.interop.model_file import load_model, save_model
from arjax.tables.columns import Numbers
from arjax.tables.engine import TableEngine
from arjax.tables.mixed import MixedTable, fit_guesses, hide, mix_engines
from arjax.tables.table import TableModel, load_table

EDGES = tuple(np.linspace(-9.0, 9.0, 19).tolist())
A, B = (Numbers(name, 0.0, EDGES[:-1], EDGES[1:], 0.0, 1.0, 100) for name in "ab")
WORD = Words("word", ("low", "high"))


class Made(TableEngine):
    """b is `slope` times a, with a probability of each row that guesses have nothing to do with; the word says whether
    a is above 0, and the engine gives `p` to that.
    """

    columns, orders_agree = (A, B, WORD), True

    def __init__(self, slope: float, log_p: float, p: float):
        self.slope, self.log_p, self.p = slope, log_p, p

    def log_prob(self, cells_NC, given_NC, order=None):
        return np.full(len(cells_NC), self.log_p)

    def code_table(self, cells_NC, given_NC, c):
        assert c == 2
        high_N = np.where(given_NC[:, 0], np.where(cells_NC[:, 0] > 0, self.p, 1 - self.p), 0.5)
        return np.stack([1 - high_N, high_N], 1)

    def means(self, cells_NC, given_NC, c):
        given_N, other_N = given_NC[:, 1 - c], cells_NC[:, 1 - c]
        return np.where(given_N, other_N * self.slope if c else other_N / self.slope, 0.0)

    def draw(self, cells_NC, c, condition, rng):
        raise NotImplementedError

    num_sums = exact_mass = draw

    def in_words(self):
        return f"b is {self.slope} a"


def rows(num=400, seed=0):
    a = np.random.default_rng(seed).normal(size=num)
    return np.stack([a, 2 * a, a > 0], 1)


def test_hidden_cells_are_known_ones_and_none_is_given():
    cells = rows(30)
    cells[3] = np.nan
    cells[5, 1] = np.nan
    hidden = hide(cells, seed=0)
    assert len(hidden.cells) == 1000 and (hidden.given | hidden.queried == ~np.isnan(hidden.cells)).all()
    assert not (hidden.given & hidden.queried).any() and hidden.queried.any(0).all()
    whole = hide(rows(3000), seed=1)
    assert len(np.unique(whole.cells[:, 0])) == 1000 and (whole.queried.sum(1) == 1).all()


def test_the_engine_with_the_smallest_errors_guesses():
    """The first engine has the most probable rows, the second the best means, the third the best words."""
    engines = {
        "fine": (Made(-1.0, 3.0, 0.5), {}),
        "means": (Made(2.0, -3.0, 0.4), {}),
        "words": (Made(1.0, -3.0, 0.9), {}),
    }
    engine, nats, facts = mix_engines(engines, rows(), 4)
    assert isinstance(engine, MixedTable) and (nats == -3.0).all()
    np.testing.assert_allclose(engine.weights, [1, 0, 0])
    np.testing.assert_allclose(engine.guess_weights["numbers"], [0, 1, 0], atol=1e-3)
    np.testing.assert_allclose(engine.guess_weights["words"], [0, 0, 1], atol=1e-3)
    of_means = facts["means"]
    assert of_means["weight"] == 0 and of_means["weight_in_guesses_of_numbers"] == pytest.approx(1, abs=1e-3)
    table = TableModel(engine, np.zeros((3, 2)), {}, {})
    full = table.impute({"a": [0.5, -1.0], "b": [None, -2.0], "word": ["high", None]})
    assert full["b"] == pytest.approx([1.0, -2.0], rel=1e-2) and full["word"] == ["high", "low"]
    np.testing.assert_array_equal(table.log_prob({"a": [0.5], "b": [0.1], "word": ["low"]}), [3.0])
    assert "numbers are guessed by" in engine.in_words()


def test_weights_have_the_least_squared_error():
    """No weights near them have a smaller error; engines whose errors cancel share the guess."""
    cells = rows()
    cells[:, 1] += np.random.default_rng(1).normal(size=len(cells))
    engines = [Made(1.0, 0, 0.5), Made(4.0, 0, 0.5)]
    found = fit_guesses(engines, cells)["numbers"]
    assert found.sum() == pytest.approx(1) and min(found) > 0.05

    def error(weights):
        hidden, total = hide(cells, 0), 0.0
        for c in (0, 1):
            some, scale = hidden.queried[:, c], hidden.cells[:, c].std()
            means = sum(w * e.means(hidden.cells, hidden.given, c) for w, e in zip(weights, engines, strict=True))
            total += (((means - hidden.cells[:, c]) / scale)[some] ** 2).sum()
        return total

    for i, j in ((0, 1), (1, 0)):
        moved = found.copy()
        moved[i], moved[j] = moved[i] + 0.003, moved[j] - 0.003
        assert error(found) <= error(moved)


def test_guesses_are_sums_of_means_and_of_probabilities():
    engines = [any_order(), gaussian()]
    mixed = MixedTable(engines, [0.4, 0.6], {"numbers": [0.75, 0.25]})
    cells = np.array([[np.nan, 1.0, -0.4], [np.nan, np.nan, 0.2]])
    known = ~np.isnan(cells)
    means = [engine.means(cells, known, 0) for engine in engines]
    np.testing.assert_allclose(mixed.guess(cells, known, 0), 0.75 * means[0] + 0.25 * means[1], rtol=1e-6)
    plain = MixedTable(engines, [0.4, 0.6])
    np.testing.assert_allclose(plain.guess(cells, known, 0), plain.means(cells, known, 0))
    np.testing.assert_allclose(mixed.means(cells, known, 0), plain.means(cells, known, 0))


def test_means_are_rounded_as_the_column_is_unless_they_are_asked_for():
    table = TableModel(gaussian(), np.zeros((3, 2)), {}, {})
    given = {"real": [0.3, 1.2], "whole": [None, None], "tenths": [0.4, -1.0]}
    exact, whole = table.impute(given, rounded=False)["whole"], table.impute(given)["whole"]
    assert whole == np.round(exact).tolist() and all(isinstance(v, int) for v in whole)
    cells = np.array([[0.3, np.nan, 0.4], [1.2, np.nan, -1.0]])
    np.testing.assert_allclose(exact, gaussian().means(cells, ~np.isnan(cells), 1))
    assert abs(np.array(exact) - whole).max() > 0.01


def test_weights_of_guesses_are_saved(tmp_path):
    mixed = MixedTable([any_order(), gaussian()], [0.0, 1.0], {"numbers": [0.75, 0.25]})
    table = TableModel(mixed, np.tile(np.linspace(0, 5, 11), (3, 1)), {}, {})
    path = table.save(tmp_path / "t.safetensors")
    again = load_table(path)
    given = {"real": [None], "whole": [1], "tenths": [None]}
    assert again.impute(given) == table.impute(given) and again.sample(3, seed=1) == table.sample(3, seed=1)
    for change, sentence in (
        ({"numbers": [1.0]}, "guesses/numbers must have a weight for each of 2 engines"),
        ({"dates": [1.0]}, "unknown entry 'dates'"),
    ):
        saved = load_model(path)
        saved.about["table"]["guesses"] = change
        save_model(tmp_path / "u.safetensors", saved)
        with pytest.raises(UserError, match=sentence):
            load_table(tmp_path / "u.safetensors")
