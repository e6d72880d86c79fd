"""Questions about a table: means, quantiles, constraints, gaps, and what to ask next, against enumeration."""

import dataclasses
import datetime
import itertools
import math

import numpy as np
import pytest
from example_table import COLUMNS, SEX, WORK, table_of, untrained
from refusals import each_refused, refusal
from scipy import stats

from arjax.tables import answers
from arjax.tables.answers import accepted, estimate_by_draws, exact_answer, mean_of, quantile_of
from arjax.tables.columns import Numbers
from arjax.tables.gaussian import Margin
from arjax.tables.gaussian_fitting import Components, gaussian_table
from arjax.tables.mixed import MixedTable
from arjax.tables.table import gap_patterns, load_table

AGES = np.arange(31.0)
EDGES = tuple(np.linspace(-6.0, 6.0, 9).tolist())
REALS = tuple(Numbers(name, 0.0, EDGES[:-1], EDGES[1:], 0.0, 1.0, 100) for name in "abc")
ROOT = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [-0.5, 0.3, 0.7]])
DAY = Numbers("day", 1.0, (19700.0, 19710.0), (19709.0, 19760.0), 19705.0, 8.0, 100, "D", True, True)


def gaussian(columns=REALS, means=((0.3, -0.2, 0.5),)):
    components = Components(np.ones(1), np.array(means), (ROOT @ ROOT.T)[None])
    return gaussian_table([Margin(column, 0.0, 1.0) for column in columns], [components], math.exp(-14))


@pytest.fixture(scope="module")
def engine():
    return untrained(COLUMNS)


@pytest.fixture(scope="module")
def table(engine):
    return table_of(engine, {"id": "it names the rows"})


@pytest.fixture(scope="module")
def reals():
    return table_of(gaussian())


def p_of(engine, cells, given=(), order=None):
    """p of the other known cells given those of some columns, normalised over all rows."""
    cells = np.array(cells, float)
    marks = np.isin(np.arange(cells.shape[1]), given) & np.ones(cells.shape, bool)
    p = np.exp(engine.log_prob(cells, marks, order))
    return p / p.sum()


def test_the_mean_of_a_column_is_the_sum_over_its_values(table, engine):
    p = p_of(engine, [[1, age, 2] for age in AGES], given=(0, 2), order=[1])
    mean = table.expectation("age", given={"sex": "f", "work": "c"})
    np.testing.assert_allclose(mean.value, p @ AGES, rtol=1e-5)
    assert (mean.stderr, mean.kind, mean.interval) == (0, "exact", (mean.value, mean.value))
    assert repr(mean) == f"{mean.value:.5g} (exact under this model)"


def test_means_given_a_range_are_those_of_draws(table, engine):
    """Of a function of the column in the range and of another one; and of the column itself."""
    cells = [[1, age, work] for age, work in itertools.product(range(5, 21), range(7))]
    p = p_of(engine, cells, given=(0,), order=[1, 2])
    ages, works = np.array(cells).T[1:]
    given = {"sex": "f", "age": (5, 20)}

    def squared(rows):
        return np.array(rows["age"]) ** 2 * [WORK.words.index(word) for word in rows["work"]]

    for of, right in ((squared, p @ (ages**2 * works)), ("age", p @ ages)):
        mean = table.expectation(of, given=given, num=4000)
        assert mean.kind == "estimate" and mean.stderr > 0
        assert abs(mean.value - right) < 4 * mean.stderr
    part = table.expectation(lambda rows: [word == "a" for word in rows["work"]], given=given, stderr=0.004)
    assert abs(part.value - p @ (works == 0)) < 4 * part.stderr and part.stderr <= 0.004


@pytest.mark.parametrize("q", [1e-9, 0.1, 0.37, 0.5, 0.9, 1 - 1e-9])
def test_quantiles_are_the_smallest_values_that_reach_them(table, engine, reals, q):
    p = p_of(engine, [[1, age, 2] for age in AGES], given=(0, 2), order=[1])
    given = {"sex": "f", "work": "c"}
    expected = AGES[min((np.cumsum(p) < q).sum(), 30)]
    answer = table.quantile("age", q, given=given)
    assert answer[:4] == exact_answer(expected)[:4] and type(answer.value) is int
    # of real numbers, the Gaussian of the conditional within the range of the training rows
    norm = stats.norm(-0.2 + 0.8 * (1.0 - 0.3), 0.6)
    low, high = norm.cdf([-6, 6])
    found = reals.quantile("b", q, given={"a": 1.0})
    np.testing.assert_allclose(found.value, norm.ppf(low + q * (high - low)), atol=1e-6)
    assert found.kind == "exact"


