"""Scripts of studies: their measures, and the lines of their pages."""

import dataclasses
import functools
import json
import math
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refusal
from scipy import stats

import arjax
from arjax.core.batch import Batch
from arjax.core.spec import EventSpec
from arjax.data import from_arrays
from arjax.evaluation.splits import Scoring
from arjax.models import make_model
from arjax.objectives import Mean, Objective, make_objective
from arjax.objectives.base import Loss
from arjax.testing.examples import random_like, random_x


def script(name):
    """A fixture: a script of the experiments."""
    return pytest.fixture(lambda load_script: load_script(f"experiments/{name}.py"))


matches, memory_study, measure = map(script, ("seq2seq/exact_match", "memory/measure", "state_tracking/measure"))
differences, metrics = map(script, ("continuous_density/differences", "tables/metrics"))


def test_answers_are_counted_by_whole_fragments_and_by_characters(matches):
    assert [matches.distance("kitten", other) for other in ("sitting", "kitten", "", "mitten")] == [3, 0, 6, 1]
    found = matches.scores(["abcd", "ab", "a", "abc"], ["abcd", "b", "a", ""])
    assert found[matches.EXACT_MATCH] == (0.5, 0.25)
    errors, sizes = np.array([0, 1, 0, 3]), np.array([4, 2, 1, 3])
    stderr = np.std(errors - 0.4 * sizes, ddof=1) / 2 / 2.5
    np.testing.assert_allclose(found[matches.ERROR_RATE], [0.4, stderr], rtol=1e-6)


def row(model, metric, value, seed):
    both = {"value": str(value), "value_stderr": "0.01", "validation": str(value + 0.1), "validation_stderr": "0.02"}
    return {"model": model, "metric": metric, "seed": str(seed)} | both


def test_a_line_is_the_mean_over_the_seeds_that_are_there(matches):
    rows = [row("A", matches.NATS, 0.5, 0), row(f"A, {matches.BEAM}", matches.EXACT_MATCH, 0.1, 0)]
    rows += [row("B", matches.NATS, value, seed) for seed, value in enumerate((0.4, 0.5, 0.9))]
    rows += [row("B, greedy", matches.EXACT_MATCH, 0.2, 0)]
    rows += [row(f"B, {matches.BEAM}", matches.EXACT_MATCH, value, seed) for seed, value in enumerate((0.2, 0.3, 0.4))]
    first, second = matches.page_rows(rows)
    assert first == ["A", "1", "0.5000 ± 0.0100", "", "", "0.1000 ± 0.0100", "", "", "0.2000 ± 0.0200"]
    # draws were not measured; greedy was for one seed of three
    assert second == ["B", "3", "0.6000 ± 0.1528", "", "", "0.3000 ± 0.0577", "", "", "0.4000 ± 0.0577"]
    rows[-1]["validation"] = ""  # of two seeds of three
    assert matches.page_rows(rows)[1] == [*second[:-1], ""]


TOKENS = arjax.EventSpec((12,), (), "tokens", 4)
SIZES = {"width": 8, "num_layers": 2, "num_heads": 2, "segment": 3}


@pytest.mark.slow
def test_the_memory_of_a_run_is_replaced_and_its_parameters_stay(memory_study):
    model = arjax.make_model(TOKENS, "transformer_xl", memory=6, **SIZES)
    params = random_like(model.param_shapes)
    x = random_x(TOKENS, 5)
    dataset = from_arrays(TOKENS, name="own", train={"x": x}, test={"x": x})
    run = SimpleNamespace(model=model, params=params, dataset=dataset, settings=SimpleNamespace(scoring=Scoring(5)))
    for memory in (0, 6):
        nll, sites = memory_study.scored_with(run, memory)
        other = arjax.make_model(TOKENS, "transformer_xl", memory=memory, **SIZES)
        np.testing.assert_allclose(nll, -np.asarray(jax.jit(other.log_prob)(params, x)), rtol=1e-5)
        assert sites.tolist() == [12] * 5
    assert np.abs(memory_study.scored_with(run, 0)[0] - nll).max() > 1e-3


