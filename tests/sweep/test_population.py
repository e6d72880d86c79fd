"""Rows that differ in order and seed only, trained in one program: each is the run that `arjax` would make of it."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import jax
import numpy as np
import pytest
from refusals import refusal
from sweep_cases import REPORT, rows

from arjax.api.comparing import mixture_of_runs
from arjax.api.run import open_run
from arjax.cli.main import main as arjax
from arjax.config import build
from arjax.config.files import load_workdir_config, to_json
from arjax.core.errors import UserError
from arjax.core.files import only_run_in, read_arrays
from arjax.core.scores import fit_weights, mixed_nats
from arjax.data import DATASETS
from arjax.factorization import PARTITIONS
from arjax.population.train import Members
from arjax.sweep.main import main
from arjax.sweep.population import FullGrid, Job, _tell, grids, plan
from arjax.sweep.rows import load_sweep
from arjax.sweep.runs import Run

#: Every bit is flipped at random, in each step and whenever it is scored: the draws are those of the seed.
CONFIG = """
import dataclasses
import jax
import numpy as np
from arjax.config import base_config, dataset_config, network_config
from arjax.core.spec import EventSpec
from arjax.data import DATASETS, from_arrays

def flip(key, batch, train):
    return batch.replace(x=batch.x ^ jax.random.bernoulli(key, 0.1, batch.x.shape).astype(batch.x.dtype))

def noisy(validation: bool = True):
    x = (np.arange(96 * 4).reshape(96, 4) ** 2 % 7 < 3).astype(np.int32)
    splits = {"train": x[:60], "test": x[60:80]} | ({"validation": x[80:]} if validation else {})
    return dataclasses.replace(from_arrays(EventSpec((4,)), **splits), transform=flip)

if "noisy" not in DATASETS.names():
    DATASETS.register("noisy")(noisy)

def get_config(arg=""):
    config = base_config()
    config.dataset = dataset_config("noisy")
    config.network = network_config("made", hidden_sizes=(8,))
    config.train.update(steps=16, batch_size=8, steps_per_dispatch=4, log_every=4, eval_every=2, checkpoint_every=4)
    config.train.patience = 2
    config.optimizer.learning_rate = 0.3
    return config
"""

SWEEP = """
from arjax.sweep import Mean, Mixture, Run

def run(name, **overrides):
    return Run(name, "config.py", {key.replace("__", "."): value for key, value in overrides.items()})

def get_sweep():
    grid = [run(f"{o}-{s}", model__ordering=o, seed=s) for o in ("raster", "reversed") for s in (0, 1)]
    return [*grid, run("odd", model__ordering="random", seed=1)]
