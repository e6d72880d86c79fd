"""A short fit is no bad answer: frequencies are right after any steps, engines without dependence are not chosen."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from example_table import COLUMNS, untrained
from test_guessing import Made
from test_guessing import rows as rows_of_made

import arjax
from arjax.core.errors import UserError
from arjax.tables import any_order_fitting, fitting
from arjax.tables.any_order import AnyOrderTable, Sites, codes_of, frequencies_of
from arjax.tables.any_order_fitting import NetworkSearch, NetworkSize, advice_about
from arjax.tables.columns import make_numbers, make_words
from arjax.tables.dependence import Dependence
from arjax.tables.engine import FitSettings
from arjax.tables.mixed import mix_engines

NUM = 600


def made(seed: int) -> dict[str, np.ndarray]:
    """A random small table: words, whole numbers and real numbers, some of them missing."""
    rng = np.random.default_rng(seed)
    table = {
        "k": rng.poisson(0.36, NUM).astype(float),
        "w": rng.choice(["a", "b", "c"], NUM, p=rng.dirichlet(np.ones(3))).astype(object),
        "x": np.where(rng.random(NUM) < 0.6, 0.0, rng.normal(size=NUM)),
    }
    table["k"][rng.random(NUM) < 0.1] = np.nan
    return table


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(any_order_fitting, "network_sizes", lambda num: [NetworkSize((8,), 0.0)])
    monkeypatch.setattr(fitting, "network_sizes", lambda num: [NetworkSize((8,), 0.0)])


@pytest.fixture(scope="module")
def table():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "network_sizes", lambda num: [NetworkSize((8,), 0.0)])
        return arjax.fit_table(made(0), steps=3, quiet=True)


def test_codes_have_their_frequencies_after_any_steps(table):
    rows = np.sort(np.random.default_rng(0).permutation(NUM)[NUM // 10 :])
    for name, values in made(0).items():
        known = [v for v in values[rows].tolist() if v == v]
        for value in sorted(set(known), key=known.count)[-3:]:
            part = known.count(value) / len(known)
            answer = table.probability({name: value})
            assert answer.stderr == 0
            assert abs(answer.value - part) < 3 * np.sqrt(part * (1 - part) / len(known)) + 1e-4, (name, value)


def test_the_network_begins_with_the_frequencies_whatever_is_known():
    values = made(1)
    values["v"] = values["w"] == "a"
    columns = [make_words("w", values["w"]), make_numbers("k", values["k"], 30), make_words("v", values["v"].tolist())]
    cells = np.stack([column.cells(values[column.name]) for column in columns], 1)
    search = NetworkSearch(FitSettings(columns, {"train": cells, "validation": cells}))
    model = search._model(NetworkSize((8,), 0.0))
    engine = AnyOrderTable(columns, model, search._first_params(model))
    for c in range(3):
        p_V = engine.code_table(cells[:5], np.ones((5, 3), bool), c)
        expected = frequencies_of([columns[c].num_codes], codes_of(columns, cells)[:, [c]])[0]
        np.testing.assert_allclose(p_V, np.tile(expected, (5, 1)), atol=1e-5)


def test_the_steps_of_a_training_fill_the_time_that_its_compilation_leaves(monkeypatch):
    now, steps, size = [0.0], [], NetworkSize((8,), 0.0)
    values = np.arange(64.0)[:, None] % 2
    search = NetworkSearch(FitSettings([make_words("v", ["a", "b"])], {"train": values, "validation": values}))

    def fit(model, **options):
        """A hundred steps a second, and 15 seconds."""
        steps.append(options["steps"])
        now[0] += 15 + options["steps"] / 100
        results = {
            "step": options["steps"],
            "train_sites_per_second": 100 * options["batch_size"] * model.event.num_sites,
        }
        return SimpleNamespace(model=model, results=results)

    monkeypatch.setattr(any_order_fitting, "fit_arrays", fit)
    monkeypatch.setattr(any_order_fitting.time, "monotonic", lambda: now[0])
    search.train(dataclasses.replace(size, steps=300))
    search._most_steps = 10**6
    assert not search._train_within(size, 15 + 15)  # 1350 steps are not worth it
    assert search._train_within(size, 15 + 20) and steps == [300, 1800]


@pytest.mark.parametrize("most_levels", [256, 4])
def test_frequencies_are_the_first_factor_of_every_order(most_levels):
    """Also in digits; the probabilities of all rows add up to 1, in one pass as in a pass for each column."""
    engine = untrained(COLUMNS, most_levels)
    codes = np.stack(np.meshgrid(*(np.arange(column.num_codes) for column in COLUMNS), indexing="ij"), -1).reshape(
        -1, 3
    )
    frequencies = frequencies_of([2, 3, 7], np.random.default_rng(0).integers(0, 2, (50, 3)))
    engine = AnyOrderTable(COLUMNS, engine.model, engine.params, engine.sites, frequencies)
    cells = np.stack([codes[:, 0], np.array(COLUMNS[1].low)[codes[:, 1]], codes[:, 2]], 1).astype(float)
    within = COLUMNS[1].log_within(cells[:, 1])[0]
    nothing = np.zeros(cells.shape, bool)
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        nats = engine.log_prob(cells, nothing, order)
        p = np.exp(nats - within).reshape(2, 3, 7)
        others = tuple(c for c in range(3) if c != order[0])
        np.testing.assert_allclose(p.sum(others), frequencies[order[0]], rtol=1e-4)
        given = nothing.copy()
        given[0, order[0]] = True  # the row changes, and the pass does
        np.testing.assert_allclose(engine.log_prob(cells, given, order)[1:], nats[1:], rtol=1e-4)
        alone = engine.code_table(np.full((1, 3), np.nan), nothing[:1], order[0])[0]
        np.testing.assert_allclose(alone, frequencies[order[0]], rtol=1e-5)


def test_steps_give_the_same_bits_by_their_recipe(table):
    rows, about = made(2), table.results
    rows["w"][:] = "a"
    assert about["recipe"]["any_order"][0]["steps"] == 3 and about["recipe"]["gaussian"] and about["recipe"]["products"]
    assert about["advice"] in table.in_words() and "nats if the columns were independent" in table.in_words()
    assert abs(about["independent_nats"] - about["validation_nats"]) < 0.5  # the columns of this table are
    again = arjax.fit_table(made(0), recipe=about["recipe"], quiet=True)
    np.testing.assert_array_equal(again.log_prob(rows, unknown="missing"), table.log_prob(rows, unknown="missing"))
    assert again.sample(5, seed=0) == table.sample(5, seed=0) and again.results["recipe"] == about["recipe"]
    for wrong in ({"any_order": [{"steps": 3}]}, {"trees": []}, {"gaussian": [{"k": 3}]}, {"gaussian": 1}):
        with pytest.raises(UserError, match="recipe"):
            arjax.fit_table(made(0), recipe=wrong, quiet=True)
    for both in ({"minutes": 1, "steps": 5}, {"steps": 5, "recipe": about["recipe"]}):
        with pytest.raises(UserError, match="give one of minutes, steps and recipe"):
            arjax.fit_table(made(0), **both, quiet=True)


class Drawn(Made):
    """An engine that draws b with the dependence on a of its slope, whatever it says of rows."""

    def complete(self, cells_NC, given_NC, rng):
        cells = rows_of_made(len(cells_NC), seed=int(rng.integers(99)))
        if self.slope < 1:
            cells = np.stack([rng.permutation(cells_N) for cells_N in cells.T], 1)
        return cells


def test_engines_whose_draws_lack_dependence_are_not_chosen():
    """The first one hits heaped numbers, and has the most probable rows."""
    rows = rows_of_made()
    engines = {"heaped": (Drawn(1e-3, 3.0, 0.5), {}), "true": (Drawn(2.0, 1.0, 0.9), {})}
    _, nats, facts = mix_engines(engines, rows, 1, Dependence(Made.columns, rows))
    assert facts["heaped"]["weight"] == 0 and facts["true"]["weight"] == 1 and "lacks" not in facts["true"]
    assert abs(facts["heaped"]["dependence"]) < 0.1 and facts["true"]["dependence"] > 0.9 and (nats == -1).all()
    assert facts["heaped"]["lacks"].startswith("the correlation of a and b is 1.00 in rows and ")


def test_cells_that_are_missing_have_no_dependence():
    rows = rows_of_made(2000)
    rows[np.random.default_rng(0).random(rows.shape) < 0.3] = np.nan
    dependence = Dependence(Made.columns, rows)
    assert dependence.judge(rows_of_made(2000, seed=1)) == {"dependence": pytest.approx(1, abs=0.1)}


def test_short_trainings_say_so():
    facts = {"steps": 1000, "best_step": 1000}
    assert "no more than 1,000 train steps: give more minutes" in advice_about(facts)
    assert "best at the last of 3,000 steps" in advice_about({"steps": 3000, "best_step": 3000})
    assert not advice_about({"steps": 3000, "best_step": 2500})
    assert Sites((3, 2)).levels == (3, 2)


@pytest.mark.parametrize(("rows", "seconds"), [(100, 120), (2500, 270), (20_000, 600)])
def test_the_default_length_is_that_of_the_rows(monkeypatch, rows, seconds):
    budgets = []
    monkeypatch.setattr(fitting, "_fit", lambda left_out, frame, budget: budgets.append(budget))
    n = np.arange(rows)
    arjax.fit_table({"a": n % 7, "b": n % 5}, quiet=True)
    assert budgets[0].training.seconds == seconds
