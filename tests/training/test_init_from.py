"""A run that starts from the best parameters of another one, and what does not fit."""

from __future__ import annotations

import shutil

import jax
import jax.numpy as jnp
import pytest
from loop_helpers import assert_same_bits, stop_at, tiny_config

from arjax.cli.main import main
from arjax.config.build import build
from arjax.config.files import load_workdir_config, save_config
from arjax.core.errors import UserError
from arjax.training.loop import train
from arjax.training.setup import check_fits, restore_params


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A run whose best parameters are not its last ones."""
    workdir = tmp_path_factory.mktemp("first")
    config = tiny_config(train__steps=4, train__eval_every=2, optimizer__name="sgd", optimizer__learning_rate=50.0)
    config.train.ema_decay = 0.0
    save_config(config, workdir)
    train(build(config), workdir)
    return workdir


def test_the_first_parameters_are_the_best_ones_of_the_run(first):
    best, step, _ = restore_params(build(load_workdir_config(first)), first)
    setup = build(tiny_config(train__init_from=str(first)))
    state = setup.init_state(setup.keys()[0])
    assert step in (2, 4) and int(state.step) == 0
    assert_same_bits(state.params, best)
    assert_same_bits(state.ema, best)
    fresh = build(tiny_config())
    other = fresh.init_state(fresh.keys()[0]).params
    assert max(float(abs(a - b).max()) for a, b in zip(jax.tree.leaves(other), jax.tree.leaves(best), strict=True)) > 0


def test_a_resumed_run_asks_the_other_no_more(first, tmp_path, monkeypatch):
    shutil.copytree(first, tmp_path / "first")
    changes = {"train__init_from": str(tmp_path / "first")}
    stop_at(monkeypatch, 6)
    assert train(build(tiny_config(**changes)), tmp_path / "run").status == "interrupted"
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "first")
    outcome = train(build(tiny_config(**changes)), tmp_path / "run")
    assert (outcome.status, outcome.step) == ("finished", 12)


def test_what_does_not_fit_is_named(first, tmp_path):
    for changes, sentence in (
        ({"network__hidden_sizes": (24,)}, r"of another shape: .*float32\[.*16.*\] there, float32\[.*24.*\] here\)"),
        ({"network__hidden_sizes": (16, 16)}, r"missing there: \S*hidden_1\S*"),
    ):
        with pytest.raises(UserError, match=sentence):
            train(build(tiny_config(train__init_from=str(first), **changes)), tmp_path / "run")
    with pytest.raises(UserError, match="holds no run"):
        train(build(tiny_config(train__init_from=str(tmp_path / "nobody"))), tmp_path / "run")
    assert not list((tmp_path / "run").glob("checkpoints/*"))
    wanted, found = ({name: jnp.zeros(2) for name in names} for names in ("ab", "bcdef"))
    sentence = r"=runs/a do not fit this model; missing there: a; left over: c, d, e, \.\.\.$"
    with pytest.raises(UserError, match=sentence):
        check_fits(wanted, found, "runs/a")


def test_the_command_line_keeps_it_in_the_config_and_refuses_what_does_not_fit(first, tmp_path, capsys):
    path = tmp_path / "config.py"
    path.write_text(
        "from loop_helpers import tiny_config\ndef get_config(arg=''):\n"
        "    return tiny_config(train__steps=2, train__log_every=2)\n"
    )
    flags = [f"--config={path}", f"--workdir={tmp_path / 'run'}", f"--config.train.init_from={first}"]
    assert main([*flags, "--config.network.hidden_sizes=24"]) == 2
    assert "do not fit this model" in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.json").exists()
    assert main(flags) == 0 and "bits/dim (exact)" in capsys.readouterr().out
    assert load_workdir_config(tmp_path / "run").train.init_from == str(first)
