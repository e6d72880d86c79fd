"""The sweep over recipes of a table of reals."""

import math
import re
import runpy

from arjax.config.files import load_config_file
from arjax.sweep.rows import load_sweep


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