def test_dates_have_means_and_quantiles():
    table = table_of(untrained((DAY, SEX)))
    first = datetime.date(1970, 1, 1)
    p = table._engine.code_table(np.array([[np.nan, 0.0]]), np.array([[False, True]]), 0)[0]
    days = np.concatenate([np.arange(19700, 19710), np.arange(19710, 19761)])
    p_days = np.repeat(p / [10, 51], [10, 51])
    mean, median = table.expectation("day", given={"sex": "m"}), table.quantile("day", 0.5, given={"sex": "m"})
    assert mean.value == first + datetime.timedelta(round(p_days @ days)) and str(mean.value) in repr(mean)
    assert median.value == first + datetime.timedelta(int(days[(np.cumsum(p_days) < 0.5).sum()]))
    some = table.quantile("day", 0.5, given={"day": (None, datetime.date(2024, 1, 5))})
    assert some.kind == "estimate" and some.interval[0] <= some.value <= some.interval[1] <= datetime.date(2024, 1, 5)


def test_quantiles_given_a_range_are_those_of_draws(reals):
    """b given a range of a, against many draws of the Gaussian."""
    x = np.array([0.3, -0.2, 0.5]) + np.random.default_rng(1).normal(size=(400_000, 3)) @ ROOT.T
    kept = x[(x[:, 0] > 0.5) & (x[:, 0] < 1.5)]
    for q in (0.1, 0.5, 0.95):
        found = reals.quantile("b", q, given={"a": (0.5, 1.5)}, num=4000)
        right = np.quantile(kept[:, 1], q)
        assert found.interval[0] < right < found.interval[1] and 0 < found.stderr < 0.1
    assert reals.quantile("b", 0.5, given={"a": (0.5, 1.5)}, stderr=0.005).stderr <= 0.005


def test_quantiles_at_a_point_mass_are_exactly_there():
    rain = Numbers("rain", 0.0, (-3.0, 0.0, 0.0), (0.0, 0.0, 50.0), 1.0, 1.0, 100, masses=(0.0,))
    table = table_of(untrained((rain, SEX)))
    p = table._engine.code_table(np.full((1, 2), np.nan), np.zeros((1, 2), bool), 0)[0]
    assert table.quantile("rain", p[0] + p[1] / 2).value == 0 < table.quantile("rain", p[0] + p[1] + p[2] / 2).value
    np.testing.assert_allclose(table.expectation("rain").value, -1.5 * p[0] + 25 * p[2], rtol=1e-5)


def test_the_mean_of_gaussians_is_that_of_draws(reals):
    mean = reals.expectation("b", given={"a": 1.0}, stderr=0.005)
    assert abs(mean.value - 0.36) < 4 * mean.stderr <= 0.02 and mean.kind == "estimate"


def test_a_probability_is_drawn_until_its_error_is_small(reals, monkeypatch, capsys):
    event = {"a": (0.0, None), "b": (0.0, None), "c": (0.0, None)}
    first, exacter = reals.probability(event), reals.probability(event, stderr=0.001)
    assert 0.001 < first.stderr < 0.01 and 0.0005 < exacter.stderr <= 0.001 and exacter.kind == "estimate"
    assert reals.probability(event, stderr=0.1) == first
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(answers, "MOST_DRAWS", 3000)
    found = reals.probability(event, stderr=1e-5)
    assert f"standard error is {found.stderr:.2g} after 3,000 draws, and not 1e-05" in capsys.readouterr().err


def test_an_estimate_of_zero_is_not_exact(monkeypatch):
    """Draws that never hit leave the probability below 3 / N, whatever their number."""
    draws = np.zeros(1000), np.zeros(1000)
    none = mean_of(*draws, is_part=True)
    assert none.value == 0 and none.kind == "estimate" and none.stderr > 0 and none.interval[0] == 0
    np.testing.assert_allclose(none.interval[1], 1 - 0.05 ** (1 / 1000))
    every = mean_of(np.ones(1000), np.zeros(1000), is_part=True)
    np.testing.assert_allclose(every.interval, (1 - none.interval[1], 1))
    half = mean_of(draws[0], np.log(np.repeat([1.0, 1e-9], 500)), is_part=True)  # as few as 500 equal weights
    np.testing.assert_allclose(half.interval[1], 1 - 0.05 ** (1 / 500), rtol=1e-6)


