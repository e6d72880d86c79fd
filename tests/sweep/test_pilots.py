"""Runs that take the fields of the best of their pilots on validation, and the sweeps over recipes of tables."""

import math
import re
import runpy
import shutil

import pytest
from sweep_cases import STAND_IN, rows, sweep, write_sweep

from arjax.config.files import load_config_file
from arjax.core.errors import UserError
from arjax.sweep.rows import load_sweep, runs_of
from arjax.sweep.runs import Run

#: The validation of each rate; the test scores would choose another one.
SCORES = """
rate = flags.get("config.optimizer.learning_rate", "1")
results |= dict(validation_nll_nats={"1": 9.0, "2": 7.0, "3": 8.0}[rate], validation_nll_stderr=0.1)
results["nll_nats"] = {"1": 5.0, "2": 6.0, "3": 4.0}[rate]
json.dump(results, open(folder + "/results.json", "w"))
"""
PILOTS = [
    "Run('a', 'good.py')",
    *(f"Run('{n}', 'good.py', {{'optimizer.learning_rate': {r}, 'seed': 3}})" for n, r in (("b", 2), ("c", 3))),
]
LATER = "Run('later', 'good.py', {'seed': 5}, pilots=('a', 'b', 'c'))"


def test_a_run_takes_the_fields_of_the_best_pilot_that_it_lacks(folder, capsys):
    (folder / "stand_in.py").write_text(STAND_IN + SCORES)
    write_sweep(folder, LATER, *PILOTS)
    assert sweep("--dry_run") == 0
    assert "later takes, too, the fields of the best of a, b, c on validation" in capsys.readouterr().out
    assert sweep("--only=later") == 0  # its pilots go with it
    found = {row["command"].partition("runs/")[2].partition(" ")[0]: row for row in rows()}
    assert len(found) == 4 and found["later"]["value"] == "6" and found["later"]["seed"] == "5"
    assert found["later"]["command"] == (
        "arjax --config=good.py --workdir=runs/later --config.optimizer.learning_rate=2 --config.seed=5"
    )
    assert sweep() == 0 and (folder / "out/later/starts").read_text() == "x"  # finished
    (folder / "out/b/results.json").write_text((folder / "out/b/results.json").read_text().replace("7.0", "9.5"))
    capsys.readouterr()
    assert sweep() == 0 and (folder / "out/later/starts").read_text() == "xx"
    assert "later was finished with other fields: optimizer.learning_rate was 2" in capsys.readouterr().out
    assert "learning_rate=3" in rows()[0]["command"]


def test_without_scores_on_validation_it_is_not_started(folder, capsys):
    write_sweep(folder, LATER, *PILOTS)
    assert sweep() == 1 and not (folder / "out/later").exists()
    assert "later was not started: its pilots have no score on validation" in capsys.readouterr().err
    shutil.rmtree(folder / "out/c")
    write_sweep(folder, LATER, *PILOTS[:2], "Run('c', 'bad.py')")
    assert sweep() == 1 and not (folder / "out/later").exists()
    assert "later was not started: it reads c, which has no results" in capsys.readouterr().err


def test_mistakes_are_told(folder):
    for runs, sentence in (
        (["Run('x', 'good.py', pilots=('aa',))", *PILOTS], "'x' has the pilot 'aa', which is no other run"),
        (["Run('x', 'good.py', pilots=('x',))"], "'x' has the pilot 'x', which is no other run"),
        ([LATER, "Run('x', 'good.py', pilots=('later',))", *PILOTS], "has the pilot 'later', which has pilots itself"),
    ):
        write_sweep(folder, *runs)
        with pytest.raises(UserError, match=sentence):
            load_sweep("sweep.py")
    with pytest.raises(UserError, match="the pilots of run 'x' must be names of other runs, not 'a'"):
        Run("x", "good.py", pilots="a")


def test_rates_of_a_binary_table_of_few_rows_are_chosen_on_validation(repository, monkeypatch, tmp_path):
    monkeypatch.chdir(repository)
    path = "configs/sweeps/binary_table.py"
    rates = runpy.run_path(path)["RATES"]
    runs = load_sweep(path)
    assert len(runs) == 9 and [run.overrides.get("optimizer.learning_rate", rates[0]) for run in runs[:3]] == [*rates]
    *runs, mixture = load_sweep(f"{path}:mixture,orders=3,recipe=strong")
    assert [len(run.pilots) for run in runs] == [0, 0, 0, 3, 3] and mixture.of == [run.name for run in runs]
    assert [run.name for run in runs_of([runs[-1]], runs)] == [*runs[-1].pilots, "strong-2"]
    long = tmp_path / "long.csv"
    long.write_text("a,b\n" + "0,1\n1,0\n" * 3000)
    runs = load_sweep(f"{path}:file={long},skip=(a),mixture,orders=2")
    assert [run.name for run in runs if isinstance(run, Run) and run.pilots] == []
    assert runs[0].config == f"configs/binary_table.py:recipe=small,file={long},skip=(a)"


def test_recipes_of_a_real_table_are_compared_at_one_floor(repository, monkeypatch):
    monkeypatch.chdir(repository)
    path = "configs/sweeps/real_table.py"
    runs = load_sweep(f"{path}:file=my.csv,floor=-2.3")
    recipes = [
        re.fullmatch(r"configs/real_table.py:recipe=(\w+),file=my.csv,floor=-2.3", run.config)[1] for run in runs
    ]
    assert recipes == list(runpy.run_path("configs/real_table.py")["RECIPES"]) == [run.name for run in runs]
    *runs, every = load_sweep(f"{path}:mixture,smoke")
    assert every.of == recipes and every.weights == "fitted" and runs[0].config.endswith(":recipe=mixture,smoke")
    for recipe in recipes:
        config = load_config_file(f"configs/real_table.py:recipe={recipe},floor=-3.1")
        if recipe == "flow":  # the scales of its blocks and its base multiply
            conditionals = [config.model.conditional] * config.model.num_blocks + [config.parts.base.model.conditional]
            floors = [float(re.search(r"min_log_scale=([-.\d]+)", conditional)[1]) for conditional in conditionals]
            assert math.isclose(sum(floors), -3.1)
            continue
        conditionals = [member.model.conditional for member in config.parts.values()]
        conditionals += [config.model.conditional] if config.model.kind == "autoregressive" else []
        if config.model.kind == "gaussian_mixture":
            assert config.model.min_log_scale == (-1.15 if recipe == "smooth_gaussians" else -3.1)
            continue
        assert conditionals and all("min_log_scale=-3.1)" in conditional for conditional in conditionals)


def test_the_number_of_gaussians_is_that_of_one_recipe(repository, monkeypatch):
    monkeypatch.chdir(repository)
    runs = {run.name: run for run in load_sweep("configs/sweeps/real_table.py:components=160")}
    found = {name: load_config_file(runs[name].config).model.components for name in runs if "gaussians" in name}
    assert found == {"few_gaussians": 3, "gaussians": 160, "smooth_gaussians": 3, "many_gaussians": 30}
    assert runs["gaussians"].model == "160 Gaussians with full covariances, from EM"
