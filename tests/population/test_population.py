"""A member of a population is the run that `arjax` would make of it alone."""

from __future__ import annotations

import json
import shlex

import jax
import numpy as np
import pytest
from population_cases import small_config

from arjax.config.build import build
from arjax.core.errors import UserError
from arjax.data import DATASETS
from arjax.population import Population, PopulationJob, make_ensemble, train_population
from arjax.population.jobs import finished, load_study, run_job
from arjax.population.main import main
from arjax.population.members import Members
from arjax.population.report import rows
from arjax.population.step import WAYS
from arjax.training.loop import train

ORDERS, SEEDS = ("spiral", "random(seed=1)", "raster"), (3, 0)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What a run of one order and seed gives, once per choice."""
    known = {}

    def results(order, seed, **changes):
        key = (order, seed, *changes.items())
        if key not in known:
            config = small_config()
            config.model.ordering, config.seed = order, seed
            config.train.update(**changes)
            known[key] = train(build(config), tmp_path_factory.mktemp("run")).results
        return known[key]

    return results


@pytest.mark.parametrize("way", WAYS)
def test_every_member_is_the_run_of_its_order_and_seed(way, alone):
    scores = train_population(Population(small_config(), ORDERS, SEEDS, way))
    for o, order in enumerate(ORDERS):
        for s, seed in enumerate(SEEDS):
            single = alone(order, seed)
            assert scores.results[o][s]["nll_nats"] == pytest.approx(single["nll_nats"], rel=2e-5), (order, seed)
            assert scores.validation[o, s] == pytest.approx(single["validation_nll_nats"], rel=2e-5)
            assert scores.best_step[o, s] == single["best_step"]
    assert len(np.unique(np.round(scores.validation, 4))) == len(ORDERS) * len(SEEDS)


def test_a_member_out_of_patience_keeps_what_it_has(tmp_path):
    """At this rate validation goes up and down, and some members end before others, as their runs do."""
    config = small_config()
    config.optimizer.learning_rate = 0.3
    config.train.update(steps=16, patience=1, ema_decay=0.0)
    scores = train_population(Population(config, ORDERS, SEEDS))
    rows = scores.validation_rows.mean(-1, dtype=np.float64)
    np.testing.assert_allclose(rows, scores.validation, rtol=1e-6)  # the parameters that are scored are the best ones
    assert len(np.unique(scores.best_step)) > 1
    for o, s in ((0, 0), (2, 1)):
        config.model.ordering, config.seed = ORDERS[o], SEEDS[s]
        single = train(build(config), tmp_path / f"{o}{s}").results
        assert scores.best_step[o, s] == single["best_step"]
        assert scores.results[o][s]["nll_nats"] == pytest.approx(single["nll_nats"], rel=1e-4)


def test_rows_are_the_scores_of_examples():
    scores = train_population(Population(small_config(), ORDERS[:1], SEEDS))
    assert scores.test_rows.shape == (1, 2, 300) and scores.validation_rows.shape == (1, 2, 200)
    means = scores.test_rows.mean(-1, dtype=np.float64)
    np.testing.assert_allclose(means, [[r["nll_nats"] for r in scores.results[0]]], rtol=1e-6)


def test_orders_may_be_permutations():
    population = Population(small_config(), [np.arange(64)[::-1], "raster"], [0])
    np.testing.assert_array_equal(population.factorizations[0].order, np.arange(64)[::-1])


@pytest.mark.parametrize(
    ("orders", "seeds", "change", "sentence"),
    [
        ((), (0,), {}, "at least one order and one seed"),
        (("raster",), (), {}, "at least one order and one seed"),
        (("rastr",), (0,), {}, "did you mean 'raster'"),
        (("raster",), (0,), {"orders": "uniform"}, "leave model.orders empty"),
        (("raster",), (2**32,), {}, "from 0 to 2"),
    ],
)
def test_what_is_no_population_is_refused(orders, seeds, change, sentence):
    config = small_config()
    config.model.update(**change)
    with pytest.raises(UserError, match=sentence):
        Population(config, orders, seeds)


def test_orders_that_the_network_does_not_serve_are_refused():
    with pytest.raises(UserError, match="networks that can"):
        Population(small_config("pixelcnn", hidden_size=8, num_layers=1), ["raster", "spiral"], [0])


def test_a_population_without_a_finite_loss_ends():
    config = small_config()
    config.optimizer.update(name="sgd", learning_rate=1e30)
    with pytest.raises(UserError, match="the loss was not finite at step 2"):
        train_population(Population(config, ORDERS[:1], SEEDS))


def test_a_member_that_diverges_takes_no_other_with_it(monkeypatch):
    """One member's parameters are no numbers from the start, and the others are as they would be without it."""
    population = Population(small_config(), ORDERS, SEEDS)
    whole, fresh = train_population(population), Members._fresh

    def broken(members, params):
        state = fresh(members, params)
        params = jax.tree.map(lambda leaf: leaf.at[1, 0].set(np.nan), state.train.params)
        return state.replace(train=state.train.replace(params=params))

    monkeypatch.setattr(Members, "_fresh", broken)
    lines = []
    scores = train_population(population, lines.append)
    assert "1 members have diverged" in lines[-1]
    assert np.isinf(scores.validation[1, 0]) and np.isinf(scores.test_rows[1, 0]).all()
    others = np.arange(6).reshape(3, 2) != 2
    np.testing.assert_allclose(scores.validation[others], whole.validation[others], rtol=1e-5)
    ensemble = make_ensemble(*(rows.reshape(6, -1) for rows in (scores.validation_rows, scores.test_rows)))
    assert ensemble.weights[2] == 0 and np.isfinite(ensemble.uniform) and ensemble.chosen[-1] == 2


