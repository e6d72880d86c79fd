"""The sweep over recipes of a table of reals."""

from __future__ import annotations

import re
import runpy

from arjax.config.files import load_config_file
from arjax.sweep.table import load_sweep


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
        conditionals = [member.model.conditional for member in config.parts.values()]
        conditionals += [config.model.conditional] if config.model.kind == "autoregressive" else []
        assert conditionals and all("min_log_scale=-3.1)" in conditional for conditional in conditionals)
