"""`fit_table` from a table to a model, also where cells are missing: the fitted density stays where it is."""

import math

import numpy as np
import pytest
from example_table import untrained
from scipy import stats

import arjax
from arjax.core.errors import UserError
from arjax.models import make_model
from arjax.tables import any_order_fitting, fitting, gaussian_fitting
from arjax.tables.any_order import AnyOrderTable, Sites, codes_of
from arjax.tables.columns import make_numbers, make_words
from arjax.tables.engine import FitSettings
from arjax.tables.gaussian_fitting import Components, GaussianSearch, Options, em_with_holes

NUM = 400
UNTRAINED = {"size": {}, "num_params": 0, "steps": 200, "best_step": 100}


def people(seed: int = 0, holes: float = 0.0):
    """Pay depends on the job; some cells are missing."""
    rng = np.random.default_rng(seed)
    job = rng.choice(["cook", "nurse"], NUM)
    pay = np.where(job == "nurse", 30.0, 10.0) + rng.normal(0, 2, NUM)
    table = {"job": job.astype(object), "age": rng.integers(18, 60, NUM).astype(float), "pay": pay}
    for values in table.values():
        values[rng.random(NUM) < holes] = None if values.dtype == object else np.nan
    return table | {"id": np.arange(NUM), "country": np.array(["here"] * NUM, object)}


@pytest.fixture(scope="module")
def table():
    with pytest.MonkeyPatch.context() as patch:
        recipe = fitting.NetworkSize((32,), 0.0, learning_rate=1e-2)
        patch.setattr(any_order_fitting, "network_sizes", lambda num: [recipe])
        patch.setattr(any_order_fitting, "LEAST_STEPS", 200)
        return arjax.fit_table(people(holes=0.2), minutes=0.02, quiet=True)


def test_a_table_with_holes_is_learned(table):
    assert table.names == ["job", "age", "pay"]
    assert table.left_out == {"id": "it counts the rows", "country": "it holds 'here' in all rows"}
    assert table.results["rows"] == {"train": 360, "validation": 40}
    rich = table.probability({"job": "nurse"}, given={"pay": (25, None)})
    poor = table.probability({"job": "nurse"}, given={"pay": (None, 15)})
    assert rich.value > 0.75 and poor.value < 0.25
    nats = -table.log_prob(people(seed=1), unknown="missing").mean()
    assert nats == pytest.approx(table.results["validation_nats"] / 0.8, rel=0.2)  # a fifth of those cells is missing
    drawn = table.sample(1000, gaps=True)
    assert all(0.13 < sum(value is None for value in drawn[name]) / 1000 < 0.27 for name in table.names)


def test_many_rows_are_validated_by_an_even_choice_and_columns_told_as_they_are_found(monkeypatch, capsys):
    seen = {}

    def fit(left_out, frame, budget):
        seen.update(budget.training.cells, columns=frame.columns)

    monkeypatch.setattr(fitting, "_fit", fit)
    monkeypatch.setattr(fitting, "_MOST_SCORED", 15)
    table, held = people(), people(seed=1)
    arjax.fit_table(table, validation=held)
    assert len(seen["train"]) == NUM and not seen["columns"]  # the cells take the place of the values
    np.testing.assert_array_equal(seen["validation"][:, 2], held["pay"][::27])
    np.testing.assert_array_equal(seen["train"][:, 2], table["pay"])
    first, second, *_, last = capsys.readouterr().out.splitlines()
    assert first == "400 train rows" and second.startswith("  job: 2 words, such as ")
    assert last == "  country: left out, it holds 'here' in all rows"
    arjax.fit_table(table, validation=held, quiet=True)
    assert not capsys.readouterr().out


def test_draws_have_the_kinds_of_the_table(table):
    rows = table.sample(50, given={"job": "nurse"}, seed=0)
    assert set(rows) == {"job", "age", "pay"} and set(rows["job"]) == {"nurse"}
    assert all(isinstance(age, int) and 18 <= age < 60 for age in rows["age"])
    assert np.mean(rows["pay"]) > 20


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"minutes": 0}, "minutes must be a number above 0"),
        ({"validation": 1.5}, "validation must be a part of the rows between 0 and 1"),
        ({"most_codes": 1}, "most_codes must be a whole number, at least 2"),
        ({"kinds": {"jobb": "words"}}, "kinds names the column 'jobb'"),
        ({"seed": -1}, "seed must be a whole number, at least 0, not -1"),
    ],
)
def test_mistakes_end_before_training(options, sentence):
    with pytest.raises(UserError, match=sentence):
        arjax.fit_table(people(), quiet=True, **options)