def test_a_model_that_is_the_truth_has_fewer_nats_than_a_fit(differences, monkeypatch):
    """Mixed recipes that are N(0, 1), and another density that is worse by a number for each row."""
    x = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    splits = {"train": x[:100], "validation": x[100:200], "test": x[200:]}
    dataset = from_arrays(arjax.EventSpec((2,), kind="real"), **splits)
    exact = SimpleNamespace(log_prob=lambda params, x: -(x**2).sum(-1) / 2 - jnp.log(2 * jnp.pi) - params)
    monkeypatch.setattr(differences.arjax, "open_run", lambda run: SimpleNamespace(dataset=dataset))
    # Two numbers of components stand for all that the study tries.
    fit_few = functools.partial(differences.fit_gaussian_mixture, components=(1, 2), inits=1)
    monkeypatch.setattr(differences, "fit_gaussian_mixture", fit_few)
    found = []
    for worse in (0.0, 1.0):
        monkeypatch.setattr(differences, "mixture_of_runs", lambda runs, weights, worse=worse: (exact, worse))
        found.append(differences.difference([Path("run")], -4.6).nats_N)
    assert found[0].shape == (100,) and -0.2 < found[0].mean() < 0.02
    np.testing.assert_allclose(found[1] - found[0], 1, atol=1e-5)
    fit = differences.fit_gaussian_mixture(splits["train"], splits["validation"], min_log_scale=-4.6)
    nats = -stats.multivariate_normal(np.zeros(2)).logpdf(splits["test"])
    np.testing.assert_allclose(found[0], nats - fit.nats(splits["test"]), atol=1e-5)


def test_a_folder_without_runs_is_refused(differences, tmp_path):
    with pytest.raises(arjax.UserError, match="has no finished run"):
        differences.main([str(tmp_path)])


def end(folder: Path, name: str, start: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "results.json").write_text(json.dumps({"accuracy": 1.0, "train_seconds": 60.0}))
    (folder / name / "config.json").write_text(json.dumps({"train": {"init_from": start}}))


def row_of(measure, name):
    (row,) = (run for run in measure.get_sweep() if run.name == name)
    return row


def test_a_row_has_the_trainings_of_its_curriculum(measure, tmp_path):
    end(tmp_path, "s3-lstm-0-8", "")
    end(tmp_path, "s3-lstm-0-16", "elsewhere/s3-lstm-0-8")
    end(tmp_path, "s3-lstm-0-24", "elsewhere/s3-lstm-0-16")
    end(tmp_path, "s3-lstm-0", "elsewhere/s3-lstm-0-24")
    assert len(measure.trainings(row_of(measure, "s3-lstm-0"), tmp_path)) == 4


@pytest.mark.parametrize(
    ("starts", "sentence"),
    [
        ({"": ""}, "parity-lstm-0 begins with fresh parameters, and in this sweep with those of parity-lstm-0-8"),
        ({"": "x/parity-lstm-0-8"}, "parity-lstm-0-8 has no results that can be read, and the row 'parity-lstm-0'"),
        ({"": "x/parity-lstm-0-4", "-8": ""}, "parity-lstm-0 begins with the parameters of x/parity-lstm-0-4"),
        ({"": "x/parity-lstm-0-8", "-8": "y"}, "parity-lstm-0-8 begins with the parameters of y, "),
    ],
)
def test_runs_of_another_recipe_end_in_one_sentence_and_leave_the_page(measure, tmp_path, starts, sentence):
    for suffix, start in starts.items():
        end(tmp_path / "runs", f"parity-lstm-0{suffix}", start)
    page = tmp_path / "page.md"
    page.write_text("<!-- measured -->\n<!-- end measured -->\n")
    assert sentence in refusal(measure.main, [str(tmp_path / "runs"), f"--page={page}"])
    assert page.read_text() == "<!-- measured -->\n<!-- end measured -->\n"


@pytest.fixture
def study(load_script, monkeypatch, tmp_path):
    found = load_script("experiments/tables/study.py")
    monkeypatch.setattr(found, "RESULTS", tmp_path / "results.csv")
    return found


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


@pytest.mark.slow
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
    error, accuracy = metrics.imputation_error(rows, metrics.chained_boosting(train, holed, 0.3, seed=0), holes, train)
    assert error < 0.8 * usual[0] and accuracy > 0.8


def test_cells_without_a_true_value_are_no_error(metrics):
    table = {"a": np.array([1.0, math.nan]), "b": words(None, "u")}
    filled = {"a": np.array([2.0, 5.0]), "b": words("v", "u")}
    assert metrics.imputation_error(table, filled, np.ones((2, 2), bool), {"a": np.array([0.0, 2.0])}) == (1, 1)


def test_one_hot_vectors_are_found_in_bits(study):
    x = np.random.default_rng(0).integers(0, (3, 2, 4), (50, 3))
    bits = np.concatenate([np.eye(n, dtype=np.uint8)[x[:, i]] for i, n in enumerate((3, 2, 4))], 1)
    assert study.one_hot_groups(bits) == [(0, 3), (3, 5), (5, 9)]
    assert "the bits from 5 on are no one-hot vectors" in refusal(study.one_hot_groups, np.delete(bits, 7, 1))


