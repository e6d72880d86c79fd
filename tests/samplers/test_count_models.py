"""Models that count: against their formula in plain loops, and the script that adds them to a table."""

import collections
import math

import numpy as np
import pytest
from refusals import refusal

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.samplers.drafts.counts import STRENGTHS, fit_count_model, rows_of
from arjax.sweep.results import read_csv

rng = np.random.default_rng(0)
V = 4


def chain(num, length=50):
    """Rows in which each value follows from the two before it, most of the time; the mask leaves out some places."""
    x = rng.integers(0, V, (num, length))
    for t in range(2, length):
        x[:, t] = np.where(rng.random(num) < 0.9, (x[:, t - 1] + 2 * x[:, t - 2]) % V, x[:, t])
    return x, rng.random((num, length)) < 0.8


def plain_probability(train, strengths, history, value):
    """p_k of a value behind a history of k values, by the recursive formula."""
    k = len(history)
    counts = collections.Counter()
    for row, scored in zip(*train, strict=True):
        for t in range(k, len(row)):
            if scored[t]:
                counts[tuple(row[t - k : t]), row[t]] += 1
    seen = sum(n for (h, _), n in counts.items() if h == tuple(history))
    lower = 1 / V if k == 0 else plain_probability(train, strengths, history[1:], value)
    return (counts[tuple(history), value] + strengths[k] * lower) / (seen + strengths[k])


def test_probabilities_are_those_of_the_formula():
    train, validation, (x, mask) = chain(6), chain(3), chain(2, 8)
    model = fit_count_model(train, validation, V, 2)
    strengths = [level.strength for level in model.levels]
    log_prob = model.log_prob(x, mask)
    assert (log_prob[~mask] == 0).all()
    for row, t in zip(*np.nonzero(mask), strict=True):
        expected = plain_probability(train, strengths, x[row, max(t - 2, 0) : t], x[row, t])
        assert math.isclose(log_prob[row, t], math.log(expected), rel_tol=1e-9)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_strengths_are_the_best_on_validation(order):
    train, validation = chain(20), chain(5)
    model = fit_count_model(train, validation, V, order)
    best = model.log_prob(*validation).sum()
    for strength in STRENGTHS:
        level = type(model.levels[-1])(model.levels[-1].histories, model.levels[-1].grams, strength)
        other = type(model)(V, (*model.levels[:-1], level))
        assert other.log_prob(*validation).sum() <= best + 1e-9


def test_rows_without_a_mask_count_everywhere():
    x, mask = rows_of(Batch(np.arange(12, dtype=np.uint8).reshape(3, 2, 2)))
    assert x.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]] and mask.all()


@pytest.mark.parametrize("order", [-1, 8])
def test_orders_that_cannot_be(order):
    sentence = "the order must be at least 0, with 256^(order + 1) below 2^63"
    assert sentence in refusal(fit_count_model, chain(1), chain(1), 256, order)
    assert len(fit_count_model(chain(1, 8), chain(1, 8), 256, 6).levels) == 7  # 256^7 is below 2^63


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("scripts/count_baseline.py")


def test_script_adds_its_rows_to_a_table(script, repository, tmp_path, capsys):
    table, config = tmp_path / "results.csv", str(repository / "configs" / "digits.py")
    for orders in ("0,1", "1"):
        assert script.main([f"--config={config}", f"--orders={orders}", f"--out={table}"]) == 0
    rows = read_csv(table)
    assert [row["model"] for row in rows] == ["counts, order 0", "counts, order 1"]
    values = [float(row["value"]) for row in rows]
    assert math.log2(17) > values[0] > values[1] > 1.8
    assert rows[0]["command"].endswith("digits.py --orders=0") and rows[0]["num_params"] == "17"
    assert "counts, order 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("config", "orders", "sentence"),
    [
        ("digits.py", "0,x", r"^--orders must be whole numbers separated by commas, not '0,x'$"),
        ("poly_music.py", "0", "poly_music"),
    ],
)
def test_script_refuses(script, repository, config, orders, sentence):
    with pytest.raises(UserError, match=sentence):
        script.main([f"--config={repository / 'configs' / config}", f"--orders={orders}"])