"""


def sweep(*flags, workdir="out"):
    return main(["--sweep=sweep.py", f"--workdir={workdir}", "--executor=population", *flags])


def results(folder):
    return json.loads((folder / "results.json").read_text())


def alone(folder, order, seed, *flags):
    overrides = [f"--config.model.ordering={order}", f"--config.seed={seed}", *flags]
    assert arjax(["--config=config.py", f"--workdir={folder}", *overrides]) == 0
    return results(folder)


@pytest.fixture
def folder(tmp_path, monkeypatch, scope):
    """Holds the sweep and its config; a data set that the config registers is forgotten again."""
    monkeypatch.chdir(tmp_path)
    scope(DATASETS)
    (tmp_path / "config.py").write_text(CONFIG)
    (tmp_path / "sweep.py").write_text(SWEEP)
    return tmp_path


def assert_close(ours, theirs):
    """The same entries, and the same values to rounding but for the seconds."""
    assert ours.keys() == theirs.keys()
    for key in (key for key in ours if "second" not in key):
        expected = pytest.approx(theirs[key], rel=1e-4) if isinstance(theirs[key], float) else theirs[key]
        assert ours[key] == expected, key


@pytest.mark.slow
def test_a_row_is_what_arjax_would_have_made_of_it(folder, capsys):
    assert sweep() == 0
    out = capsys.readouterr().out
    assert "population 1 of 2: 2 orders x 2 seeds" in out and "population 2 of 2: 1 orders x 1 seeds" in out
    assert re.search(r"\n    step 4/16 \(25%\)  loss [\d.]+ nats on average  [\d,]+ examples/s  ETA \d+s\n", out)
    steps = set()
    for name, order, seed in (("reversed-1", "reversed", 1), ("raster-0", "raster", 0)):
        row, run = folder / "out" / name, folder / "alone" / name
        ours, theirs = results(row), alone(run, order, seed)
        steps.add((ours["step"], ours["best_step"]))
        assert load_workdir_config(row) == load_workdir_config(run)
        assert_close(ours, theirs)
        assert ours["train_seconds"] > 0 and ours["train_sites_per_second"] > 0
    assert len(steps) > 1, "the members ought to end at different steps"
    row = folder / "out" / "reversed-1"
    assert arjax(["--mode=evaluate", f"--workdir={row}"]) == 0
    (again,) = (row / "evaluations").glob("*.json")
    again = json.loads(again.read_text())
    assert_close(again, results(row))
    assert again["train_seconds"] == results(row)["train_seconds"] and again["step"] == results(row)["step"]
    saved = read_arrays(row / "rows.npz")
    assert saved["test"].shape == (20,) and saved["validation"].shape == (16,)
    assert saved["test"].mean() == pytest.approx(results(row)["nll_nats"], rel=1e-5)
    assert [line["command"] for line in rows()][3].startswith("arjax --config=config.py --workdir=runs/reversed-1 ")
    capsys.readouterr()
    assert sweep() == 0 and "5 runs, 5 of them already finished" in capsys.readouterr().out
    assert not (folder / "out" / "populations").exists()


class Pretended:
    """A population that needs no training."""

    def __init__(self, config, orders, seeds, *, setup):
        assert config.train.steps == 16 and setup == "setup"
        self.about, self.shape = (orders, seeds), (len(orders), len(seeds))
        self.record = types.SimpleNamespace(fields={"orders": orders})


@pytest.fixture
def pretended(folder, monkeypatch):
    """Runs the sweep with populations that are trained at once; returns those, and the members that were written."""
    trained, written = [], []

    def train(population, *, workdir, show):
        in_training = f"another process is training in {Path('out/raster-0')}: "
        is_locked = refusal(contextlib.ExitStack().enter_context, only_run_in(Path("out/raster-0")))
        assert is_locked.startswith(in_training) == (len(population.about[0]) == 2)
        assert show("x")._indent == "    " and not workdir.exists()
        workdir.mkdir(parents=True)
        trained.append((*population.about, workdir))
        if population.about[0] == ("random",):
            raise UserError("the loss was not finite")
        return "scores"

    def write(path, config, population, scores, o, s):
        assert scores == "scores" and (config.model.ordering, config.seed) == (
            population.about[0][o],
            population.about[1][s],
        )
        if path.name == "reversed-1":
            raise UserError("no space left")
        written.append(path.name)
        (path / "config.json").write_text(to_json(config))
        (path / "results.json").write_text(json.dumps(REPORT | {"seed": config.seed}))

    at_once = {"shared_setup": lambda *_: "setup", "member": lambda *_: None, "form": lambda _: "one cut"}
    at_once |= {"Population": Pretended, "train_population": train, "write_member": write}
    for name, value in at_once.items():
        monkeypatch.setattr(f"arjax.sweep.population.{name}", value)
    return trained, written


def test_populations_are_trained_in_turn_and_a_failure_of_one_or_of_a_member_stops_no_other(folder, pretended, capsys):
    trained, written = pretended
    assert sweep() == 1
    out, err = capsys.readouterr()
    assert [each[:2] for each in trained] == [(("raster", "reversed"), (0, 1)), (("random",), (1,))]
    assert written == ["raster-0", "raster-1", "reversed-0"]
    lines = out.splitlines()
    assert lines[1:3] == ["population 1 of 2: 2 orders x 2 seeds of config.py", "    reversed-1: no space left"]
    assert "population 2 of 2: 1 orders x 1 seeds of config.py" in lines and "    odd: the loss was not finite" in lines
    assert err.splitlines() == [
        f"arjax-sweep: {name} FAILED (exit code 2), see out/{name}/log.txt: {problem}"
        for name, problem in (("reversed-1", "no space left"), ("odd", "the loss was not finite"))
    ]
    log = (folder / "out/raster-1/log.txt").read_text().splitlines()
    assert log[0] == "$ arjax --config=config.py --workdir=runs/raster-1 --config.model.ordering=raster --config.seed=1"
    assert log[1] == "trained in a population: orders ('raster', 'reversed'), seeds (0, 1)"
    first, second = (workdir for *_, workdir in trained)
    assert not first.exists() and second.parent == Path("out/populations") == first.parent != second
    assert [row["seed"] for row in rows()] == ["0", "1", "0"]
    second.rmdir()
    trained.clear()
    (folder / "sweep.py").write_text(SWEEP.replace('"random", seed=1', '"snake", seed=0'))
    assert sweep("--only=odd") == 0 and len(trained) == 1 and not (folder / "out/populations").exists()


def test_the_first_three_runs_of_a_population_that_fails_are_named(tmp_path, capsys):
    (tmp_path / "a").mkdir()
    runs = [Run(name, "c.py") for name in "abcd"]
    _tell("no", runs[:3], tmp_path)
    _tell("no", runs, tmp_path)
    assert capsys.readouterr().out == "    a, b, c: no\n    a, b, c, ...: no\n"
    assert (tmp_path / "a/log.txt").read_text() == "no\nno\n"


def test_grids_are_full_and_hold_every_job():
    def job(name, order, seed):
        class config:
            class model:
                kind, ordering = "autoregressive", order

        config.seed = seed
        return Job(Run(name, "c.py"), config)

    places = [("a", 0), ("a", 1), ("b", 1), ("b", 0), ("c", 1), ("d", 1), ("a", 1)]
    jobs = [job(str(i), *place) for i, place in enumerate(places)]
    found = grids(jobs)
    assert [(grid.orders, grid.seeds) for grid in found] == [(("a", "b"), (0, 1)), (("c", "d"), (1,))]
    assert [run.name for run in found[0].runs] == ["0", "1", "6", "3", "2"]
    assert isinstance(found[0], FullGrid) and sorted(run.name for grid in found for run in grid.runs) == list("0123456")


def test_orders_that_are_cut_otherwise_make_a_population_of_their_own(folder, scope):
    scope(PARTITIONS)
    PARTITIONS.register("first_apart")(lambda order, grid_shape: [1, 3] if order[0] == 0 else [2, 2])
    runs = [
        Run(str(i), "config.py", {"model.ordering": order, "model.partition": "first_apart", "train.steps": steps})
        for i, (order, steps) in enumerate([("raster", 2), ("reversed", 2), ("snake", 2), ("raster", 3)])
    ]
    found = plan(runs, folder)
    assert [[run.name for run in grid.runs] for grid in found] == [["0", "2"], ["1"], ["3"]]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ("model__orders='uniform', objective='order_agnostic'", "leave model.orders empty"),
        ("dataset__validation=False", "no validation split"),
        ("model__ordering='rastr'", "did you mean 'raster'"),
        ("train__step=3", "unknown config field"),
    ],
)
def test_a_row_that_is_no_member_is_named_before_anything_is_trained(folder, overrides, sentence, capsys):
    (folder / "sweep.py").write_text(SWEEP.replace('run("odd", model__ordering="random",', f'run("odd", {overrides},'))
    assert sweep() == 2
    out, err = capsys.readouterr()
    assert err.startswith("arjax-sweep: run 'odd' cannot be a member of a population: ") and sentence in err
    assert err.count("\n") == 1 and "population 1" not in out and not (folder / "out" / "raster-0").exists()


def test_flags_and_folders_that_do_not_go_with_populations(folder, capsys):
    assert sweep("--jobs=2") == 2 and "one program" in capsys.readouterr().err
    alone(folder / "out" / "odd", "random", 1, "--config.train.steps=2")
    capsys.readouterr()
    assert sweep() == 2 and "begun by itself: finish it so, or delete" in capsys.readouterr().err
    (folder / "config.py").write_text(CONFIG.replace("hidden_sizes=(8,)", "hidden_sizes=(9,)"))
    assert sweep() == 2 and "run 'odd' cannot be a member of a population: " in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_diverges_fails_alone(folder, monkeypatch, capsys):
    monkeypatch.setattr(build, "user_code", lambda config: {"mine.py": ["1"]})
    text = SWEEP.replace("seed=1)]", 'seed=1), run("bad", optimizer__name="sgd", optimizer__learning_rate=1e30)]')
    (folder / "sweep.py").write_text(text)
    assert sweep("--only=raster-0,bad") == 1
    err = capsys.readouterr().err
    assert err.startswith("arjax-sweep: bad FAILED (exit code 2), see out/bad/log.txt: the loss was not finite")
    assert len(rows()) == 1 and not (folder / "out/bad/results.json").exists()
    assert json.loads((folder / "out/raster-0/record.json").read_text())["code"] == {"mine.py": ["1"]}


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on(folder, monkeypatch, capsys):
    assert sweep(workdir="straight") == 0
    original, calls = Members._arguments, []

    def arguments(self, start, n):
        calls.append(start)
        if start == 4 and len(calls) > 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, start, n)

    with monkeypatch.context() as patch:
        patch.setattr(Members, "_arguments", arguments)
        assert sweep() == 130
    assert not list((folder / "out").glob("*/results.json")) and (folder / "out" / "populations").is_dir()
    assert "arjax-sweep: interrupted: stopped at step 6 of 16; the same command" in capsys.readouterr().err
    assert sweep() == 0 and "resumes at step" in capsys.readouterr().out
    for run in load_sweep("sweep.py"):
        first, second = (read_arrays(folder / name / run.name / "rows.npz") for name in ("straight", "out"))
        np.testing.assert_array_equal(first["test"], second["test"])
    assert not (folder / "out" / "populations").exists()


@pytest.mark.slow
def test_a_killed_sweep_goes_on_bit_for_bit(folder, repository):
    (folder / "config.py").write_text(CONFIG.replace("steps=16", "steps=400").replace("patience = 2", "patience = 0"))

    def command(name):
        code = "import sys; from arjax.sweep.main import main; sys.exit(main(sys.argv[1:]))"
        flags = ["--sweep=sweep.py", f"--workdir={name}", "--executor=population"]
        environment = os.environ | {"PYTHONPATH": str(repository)}
        return subprocess.Popen(
            [sys.executable, "-c", code, *flags], stdout=subprocess.PIPE, text=True, env=environment
        )

    straight = command("straight")
    straight.communicate(timeout=300)
    assert straight.returncode == 0
    for _ in range(3):
        process, before = command("killed"), set(Path("killed").glob("populations/*/checkpoints/latest/[0-9]*"))
        while process.poll() is None and set(Path("killed").glob("populations/*/checkpoints/latest/[0-9]*")) <= before:
            time.sleep(0.02)
        process.kill()
        process.communicate()
    process = command("killed")
    assert "resumes at step" in process.communicate(timeout=300)[0]
    for run in load_sweep("sweep.py"):
        first, second = (read_arrays(folder / name / run.name / "rows.npz") for name in ("straight", "killed"))
        np.testing.assert_array_equal(first["test"], second["test"])


LATENT = """
from arjax.config import base_config, dataset_config, model_config, part