def test_draws_that_all_fulfil_an_event_bound_its_probability_from_below():
    always = mean_of(np.ones(100), np.zeros(100), is_part=True)
    assert always.value == 1 and always.interval == pytest.approx((0.05**0.01, 1.0)) and always.kind == "estimate"
    never = mean_of(np.zeros(100), np.zeros(100), is_part=True)
    assert never.interval == pytest.approx((0.0, 1 - 0.05**0.01)) and never.stderr == pytest.approx(always.stderr)


def test_quantiles_of_weighted_draws_are_those_of_repeated_ones():
    values, counts = np.array([3.0, 1.0, 2.0, 5.0]), np.array([4, 1, 3, 2])
    for q in (0.05, 0.1, 0.3, 0.4, 0.5, 0.8, 0.9):
        repeated = np.quantile(np.repeat(values, counts), q, method="inverted_cdf")
        assert quantile_of(values, np.log(counts), q).value == repeated


def test_more_draws_are_made_where_weights_are_unequal():
    rng, sizes = np.random.default_rng(0), []

    def draw(num, spread):
        sizes.append(num)
        return rng.normal(size=num), spread * rng.normal(size=num)

    for spread, least, most in ((0.0, 1000, 1000), (1.5, 3000, 12_000), (9.0, 20_000, 20_000)):
        sizes.clear()
        estimate_by_draws(lambda num, spread=spread: draw(num, spread), mean_of, 1000, 0.0)
        assert sizes[0] == 1000 and least <= sum(sizes) <= most


def test_draws_that_agree_have_the_error_of_float32():
    answer = mean_of(np.full(100, 0.25), np.zeros(100), is_part=True)
    assert answer.interval[0] < 0.25 * (1 - 1e-6) and answer.interval[1] > 0.25 * (1 + 1e-6)


def test_the_interval_of_skewed_draws_holds_the_mean():
    """Of rare events and of lognormal weights, where two standard errors miss the mean too often, from below."""
    rng, num, held, naive = np.random.default_rng(0), 400, np.zeros(2), np.zeros(2)
    for _ in range(1000):
        for i, (values, right) in enumerate(
            ((rng.random(num) < 0.04, 0.04), (np.exp(1.2 * rng.normal(size=num)), math.exp(0.72)))
        ):
            answer = mean_of(values.astype(float), np.zeros(num), is_part=not i)
            held[i] += answer.interval[0] <= right <= answer.interval[1]
            naive[i] += abs(answer.value - right) <= 1.96 * answer.stderr
    assert (held > 925).all() and (held < 975).all() and naive.min() < 930


def test_missing_cells_follow_the_patterns_of_training_rows(engine, tmp_path):
    cells = np.array([[0, 1, 2.0]] * 5 + [[0, np.nan, 2]] * 3 + [[np.nan, np.nan, 1]] * 2)
    patterns = gap_patterns(cells)
    assert patterns == {"000": 5, "010": 3, "110": 2}
    table = load_table(table_of(engine, patterns=patterns).save(tmp_path / "t.safetensors"))
    rows = table.sample(2000, gaps=True)
    gaps = np.array([[value is None for value in values] for values in rows.values()]).T
    marks, counts = np.unique(gaps, axis=0, return_counts=True)
    assert marks.astype(int).tolist() == [[0, 0, 0], [0, 1, 0], [1, 1, 0]]
    assert stats.chisquare(counts, [1000, 600, 400]).pvalue > 1e-4
    whole = table.sample(2000)
    assert all(a in (b, None) for name in rows for a, b in zip(rows[name], whole[name], strict=True))
    given = table.sample(500, given={"sex": ["m"]}, gaps=True)
    assert None not in given["sex"] and {None, *range(31)} >= set(given["age"]) and None in given["age"]
    only = table_of(engine, patterns={"010": 1})
    assert "no training row has values in all of the columns age" in refusal(only.sample, given={"age": 3}, gaps=True)
    np.testing.assert_array_equal(table.log_prob(whole), table_of(engine).log_prob(whole))


def test_of_many_patterns_an_even_choice_is_kept():
    cells = np.where(np.random.default_rng(0).random((5000, 30)) < 0.1, np.nan, 0.0)
    patterns = gap_patterns(cells)
    assert sum(patterns.values()) == 1000
    rates = sum(np.array(list(map(int, pattern))) * count for pattern, count in patterns.items()) / 1000
    assert abs(rates.mean() - 0.1) < 0.01


