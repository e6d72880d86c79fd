"""Words beside numbers under a mixture of Gaussians, against numpy and scipy."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats
from test_gaussian_table import COVARIANCES, MEANS, REAL, WEIGHTS, none, of_margins

import arjax
from arjax.core.errors import UserError
from arjax.data.columns import Words
from arjax.interop.model_file import load_model, save_model
from arjax.tables.gaussian import Margin, WordTable
from arjax.tables.table import TableModel, load_table

COLOUR = Words("colour", ("red", "green", "blue"))
P = np.array([[0.7, 0.2, 0.1], [0.05, 0.15, 0.8]])
NUMBERS = [0, 2, 3]
CELLS = np.array([[0.3, 0, -0.4, 1.1], [-0.2, 2, 0.9, 0.1], [1.5, 1, 0.0, -0.7]])


@pytest.fixture(scope="module")
def engine():
    """A word between numbers."""
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
def test_any_columns_given_any_others(engine, given, asked):
    cells = np.where(np.isin(np.arange(4), given + asked), CELLS, np.nan)
    marks = np.tile(np.isin(np.arange(4), given), (3, 1))
    expected = log_joint(engine, CELLS, given + asked) - (log_joint(engine, CELLS, given) if given else 0)
    for order in (None, [3, 2, 1, 0]):
        np.testing.assert_allclose(engine.log_prob(cells, marks, order), expected, rtol=1e-6)


def test_words_and_numbers_given_the_others(engine):
    """The table of words is the ratio of joints; the mean of a number follows the word."""
    others = CELLS.copy()
    others[:, 1] = np.nan
    p_NV = engine.code_table(others, ~np.isnan(others), 1)
    joints = []
    for word in range(3):
        row = CELLS.copy()
        row[:, 1] = word
        joints.append(log_joint(engine, row, [0, 1, 2, 3]))
    np.testing.assert_allclose(p_NV, np.exp(np.stack(joints, 1) - np.logaddexp.reduce(joints)[:, None]), rtol=1e-6)
    only_word = np.where(np.arange(4) == 1, CELLS, np.nan)
    r_KN = WEIGHTS[:, None] * P[:, CELLS[:, 1].astype(int)]
    for dim, c in enumerate(NUMBERS):  # numbers beyond the range count as its ends
        z_N = (r_KN / r_KN.sum(0) * MEANS[:, dim, None]).sum(0)
        found_N = engine.means(only_word, ~np.isnan(only_word), c)
        np.testing.assert_allclose(found_N, engine.margins[c].inverse(z_N), atol=0.02)


def test_words_are_drawn_as_often_as_they_are_probable(engine):
    cells = np.repeat(np.where(np.arange(4) == 1, np.nan, CELLS[:1]), 4000, 0)
    p_V = engine.code_table(cells[:1], ~np.isnan(cells[:1]), 1)[0]
    drawn, log_mass = engine.draw(cells, 1, None, np.random.default_rng(0))
    counts = np.bincount(drawn.astype(int), minlength=3)
    assert ((counts - 4000 * p_V) ** 2 / (4000 * p_V)).sum() < 16 and (abs(log_mass) < 1e-9).all()
    drawn, log_mass = engine.draw(cells, 1, ["green", "blue"], np.random.default_rng(0))
    assert set(drawn) <= {1.0, 2.0}
    np.testing.assert_allclose(np.exp(log_mass), p_V[1:].sum())
    mass = engine.exact_mass(cells[0], [(1, "red")])[0]
    assert mass == pytest.approx(p_V[0])


def test_words_are_saved_bit_for_bit_and_forged_ones_are_refused(engine, tmp_path):
    table = TableModel(engine, np.tile(np.linspace(0, 5, 11), (4, 1)), {}, {})
    again = load_table(table.save(tmp_path / "t.safetensors"))
    np.testing.assert_array_equal(again._engine.log_prob(CELLS, none(CELLS)), engine.log_prob(CELLS, none(CELLS)))
    for change, sentence in (
        (lambda words: words.pop(), "2 lists of 3 positive numbers"),
        (lambda words: words[0].pop(), "lists of 3 positive numbers"),
        (lambda words: words[0].__setitem__(0, 0.9), "positive numbers that add up to 1"),
    ):
        saved = load_model(tmp_path / "t.safetensors")
        change(saved.about["table"]["engines"][0]["margins"][1]["words"])
        save_model(tmp_path / "f.safetensors", saved)
        with pytest.raises(UserError, match=sentence):
            load_table(tmp_path / "f.safetensors")


@pytest.mark.slow
def test_a_table_of_numbers_and_few_words_is_fitted_by_gaussians_too():
    """Two groups whose numbers and words differ: a word given the numbers, and numbers given a word."""
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