def get_config(arg=""):
    config = base_config()
    config.dataset = dataset_config("noise", grid=(4,), kind="binary", num_examples=8)
    config.model = model_config("latent", latents=(2,))
    config.parts = {name: part("made", hidden_sizes=(4,)) for name in ("prior", "likelihood", "posterior")}
    config.objective = "elbo"
    config.train.update(steps=1, batch_size=4)
    return config
"""


def test_a_model_without_an_order_is_no_member(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.py").write_text(LATENT)
    head = SWEEP.partition("def get_sweep")[0]
    (tmp_path / "sweep.py").write_text(head + 'def get_sweep():\n    return [run("a", seed=0), run("b", seed=1)]\n')
    assert sweep() == 2
    sentence = "run 'a' cannot be a member of a population: the members of a population differ in their orders"
    assert sentence in capsys.readouterr().err


MIXED = SWEEP.replace(
    "seed=1)]",
    """seed=1),
        Mean("mean", ["raster-0", "raster-1"]),
        Mixture("equal", ["raster-0", "odd"], published=1.5, published_mark="M"),
        Mixture("fitted", ["raster-0", "odd"], weights="fitted"),
        Mixture("chosen", ["raster-0", "raster-1", "odd"], model="some", weights="chosen"),
    ]""",
)


def check_mixture_of_runs(workdirs, weights):
    model, params = mixture_of_runs(workdirs)
    np.testing.assert_allclose(np.exp(model.log_weights(params)), weights, atol=1e-5)
    x = np.eye(4, dtype=np.int32)[:2]
    nats = np.stack([-np.asarray(open_run(str(workdir)).log_prob(x)) for workdir in workdirs])
    np.testing.assert_allclose(-np.asarray(jax.jit(model.log_prob)(params, x)), mixed_nats(nats, weights), rtol=1e-5)
    assert "weights of a mixture cannot be 'fited', did you mean" in refusal(mixture_of_runs, workdirs, "fited")
    assert "is no finished run" in refusal(mixture_of_runs, [workdirs[0], workdirs[0].parent])
    assert "at least one run" in refusal(mixture_of_runs, [])


@pytest.mark.slow
def test_means_and_mixtures_are_rows_whoever_trained_their_runs(folder, capsys):
    """The nats of the examples come from rows.npz; where it is missing, damaged or of other parameters, from these."""
    (folder / "sweep.py").write_text(MIXED)
    assert sweep("--only=mean,equal,fitted,chosen") == 0
    out = folder / "out"
    made = rows()
    of_mixtures = [f"made, 2 mixed, {weights} weights" for weights in ("equal", "fitted")]
    assert [row["model"] for row in made] == [*["made"] * 3, "made, mean of 2 seeds", *of_mixtures, "some"]
    values = [results(out / name)["nll_nats"] for name in ("raster-0", "raster-1")]
    mean, equal, fitted, chosen = made[3:]
    assert float(mean["value"]) == pytest.approx(np.mean(values), rel=1e-5)
    assert float(mean["value_stderr"]) == pytest.approx(np.std(values, ddof=1) / np.sqrt(2), rel=1e-2)
    one, two = (read_arrays(out / name / "rows.npz")["test"].astype(float) for name in ("raster-0", "odd"))
    mixed = -np.log((np.exp(-one) + np.exp(-two)) / 2)
    assert float(equal["value"]) == pytest.approx(mixed.mean(), rel=1e-5)
    assert float(equal["value_stderr"]) == pytest.approx(mixed.std(ddof=1) / np.sqrt(20), rel=1e-2)
    valid = np.stack([read_arrays(out / name / "rows.npz")["validation"] for name in ("raster-0", "odd")])
    weights = fit_weights(valid)
    assert abs(weights[0] - 0.5) > 0.02, "fitted weights ought to differ from equal ones"
    assert float(fitted["value"]) == pytest.approx(mixed_nats(np.stack([one, two]), weights).mean(), rel=1e-5)
    assert (equal["stderr_over"], mean["stderr_over"]) == ("examples", "seeds")
    assert float(fitted["validation"]) == pytest.approx(mixed_nats(valid, weights).mean(), rel=1e-5)
    assert float(fitted["validation"]) <= float(equal["validation"]) and float(equal["validation_stderr"]) > 0
    assert (equal["published"], equal["published_mark"], equal["kind"]) == ("1.5", "M", "exact")
    assert (equal["ordering"], equal["seed"], mean["ordering"], mean["seed"]) == ("2 orders", "0, 1", "raster", "0, 1")
    assert int(equal["num_params"]) == 2 * int(mean["num_params"])
    flags = "--sweep=sweep.py --workdir=runs/out --executor=population --only=fitted"
    assert fitted["command"] == f"arjax-sweep {flags}"
    check_mixture_of_runs([out / "raster-0", out / "odd"], weights)

    shutil.rmtree(out / "raster-0")
    alone(out / "raster-0", "raster", 0)  # by itself: no rows
    (out / "odd" / "rows.npz").write_bytes(b"damaged")
    np.savez(out / "raster-1" / "rows.npz", test=np.ones(20, np.float32), validation=np.ones(16, np.float32))
    assert main(["--sweep=sweep.py", "--workdir=out", "--only=equal,fitted,chosen"]) == 0
    for before, after in zip((equal, fitted, chosen), rows()[-3:], strict=True):
        assert float(after["value"]) == pytest.approx(float(before["value"]), rel=1e-5)


@pytest.mark.slow
def test_a_mixture_that_cannot_be_made_fails_alone(folder, capsys):
    text = MIXED.replace('model__ordering="random", seed=1)', 'seed=1, evaluate__split="validation")')
    (folder / "sweep.py").write_text(text.replace('weights="fitted"', "").replace('weights="chosen"', ""))
    assert sweep("--only=mean,equal") == 1
    err = capsys.readouterr().err  # of the rows that were asked for
    told = "arrays and arrays (validation split)"
    assert err == f"arjax-sweep: row 'equal' is made of runs on {told}\n"
    assert rows()[-1]["model"] == "made, mean of 2 seeds"