def test_draws_with_constraints_follow_the_conditional(table, reals, capsys):
    """Against draws of the Gaussian in numpy, of which the same rows are kept."""

    def smaller(rows):
        return np.array(rows["a"]) < np.array(rows["b"])

    rows = reals.sample(3000, constraints=smaller, seed=2)
    told = capsys.readouterr().err
    assert "draws fulfil the constraints (0." in told and told.count("\n") == 1
    assert len(rows["a"]) == 3000 and smaller(rows).all()
    x = np.array([0.3, -0.2, 0.5]) + np.random.default_rng(1).normal(size=(100_000, 3)) @ ROOT.T
    for name, right in zip("abc", x[x[:, 0] < x[:, 1]].T, strict=True):
        assert stats.ks_2samp(rows[name], right).pvalue > 1e-4

    def odd(rows):
        return np.array(rows["age"]) % 2 == 1

    assert {None, 1, 3} >= set(table.sample(9, given={"age": (1, 4)}, gaps=True, constraints=odd)["age"])


def test_accepted_rows_are_the_first_that_are_allowed():
    rng, drawn = np.random.default_rng(0), []

    def draw(num):
        drawn.append(rng.integers(0, 50, (num, 1)).astype(float))
        return drawn[-1]

    kept = accepted(draw, lambda cells: cells[:, 0] == 7, 30)
    assert len(kept) == 30 and (kept == 7).all() and len(drawn) > 1


def test_what_tells_most_about_a_target(table, engine):
    """The mutual information of two columns given the third, by its definition."""
    ranked = table.next_question({"work": "c", "sex": None, "id": 7}, "sex")
    (name, found), p = ranked[0], p_of(engine, [[s, a, 2] for s in (0, 1) for a in AGES], (2,), [1, 0]).reshape(2, 31)
    right = (p * np.log(p / p.sum(0) / p.sum(1)[:, None])).sum()
    assert len(ranked) == 1 and name == "age" and found.kind == "exact" and found.value > 0
    np.testing.assert_allclose(found.value, right, rtol=1e-4)
    names, nats = zip(*table.next_question({}, "sex"), strict=True)
    assert set(names) == {"age", "work"} and nats[0].value >= nats[1].value


def test_what_a_real_number_tells_is_estimated(reals):
    """Given no cell, c tells more about b than nothing, and as much as a fine grid of its values says."""
    (first, _), (second, found) = reals.next_question({}, "b", num=2000)
    assert (first, second) == ("a", "c")
    grid = np.linspace(-6, 6, 2001)
    p = stats.norm(0.5, math.sqrt(0.83)).pdf(grid)
    cells = np.stack([np.full(2001, np.nan), np.full(2001, np.nan), grid], 1)
    tables = reals._engine.code_table(cells, ~np.isnan(cells), 1)
    mean = p @ tables / p.sum()
    right = p @ (tables * np.log(tables / mean + 1e-300)).sum(1) / p.sum()
    assert found.kind == "estimate" and abs(found.value - right) < 4 * found.stderr < 0.05


def test_a_mixture_answers_the_same_questions(engine):
    table = table_of(MixedTable([untrained(REALS), gaussian()], [0.4, 0.6]))
    assert table.expectation("a").kind == "estimate" and table.quantile("a", 0.5).kind == "exact"
    assert [name for name, _ in table.next_question({"a": 0.5}, "b")] == ["c"]
    codes = table_of(MixedTable([engine, untrained(COLUMNS)], [0.4, 0.6]))
    assert codes.expectation("age").kind == "exact"


def fails(rows):
    raise KeyError("income")