CONFIG = """
from arjax.config import base_config, dataset_config, network_config

def get_config(arg=""):
    config = base_config()
    config.dataset = dataset_config("digits")
    config.network = network_config("made", hidden_sizes=(8,))
    config.train.update(steps=2, batch_size=8, eval_every=2)
    return config
"""


def study(tmp_path, jobs):
    (tmp_path / "config.py").write_text(CONFIG)
    path = tmp_path / "study.py"
    path.write_text(f"from arjax.population import PopulationJob as Job\ndef get_populations():\n    return {jobs}\n")
    return [f"--study={path}", f"--workdir={tmp_path}/out"], f'"{tmp_path}/config.py"'


def test_the_command_writes_a_row_per_order_and_a_picture(tmp_path, capsys):
    flags, config = study(tmp_path, "None")
    jobs = f'[Job("a", {config}, ("raster", "spiral"), (0, 1), ensemble=True), Job("b", {config}, ("raster",), (5,))]'
    study(tmp_path, jobs)
    assert main(flags) == 0
    out = tmp_path / "out"
    lines = (out / "results.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 + 2 + 1
    found = json.loads((out / "a" / "population.json").read_text())
    values = [[run["nll_nats"] for run in of_order] for of_order in found["results"]]
    assert f"{np.mean(values[0]):.6g}" in lines[1] and f"{np.mean(values[1]):.6g}" in lines[2]
    assert f"{found['ensemble']['uniform']:.6g}" in lines[3]
    assert (out / "orders.png").stat().st_size > 1000
    assert "--study=" in lines[1]
    capsys.readouterr()
    assert main(flags) == 0 and capsys.readouterr().out.count("trained before") == 2
    study(tmp_path, jobs.replace("(5,))", "(5,), ensemble=True)"))  # the rows are there
    assert main(flags) == 0 and capsys.readouterr().out.count("trained before") == 2
    assert len((out / "results.csv").read_text().splitlines()) == 1 + 2 + 2 + 1 + 2
    (tmp_path / "config.py").write_text(CONFIG.replace("steps=2", "steps=3"))  # another config: trained again
    assert main([*flags, "--only=b,"]) == 0 and "trained before" not in capsys.readouterr().out


REGISTERED = """
import numpy as np
from arjax.data import DATASETS, from_arrays
from arjax.core.spec import EventSpec

@DATASETS.register("mine")
def mine():
    x = np.random.default_rng(0).integers(2, size=(40, 4))
    return from_arrays(EventSpec((4,)), train=x[:20], validation=x[20:30], test=x[30:])
"""


def test_the_command_of_a_row_is_a_command(tmp_path, monkeypatch):
    (tmp_path / "my study [1]").mkdir()
    monkeypatch.chdir(tmp_path / "my study [1]")
    scores = [[{"nll_nats": 1.0}]]
    found = {"dataset": "dna", "split": "test", "model": "made", "num_params": 1, "device": "", "seconds": 1.0}
    for path in ("a b.py", "../my study [1]/a b.py"):
        (row,) = rows(PopulationJob("a", "c.py", ("raster",), (0,)), found | {"results": scores}, path)
        expected = ["arjax-population", f"--study={path}", "--workdir=runs/my study [1]", "--only=a"]
        assert shlex.split(row["command"]) == expected


def test_a_data_set_registered_in_the_config_file(tmp_path, monkeypatch):
    """Several things read the config, and each runs the file."""
    monkeypatch.setattr(DATASETS, "_entries", dict(DATASETS._entries))
    flags, config = study(tmp_path, "[]")
    study(tmp_path, f'[Job(name, {config}, ("raster",), (0,)) for name in "ab"]')
    (tmp_path / "config.py").write_text(CONFIG.replace('"digits"', '"mine"') + REGISTERED)
    assert main(flags) == 0
    assert len((tmp_path / "out" / "results.csv").read_text().splitlines()) == 1 + 2


def test_a_config_that_is_edited_during_training_does_not_count_as_trained(tmp_path, capsys):
    flags, config = study(tmp_path, "[]")
    study(tmp_path, f'[Job("a", {config}, ("raster",), (0,))]')
    job = load_study(flags[0].removeprefix("--study="))[0]

    def edit(text=""):
        (tmp_path / "config.py").write_text(CONFIG.replace("steps=2", "steps=3"))

    run_job(job, tmp_path / "out" / "a", say=edit)
    assert finished(job, tmp_path / "out" / "a") is None
    (tmp_path / "config.py").write_text(CONFIG)
    assert finished(job, tmp_path / "out" / "a") is not None


@pytest.mark.parametrize(
    ("jobs", "sentence"),
    [
        ("[]", "returns no populations"),
        ("[3]", "must return arjax.population.PopulationJob objects, not 3"),
        ('[Job("a b", "c.py", ("raster",))]', "cannot be named 'a b'"),
        ('[Job("a", "c.py", "raster")]', "needs orders"),
        ('[Job("a", "c.py", ("raster",), (-1,))]', "needs seeds"),
        ('[Job("a", "c.py", ("raster",)), Job("a", "d.py", ("raster",))]', "two populations"),
        ('[Job("a", "no_such.py", ("raster",))]', "there is no config file"),
        ('[Job("a", CONFIG, ("raster",), metric="nll")]', "reports no 'nll'"),
        ('[Job("a", CONFIG, ("raster",), overrides={"train.eval_every": 0})]', "eval_every"),
        ('[Job("a", CONFIG, ("raster",), overrides={"evaluate.split": "tset"})]', "tset"),
        ('[Job("a", CONFIG, ("raster",), (0,), {"evaluate.split": "validation"}, ensemble=True)]', "another one"),
    ],
)
def test_mistakes_in_a_study_are_one_sentence(jobs, sentence, tmp_path, capsys):
    flags, config = study(tmp_path, "[]")
    study(tmp_path, jobs.replace("CONFIG", config))
    assert main(flags) == 2
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1


def test_one_population_with_a_mistake_stops_no_other(tmp_path, capsys):
    """A metric of texts shows only with the data; a config that nobody asked for is not read."""
    flags, config = study(tmp_path, "[]")
    jobs = [
        f'Job("{name}", {config}, ("raster",), (0,){more})'
        for name, more in (("a", ', metric="perplexity"'), ("b", ""))
    ]
    study(tmp_path, f"[{', '.join(jobs)}, Job('c', 'no_such.py', ('raster',))]")
    assert main([*flags, "--only=a,b"]) == 2
    assert capsys.readouterr().err == (
        "arjax-population: population 'a' reports no 'perplexity' (there are: nll_nats, nll_stderr, bits_per_dim, "
        "num_examples)\n"
    )
    assert len((tmp_path / "out" / "results.csv").read_text().splitlines()) == 1 + 1
    study(tmp_path, f"[{jobs[1]}, {jobs[0].replace('perplexity', 'nats')}]")  # a metric of nothing: found at once
    assert main(flags) == 2 and capsys.readouterr().out == ""


def test_mistakes_on_the_command_line(tmp_path, capsys):
    flags, config = study(tmp_path, "[]")
    study(tmp_path, f'[Job("first", {config}, ("raster",))]')
    assert main([*flags, "--only=frist"]) == 2 and "did you mean 'first'" in capsys.readouterr().err
    assert main([*flags, "--ony=first"]) == 2 and "did you mean '--only'" in capsys.readouterr().err