def test_the_page_shows_what_was_measured(load_script, repository):
    page = load_script("experiments/tables/page.py")
    lines = [["magic", "protocol", "arjax", "xgb_detection", "0.8512"], ["magic", "nats", "arjax", "nats", "2.5"]]
    others = [["magic", "TabPC", "xgb_detection", "0.86", "0.01"], ["adult", "TabPC", "mle", "0.9", ""]]
    pairs = [["diabetes", "1000 steps", str(i), "detection", str(0.9 + i / 10), "0.8"] for i in (0, 1)]
    pairs += [["diabetes", "1000 steps", str(i), "rmse_10%", str(0.9 + i / 100), "0.8"] for i in (0, 1)]
    shown = page.table(lines, others, pairs).splitlines()
    found = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown]
    assert found[0] == page.HEAD
    assert found[2] == ["magic", "detection by XGBoost", "0.851", "TabPC 0.860", ">= 0.82", "yes"]
    copula = "copula 0.800; better by 0.150 ± 0.050 (2 cuts)"
    assert found[3] == ["diabetes", "detection by boosting", "0.950", copula, "not worse by 2 se", "open"]
    assert found[4][0] == "1 tables" and found[4][2] == "better in 0, worse in 1 of 1 cases" and found[4][-1] == "no"
    text = (repository / "experiments/tables/README.md").read_text()
    written = page.table(page.study.lines(), page.protocol.published(), page.paired.lines())
    assert written in text, "run experiments/tables/page.py"
    assert len(written.splitlines()) <= 17


def test_the_protocol_measures_columns_and_pairs(load_script):
    protocol, rng = load_script("experiments/tables/protocol.py"), np.random.default_rng(0)

    def rows(num, shift=0.0):
        x = rng.uniform(-1, 1, num)
        return {"x": x + shift, "y": x + rng.uniform(-0.1, 0.1, num), "w": np.where(x > 0, "a", "b").astype(object)}

    real, data = rows(4000), protocol.Data("", "w", "a")
    same, shifted = (protocol.similarity(real, drawn, data) for drawn in (rows(4000), rows(4000, 0.5)))
    assert same["shape"] > 0.96 and same["trend"] > 0.93
    np.testing.assert_allclose(shifted["shape"], 1 - 0.25 / 3, atol=0.04)  # x lies a quarter of its range higher
    mixed = {name: rng.permutation(values) for name, values in real.items()}
    assert protocol.similarity(real, mixed, data)["trend"] < 0.75
    assert len(protocol.published()) > 100
    numbers = protocol.as_numbers(real, [mixed], without="x")[0]
    np.testing.assert_array_equal(numbers[:, 1:].sum(1), 1)
    pytest.importorskip("xgboost")
    assert protocol.detection(real, mixed, 0) < 0.2 < 0.9 < protocol.detection(real, rows(4000), 0)


EVENT = EventSpec((3,), kind="tokens", num_levels=3)


@dataclasses.dataclass(frozen=True)
class Noisy(Objective):
    """Its gradient is 2 + z in every entry, with independent standard normal z."""

    def loss(self, model, params, own, batch, step):
        leaves = jax.tree.leaves(params)
        keys = jax.random.split(step.key, len(leaves))
        total = sum(
            (leaf * (2 + jax.random.normal(key, leaf.shape))).sum() for leaf, key in zip(leaves, keys, strict=True)
        )
        return Loss((Mean(total, jnp.float32(1)),), None)


@pytest.fixture
def measured(load_script):
    gradient_cost = load_script("experiments/as_is/gradient_cost.py").gradient_cost

    def measure(objective, num):
        model = make_model(EVENT, "markov")
        params, batch = random_like(model.param_shapes), Batch(random_x(EVENT, 4))
        options = {"key": jax.random.key(0), "num": num, "rounds": 2, "min_seconds": 1e-3}
        return model, gradient_cost(objective, model, params, batch, **options)

    return measure


def test_variance_and_norm_of_a_known_gradient(measured):
    model, cost = measured(Noisy(), num=300)
    size = model.num_params
    assert abs(cost.variance - size) < 5 * np.sqrt(2 * size / 300)
    assert abs(cost.squared_norm - 4 * size) < 5 * 4 * np.sqrt(size / 300)
    assert cost.relative_variance == pytest.approx(cost.variance / cost.squared_norm)
    assert cost.seconds > 0 and cost.temporary_bytes >= 0 and cost.num == 300


def test_teacher_forcing_draws_nothing(measured):
    _, cost = measured(make_objective("teacher_forcing"), num=3)
    assert cost.variance == 0 and cost.squared_norm > 0 and cost.relative_variance == 0
