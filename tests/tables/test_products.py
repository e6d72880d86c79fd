"""Mixtures of products: closed forms against enumeration and sums, EM, and files."""

import itertools
import math

import numpy as np
import pytest
from example_table import COLUMNS, table_of, untrained

from arjax.data.columns import Words
from arjax.tables.any_order import codes_of, frequencies_of
from arjax.tables.columns import make_numbers
from arjax.tables.engine import FitSettings
from arjax.tables.mixed import MixedTable
from arjax.tables.products import ProductOptions, ProductsTable, fit_products
from arjax.tables.table import load_table

SIZES, CLASSES = [column.num_codes for column in COLUMNS], 5
RNG = np.random.default_rng(0)
PARAMS = {
    "log_weights": RNG.normal(size=CLASSES).astype(np.float32),
    "log_p": RNG.normal(size=(CLASSES, sum(SIZES))).astype(np.float32),
}
#: All rows with numbers that have a code.
ROWS = np.array(list(itertools.product(range(2), range(31), range(7))), np.float64)
#: The part of the numbers that training has seen, and how many numbers each code of the ages has.
SEEN, INSIDE = 1000 / 1001, np.array([10, 20, 1])


@pytest.fixture(scope="module")
def engine():
    return ProductsTable(COLUMNS, PARAMS)


@pytest.fixture(scope="module")
def joint():
    """p(codes), float64[2, 3, 7], by the definition of the mixture."""
    w = np.exp(PARAMS["log_weights"].astype(np.float64))
    p = np.exp(PARAMS["log_p"].astype(np.float64))
    parts = [part / part.sum(1, keepdims=True) for part in np.split(p, np.cumsum(SIZES)[:-1], 1)]
    return np.einsum("k,ka,kb,kc->abc", w / w.sum(), *parts)


def none(cells):
    return np.zeros(cells.shape, bool)


def test_rows_have_the_probability_of_the_mixture(engine, joint):
    codes = COLUMNS[1].codes(ROWS[:, 1])
    of_rows = joint[ROWS[:, 0].astype(int), codes, ROWS[:, 2].astype(int)] * SEEN / INSIDE[codes]
    np.testing.assert_allclose(np.exp(engine.log_prob(ROWS, none(ROWS))), of_rows, rtol=1e-9)
    assert math.isclose(of_rows.sum(), SEEN)


def test_any_columns_given_any_others(engine, joint):
    """Every set of given columns, and every set of missing ones: p(x | y) = p(x, y) / p(y), in every order."""
    rows = ROWS[[3, 100, 333]].copy()
    rows[2, 1] = 1e6  # a number that no code has is independent of the others
    for given in itertools.product([False, True], repeat=3):
        given_NC = np.tile(given, (3, 1))
        evidence = np.where(given_NC, rows, np.nan)
        ratio = engine.log_prob(rows, none(rows)) - engine.log_prob(evidence, none(rows))
        for order in itertools.permutations(range(3)):
            np.testing.assert_allclose(engine.log_prob(rows, given_NC, order), ratio, atol=1e-9)
    alone = np.array([[np.nan, np.nan, 4.0]])
    np.testing.assert_allclose(np.exp(engine.log_prob(alone, none(alone))), joint.sum((0, 1))[4], rtol=1e-9)
    table = engine.code_table(np.array([[1.0, 5.0, 2.0]]), np.array([[True, True, True]]), 2)
    np.testing.assert_allclose(table[0], joint[1, 0] / joint[1, 0].sum(), rtol=1e-9)


def test_ranges_are_sums_over_the_rows(engine):
    """Of any columns, given any cells; by `probability`, too, which says that it is exact."""
    cells, conditions = np.array([1.0, np.nan, np.nan]), [(1, (5, 12)), (2, ["a", "c"])]
    fine = (ROWS[:, 0] == 1) & (ROWS[:, 1] >= 5) & (ROWS[:, 1] <= 12)
    p = np.exp(engine.log_prob(ROWS, none(ROWS)))
    both = fine & np.isin(ROWS[:, 2], [0, 2])
    evidence = p[ROWS[:, 0] == 1].sum()
    masses = [p[marks].sum() / evidence for marks in (fine, both)]
    np.testing.assert_allclose(engine.exact_mass(cells, conditions), masses, rtol=1e-9)
    answer = table_of(engine).probability({"age": (5, 12), "work": ["a", "c"]}, given={"sex": "f"})
    assert (answer.stderr, answer.value) == (0, pytest.approx(masses[1]))