test_mistakes_are_one_sentence = each_refused(
    (lambda: TABLE.expectation("aeg"), "the table has no column 'aeg', did you mean 'age'"),
    (lambda: TABLE.expectation("id"), "the column 'id' is not modelled: it names the rows"),
    (lambda: TABLE.expectation("sex"), "the column 'sex' holds words, which have no means or quantiles"),
    (lambda: TABLE.expectation("age", given={"age": 3}), "the column 'age' is given"),
    (lambda: TABLE.expectation("age", given={"age": (99, None)}), "no row can have"),
    (lambda: TABLE.expectation(7), "the table has no column '7'"),
    (lambda: TABLE.expectation(fails), "the function cannot read the draws: KeyError: 'income'"),
    (
        lambda: TABLE.expectation(lambda rows: 1.0, num=50),
        r"the function must return a finite number for each of 50 rows",
    ),
    (
        lambda: TABLE.expectation(lambda rows: rows["sex"]),
        r"a finite number for each of 2,000 rows, not <U1\[2000\]",
    ),
    (lambda: TABLE.expectation(lambda rows: [math.nan] * 2000), "the function must return a finite number"),
    (lambda: TABLE.expectation("age", stderr=-1.0), "stderr must be a finite number, at least 0, not -1"),
    *(((lambda q=q: TABLE.quantile("age", q)), f"q must be .*not {q}") for q in (0, 1, -0.1, 1.5, math.nan)),
    (lambda: TABLE.quantile("age", "half"), "q must be a finite number, not 'half'"),
    (lambda: TABLE.quantile("work", 0.5), "the column 'work' holds words"),
    (lambda: TABLE.probability({"age": 3}, stderr="small"), "stderr must be a finite number"),
    (lambda: TABLE.sample(5, gaps=1), "gaps must be True or False, not 1"),
    (
        lambda: TABLE.sample(5, constraints="age > 3"),
        "the function cannot read the draws: TypeError: .str. object is not callable",
    ),
    (lambda: TABLE.sample(5, constraints=fails), "the function cannot read the draws: KeyError"),
    (lambda: TABLE.sample(5, constraints=lambda rows: [True]), r"a truth value for each of 1,000 rows, not bool\[1\]"),
    (
        lambda: TABLE.sample(5, constraints=lambda rows: [1] * 5),
        r"a truth value for each of 1,000 rows, not int64\[5\]",
    ),
    (lambda: TABLE.sample(5, constraints=lambda rows: [[]] * 4 + [1]), "the function cannot read"),
    (
        lambda: TABLE.sample(5, constraints=lambda rows: [False] * len(rows["age"])),
        r"0 of [\d,]+ draws fulfil the constraints \(0\), too few",
    ),
    (lambda: TABLE.next_question({"sxe": "f"}, "work"), "the table has no column 'sxe', did you mean 'sex'"),
    (lambda: TABLE.next_question({"sex": "f"}, "wrok"), "the table has no column 'wrok', did you mean 'work'"),
    (lambda: TABLE.next_question({"sex": "f"}, "sex"), "the target 'sex' is already known"),
    (lambda: TABLE.next_question({"sex": "f", "age": 3}, "work"), "no column but the target 'work' is unknown"),
    (lambda: TABLE.next_question({"sex": "g"}, "work"), "the column 'sex' never has 'g'"),
    (lambda: TABLE.next_question({"age": (3, 5)}, "work"), r"a row has one value in a column, not \[\(3, 5\)\]"),
    (lambda: TABLE.next_question(["sex"], "work"), "conditions are a dict from the names of columns"),
)
TABLE = table_of(untrained(COLUMNS), {"id": "it names the rows"})


def coverage(table, queries, num):
    """The part of queries whose interval holds the answer from 100 times the draws; and that of two standard errors."""
    held, naive = [], []
    for i, (event, given) in enumerate(queries):
        answer, better = (
            table.probability(event, given=given, num=some, seed=seed)
            for some, seed in ((num, i), (100 * num, 10**6 + i))
        )
        held.append(answer.interval[0] <= better.value <= answer.interval[1])
        naive.append(abs(answer.value - better.value) <= 1.96 * answer.stderr)
    return np.mean(held), np.mean(naive)


@pytest.mark.slow
def test_intervals_hold_the_answer_of_a_hundred_times_the_draws(reals):
    rng, queries = np.random.default_rng(0), []
    for _ in range(400):
        low = np.sort(rng.normal(0, 1.5, (3, 2)), 1)
        some = rng.permutation(3)
        conditions = {"abc"[c]: [(low[c, 0], None), (None, low[c, 1]), tuple(low[c])][rng.integers(3)] for c in some}
        is_given = rng.random() < 0.5
        given = dict([conditions.popitem()]) if is_given else {}
        queries.append((conditions, given))
    held, naive = coverage(reals, queries, 100)
    print(f"held {held:.3f}, two standard errors {naive:.3f}")
    assert 0.93 <= held <= 0.97


def test_columns_named_by_whole_numbers():
    column = dataclasses.replace(WORK, name="7")
    table = table_of(untrained((SEX, column)))
    assert table.probability({7: "a"}) == table.probability({"7": "a"})
    assert table.probability({"sex": "m"}, given={7: "a"}) == table.probability({"sex": "m"}, given={"7": "a"})
    assert table.next_question({}, 7)[0][0] == "sex" and "already known" in refusal(table.next_question, {7: "a"}, 7)
    assert list(table.predict_proba({"sex": ["m"]}, 7)) == list("abcdefg")
    assert "the column '7' is a part" in refusal(table.probability, {7: "a"}, given={"7": "b"})
    assert "did you mean '7'" in refusal(table.quantile, 70, 0.5)
