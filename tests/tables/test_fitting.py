"""`fit_table` from a table to a model: one small fit, and refusals before anything is trained."""

import types

import numpy as np
import pytest
from example_table import untrained

import arjax
from arjax.core.errors import UserError
from arjax.tables import fitting, gaussian_fitting
from arjax.tables.any_order import Sites

NUM = 400


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
        patch.setattr(fitting, "network_sizes", lambda num: [recipe])
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


def test_many_rows_are_validated_by_an_even_choice_and_columns_told_as_they_are_found(monkeypatch, capsys):
    seen = {}

    def fit(columns, left_out, frame, cells, *others):
        seen.update(cells, columns=frame.columns)

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


def test_the_timed_steps_score_few_rows_that_have_values(monkeypatch):
    calls = []

    def fit(model, **options):
        calls.append(options)
        return types.SimpleNamespace(results={"train_sites_per_second": 100.0})

    monkeypatch.setattr(fitting, "fit_arrays", fit)
    x = {"train": np.zeros((300, 2), np.float32), "validation": np.full((100, 2), np.nan, np.float32)}
    x["validation"][-1, 0] = 1
    fitting._train(Sites((2, 3)), x, fitting.NetworkSize((8,), 0.0), 0.01, 0, {})
    timed, trained = (call["validation"] for call in calls)
    assert len(timed) == 32 and timed[0, 0] == 1 and trained is x["validation"]


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
    monkeypatch.setattr(fitting, "_fit_any_order", lambda columns, *others: (untrained(columns), {}))
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