def test_draws_have_the_frequencies_of_the_mixture(engine, joint):
    num, rng = 20_000, np.random.default_rng(1)
    drawn = engine.draw_rows(num, rng)
    codes = np.stack([column.codes(cells) for column, cells in zip(COLUMNS, drawn.T, strict=True)])
    counts = np.zeros(joint.shape)
    np.add.at(counts, tuple(codes), 1)
    assert ((counts - num * joint) ** 2 / (num * joint)).sum() < 42 + 4 * math.sqrt(2 * 42)
    cells, log_mass = engine.draw(np.tile([1.0, np.nan, np.nan], (num, 1)), 1, (5, 12), rng)
    assert set(cells.tolist()) == set(range(5, 13))
    given_f = joint[1].sum(1) / joint[1].sum()
    in_range = np.array([5 / 10, 3 / 20]) * given_f[:2]
    np.testing.assert_allclose(np.exp(log_mass), in_range.sum(), rtol=1e-9)
    assert abs((cells < 10).mean() - in_range[0] / in_range.sum()) < 0.015


def test_a_mixture_of_engines_keeps_the_product_rule(engine):
    """p(a, b) = p(a) p(b | a), of products and a network."""
    mixed = MixedTable([untrained(COLUMNS), engine], [0.4, 0.6])
    rows = ROWS[::40]
    first = np.where(np.arange(3) == 0, rows, np.nan)
    given = np.tile(np.arange(3) == 0, (len(rows), 1))
    both = mixed.log_prob(first, none(rows)) + mixed.log_prob(rows, given)
    np.testing.assert_allclose(mixed.log_prob(rows, none(rows)), both, rtol=1e-5)


def dependent(num, rng):
    """Words of three classes, and a number that is 0 in the first one; some cells are missing."""
    kind = rng.integers(3, size=num)
    words = np.where(rng.random(num) < 0.9, kind, rng.integers(3, size=num)).astype(float)
    number = np.where(kind == 0, 0, np.round(10 * kind + 3 * rng.normal(size=num)))
    cells = np.stack([words, number, (kind + rng.integers(2, size=num)) % 3], 1).astype(float)
    cells[rng.random(cells.shape) < 0.1] = np.nan
    return cells


def test_em_finds_the_classes():
    rng = np.random.default_rng(0)
    cells = {"train": dependent(2000, rng), "validation": dependent(500, rng)}
    columns = [Words("a", tuple("xyz")), make_numbers("n", cells["train"][:, 1], 30), Words("b", tuple("pqr"))]
    fitted, facts = fit_products(FitSettings(columns, cells, seconds=3.0))
    alone = ProductsTable(columns, {name: values[:1] for name, values in independent(columns, cells["train"]).items()})
    nats, nats_alone = (-e.log_prob(cells["validation"], none(cells["validation"])).mean() for e in (fitted, alone))
    assert nats < nats_alone - 0.8
    assert fitted.exact_mass(np.array([0.0, np.nan, np.nan]), [(1, 0.0)])[0] > 0.8
    assert fitted.exact_mass(np.array([2.0, np.nan, np.nan]), [(1, 0.0)])[0] < 0.1
    assert facts["fits"][0]["classes"] == fitted.params["log_p"].shape[0] // len(facts["fits"])


def independent(columns, cells):
    counts = [
        np.bincount(c.codes(x[~np.isnan(x)]), minlength=c.num_codes) + 0.1
        for c, x in zip(columns, cells.T, strict=True)
    ]
    log_p = np.concatenate([np.log(each / each.sum()) for each in counts])
    return {"log_weights": np.zeros(1), "log_p": log_p[None]}


def test_a_file_keeps_the_engine(engine, tmp_path):
    path = table_of(engine).save(tmp_path / "table.safetensors")
    rows = {"sex": ["m", "f"], "age": [3, 30], "work": ["b", None]}
    np.testing.assert_array_equal(load_table(path).log_prob(rows), table_of(engine).log_prob(rows))


def test_codes_have_their_frequencies_however_smooth_the_classes_are():
    rng = np.random.default_rng(1)
    numbers, word = rng.geometric(0.3, 500).astype(float), rng.choice(3, 500, p=[0.8, 0.15, 0.05]).astype(float)
    columns, cells = (
        (make_numbers("n", numbers, 30, is_int=True), Words("w", ("a", "b", "c"))),
        np.stack([numbers, word], 1),
    )
    split = {"train": cells, "validation": cells[:100]}
    engine, _ = fit_products(FitSettings(columns, split, plan=[ProductOptions(8, 4, 4)]))
    nothing = np.full((1, 2), np.nan)
    for c, expected in enumerate(frequencies_of([column.num_codes for column in columns], codes_of(columns, cells))):
        np.testing.assert_allclose(engine.code_table(nothing, none(nothing), c)[0], expected, rtol=1e-3, atol=1e-6)