@pytest.mark.slow
def test_a_table_of_numbers_has_the_engines_that_are_better_on_validation(monkeypatch):
    """Two clusters: a mixture of Gaussians is a part of the model; whole numbers stay whole."""
    rng = np.random.default_rng(0)
    side = rng.choice([-1, 1], NUM)
    numbers = {"a": 3 * side + 0.1 * rng.normal(size=NUM), "n": rng.poisson(20 + 10 * side)}
    numbers["n"][::50] = 20
    monkeypatch.setattr(fitting, "_fit_any_order", lambda training, steps: (untrained(training.columns), UNTRAINED))
    monkeypatch.setattr(gaussian_fitting, "SIZES", (1, 2, 3))
    monkeypatch.setattr(gaussian_fitting, "_SEEDS", 1)
    table = arjax.fit_table(numbers, minutes=0.1, quiet=True)
    engines = table.results["engines"]
    assert set(engines) == {"gaussian", "gaussian_power", "any_order"}
    assert sum(engine["weight"] for engine in engines.values()) == pytest.approx(1)
    best = min(engine["validation_nats"] for engine in engines.values())
    assert table.results["validation_nats"] <= best + 1e-3  # weights are fitted up to a little
    rows = np.random.default_rng(0).permutation(NUM)[: NUM // 10]
    held = -table.log_prob({name: values[rows] for name, values in numbers.items()})
    assert held.mean() == pytest.approx(table.results["validation_nats"], rel=1e-6)
    high = table.probability({"n": (21, None)}, given={"a": (0, None)})
    assert high.value > 0.8 and "Gaussians" in table.in_words()
    assert all(isinstance(n, int) for n in table.sample(20, seed=0)["n"])


#: p(word), and the means, the standard deviations and the correlation of two numbers given the word.
P_WORD, MEANS, SCALES, CORRELATION = np.array([0.35, 0.65]), np.array([[-1.5, 0.0], [1.0, 1.0]]), (0.6, 0.8), 0.7
COVARIANCE = np.array([[SCALES[0] ** 2, CORRELATION * math.prod(SCALES)], [0, SCALES[1] ** 2]])
COVARIANCE[1, 0] = COVARIANCE[0, 1]


def made(num: int, seed: int) -> np.ndarray:
    """Cells of two numbers and a word."""
    rng = np.random.default_rng(seed)
    word = (rng.random(num) < P_WORD[1]).astype(int)
    numbers = MEANS[word] + rng.multivariate_normal(np.zeros(2), COVARIANCE, num)
    return np.concatenate([numbers, word[:, None]], 1)


def true_nats(cells: np.ndarray) -> np.ndarray:
    word = cells[:, 2].astype(int)
    return -np.log(P_WORD[word]) - stats.multivariate_normal(np.zeros(2), COVARIANCE).logpdf(cells[:, :2] - MEANS[word])


def holed(cells: np.ndarray, seed: int) -> np.ndarray:
    """Four of ten cells missing at random, more where the first number is high: complete rows are not like all rows."""
    missing = np.random.default_rng(seed).random(cells.shape) < np.where(cells[:, :1] > 0, 0.6, 0.05)
    missing[:, 0] = False
    return np.where(missing, np.nan, cells)


def gaussians(train: np.ndarray, validation: np.ndarray):
    x, y, word = train.T
    words = [("low", "high")[int(cell)] for cell in word if cell == cell]
    columns = [make_numbers("x", x, 30), make_numbers("y", y, 30), make_words("word", ["high"] * 2 + words)]
    places = [columns[2].words.index(name) for name in ("low", "high")]
    cells = {"train": train.copy(), "validation": validation.copy()}
    for own in cells.values():
        own[:, 2] = np.where(np.isnan(own[:, 2]), np.nan, np.array(places)[np.nan_to_num(own[:, 2]).astype(int)])
    search = GaussianSearch(FitSettings(columns, cells))
    search._fit(Options(False, False, 2, 1e-6))
    engine, _ = search.mixed(False)

    def nats(cells):
        cells = np.concatenate([cells[:, :2], np.array(places)[cells[:, 2:].astype(int)]], 1)
        return -engine.log_prob(cells, np.zeros(cells.shape, bool))

    return nats


def test_cells_missing_at_random_leave_mixtures_of_gaussians_unbiased():
    """Within two standard errors of the fit without holes; the fit to the rows that have all cells is not."""
    train, validation, test = made(6000, 0), made(600, 1), made(1000, 2)
    assert 0.25 < np.isnan(holed(train, 3)[:, 1:]).mean() < 0.45
    whole = gaussians(train, validation)(test)
    assert abs((whole - true_nats(test)).mean()) < 0.02
    holes = gaussians(holed(train, 3), holed(validation, 4))(test)
    difference = holes - whole
    assert abs(difference.mean()) < 2 * difference.std(ddof=1) / math.sqrt(len(test))
    complete = holed(train, 3)
    complete = gaussians(complete[~np.isnan(complete).any(1)], validation)(test)
    assert (complete - whole).mean() > 0.05


def test_em_reads_rows_with_missing_values_as_they_are():
    """A step of one component has the moments of the expected rows, by numpy."""
    rng = np.random.default_rng(0)
    mean, root = rng.normal(size=3), np.tril(rng.normal(size=(3, 3))) + np.eye(3)
    covariance = root @ root.T
    x = rng.normal(size=(40, 3))
    x[rng.random(x.shape) < 0.4] = np.nan
    found, r = em_with_holes(x, Components(np.ones(1), mean[None], covariance[None]), 0.01, 1)
    rows, spread = [], np.zeros((3, 3))
    for row in x:
        seen = ~np.isnan(row)
        solve = np.linalg.inv(covariance[np.ix_(seen, seen)])
        rows.append(np.where(seen, row, mean + covariance[:, seen] @ solve @ (row[seen] - mean[seen])))
        spread += covariance - covariance[:, seen] @ solve @ covariance[seen]
    rows = np.array(rows)
    np.testing.assert_allclose(found.means[0], rows.mean(0))
    np.testing.assert_allclose(found.covariances[0], np.cov(rows.T, bias=True) + spread / 40 + 0.01 * np.eye(3))
    assert (r == 1).all() and found.weights == pytest.approx(1)


def test_responsibilities_are_those_of_the_known_values():
    means, covariances = np.array([[0.0, 1.0], [2.0, -1.0]]), np.stack([np.eye(2), np.array([[2.0, 0.5], [0.5, 1.0]])])
    x = np.array([[0.3, np.nan], [np.nan, np.nan], [1.0, 0.2], [np.nan, -0.4]])
    _, r = em_with_holes(x, Components(np.array([0.3, 0.7]), means, covariances), 0.0, 0)
    for row, own in zip(x, r, strict=True):
        seen = ~np.isnan(row)
        p = [
            w * (stats.multivariate_normal(m[seen], c[np.ix_(seen, seen)]).pdf(row[seen]) if seen.any() else 1.0)
            for w, m, c in zip((0.3, 0.7), means, covariances, strict=True)
        ]
        np.testing.assert_allclose(own, np.array(p) / sum(p))


P_ABC = np.random.default_rng(5).dirichlet(np.ones(12)).reshape(2, 2, 3)


def words_of(num: int, seed: int) -> np.ndarray:
    flat = np.random.default_rng(seed).choice(12, num, p=P_ABC.ravel())
    return np.stack(np.unravel_index(flat, P_ABC.shape), 1).astype(float)


@pytest.mark.slow
def test_cells_missing_completely_at_random_leave_the_network_unbiased():
    """Within two standard errors of the fit without holes; one with the most frequent word in the holes is not."""
    train, validation, test = words_of(8000, 0), words_of(1000, 1), words_of(2000, 2)
    columns = [
        make_words(name, [f"{v:.0f}" for v in sorted(cells)]) for name, cells in zip("abc", train.T, strict=True)
    ]
    place = [np.array([column.words.index(str(v)) for v in range(column.num_codes)]) for column in columns]
    sites = Sites(tuple(column.num_codes for column in columns))
    model = make_model(sites.event, "deep_nade", orders="uniform", hidden_sizes=(48, 48))

    def cells_of(x):
        codes = [own[np.nan_to_num(cells).astype(int)] for own, cells in zip(place, x.T, strict=True)]
        return np.where(np.isnan(x), np.nan, np.stack(codes, 1))

    def nats(x):
        values = {"train": sites.values(codes_of(columns, cells_of(x)))}
        values["validation"] = sites.values(codes_of(columns, cells_of(validation)))
        choice = {"batch_size": 200, "learning_rate": 3e-3, "schedule": "cosine", "ema_decay": 0.99}
        fitted = arjax.fit_arrays(model, **values, steps=2000, eval_every=2000, quiet=True, **choice)
        return -AnyOrderTable(columns, fitted.model, fitted.params).log_prob_over_orders(cells_of(test), 4)

    holes = np.where(np.random.default_rng(3).random(train.shape) < 0.3, np.nan, train)
    whole = nats(train)
    true = -np.log(P_ABC[tuple(test.astype(int).T)])
    assert abs((whole - true).mean()) < 0.02
    difference = nats(holes) - whole
    assert abs(difference.mean()) < 2 * difference.std(ddof=1) / math.sqrt(len(test))
    assert (nats(np.nan_to_num(holes)) - whole).mean() > 0.02
