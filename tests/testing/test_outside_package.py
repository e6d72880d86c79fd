"""The package in `examples/outside_package`: in this process, and installed as others install it."""

import csv
import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

import arjax
from arjax.api.pictures import model_pictures
from arjax.conditionals import CONDITIONALS
from arjax.config.files import load_config_file
from arjax.data import make_dataset
from arjax.evaluation.splits import Scoring
from arjax.models import KINDS, ModelChoice, make_model
from arjax.networks import NETWORKS
from arjax.testing import EVENTS, check_network, network
from arjax.testing.conditional import check_normalised, check_samples
from arjax.testing.examples import random_like
from arjax.testing.model import model_laws


@pytest.fixture
def package(repository, monkeypatch, scope):
    """Its folder; what it registers is there for one test."""
    folder = repository / "examples" / "outside_package"
    scope(NETWORKS, CONDITIONALS, KINDS)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "running_mean"]:
        del sys.modules[name]


def test_it_keeps_the_laws(package):
    import running_mean  # noqa: F401

    model = network.supported("running_mean", EVENTS["tokens"], "random(seed=1)", "sites")
    for check in (network.check_autoregressive, network.check_steps):
        check(model, network.params_of(model))
    for check in (check_normalised, check_samples):
        check("binomial", "levels", 1.0)
    config = load_config_file(str(package / "configs" / "mean_digits.py") + ":smoke")
    assert (config.network.name, config.model.conditional) == ("running_mean", "binomial")
    for law in model_laws.of("latent_class"):
        if law.name.startswith(("mass", "samples", "files")):
            law.check()
    assert len((package / "running_mean" / "latent_class.py").read_text().splitlines()) <= 80


@pytest.mark.slow
def test_its_kind_of_model_is_one_of_ours(package, tmp_path):
    """Held to all laws; trained, saved, loaded and drawn; mixed with another kind, also in a file; with pictures."""
    import running_mean  # noqa: F401

    for law in model_laws.of("latent_class"):
        law.check()
    x = np.repeat([[[0, 0], [0, 1]], [[1, 1], [1, 0]]], 20, 0).astype(np.int32)
    model = make_model(arjax.EventSpec((2, 2)), kind="latent_class", num_classes=2)
    fitted = arjax.fit_arrays(model, train=x, validation=x, steps=60, batch_size=40, learning_rate=0.3, quiet=True)
    assert np.asarray(fitted.log_prob(x)).mean() > -1.0  # log 2 is the entropy of the data, 4 log 2 that of noise
    drawn = fitted.sample(50, seed=3)
    assert (drawn.reshape(50, 1, 4) == x[[0, 20]].reshape(1, 2, 4)).all(-1).any(1).mean() > 0.8
    fitted.save(tmp_path / "classes.safetensors")
    again = arjax.load(tmp_path / "classes.safetensors")
    assert again.model == model and (again.sample(50, seed=3) == drawn).all()
    parts = {"classes": model, "network": ModelChoice(network="independent")}
    mixture = make_model(model.event, kind="mixture", parts=parts)
    mixed = arjax.fit_arrays(mixture, train=x, steps=2, batch_size=40, quiet=True)
    mixed.save(tmp_path / "mixed.safetensors")
    drawn = arjax.load(tmp_path / "mixed.safetensors").model.draw(mixed.params, jax.random.split(jax.random.key(0), 30))
    assert set(np.unique(drawn.stats["member"])) == {0, 1}
    digits = make_dataset("digits")
    model = make_model(digits.event, kind="latent_class", num_classes=3)
    pictures = dict(model_pictures(model, random_like(model.param_shapes), digits, jax.random.key(0), Scoring(100)))
    assert list(pictures) == ["classes.png"]


@pytest.mark.slow
def test_without_pytest_it_says_what_it_kept(package):
    import running_mean  # noqa: F401

    found = check_network("running_mean")
    ahead = [found.pop(name) for name in list(found) if name.startswith("ahead")]
    assert all("predicts the steps one after another" in refusal for refusal in ahead)
    assert found.pop("dropout") == "the network 'running_mean' has no dropout"
    assert set(found.values()) == {"kept", "the network 'running_mean' takes no missing values"}


@pytest.mark.slow
def test_installed_it_is_found_by_its_entry_point(repository, tmp_path):
    """Its own tests pass; a run trains, and is scored in another process and folder."""
    pytest.importorskip("setuptools", minversion="77")
    source = shutil.copytree(repository / "examples" / "outside_package", tmp_path / "source")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, f"--target={tmp_path / 'site'}", str(source)], check=True)
    path = os.pathsep.join([str(tmp_path / "site"), str(repository)])
    environment = os.environ | {"PYTHONPATH": path}

    def run(*arguments, folder):
        done = subprocess.run(
            [sys.executable, "-m", *arguments], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    laws = run("pytest", "-q", "-p", "no:cacheprovider", str(source / "tests"), folder=tmp_path)
    assert "passed" in laws and "failed" not in laws
    config, workdir, elsewhere = source / "configs" / "mean_digits.py", tmp_path / "run", tmp_path / "elsewhere"
    elsewhere.mkdir()
    run("arjax", f"--config={config}:smoke", f"--workdir={workdir}", folder=tmp_path)
    assert '"plugins": []' in (workdir / "config.json").read_text()
    assert "digits test" in run("arjax", "--mode=evaluate", f"--workdir={workdir}", folder=elsewhere)
    listed = run("arjax", "--mode=list", "--json", folder=tmp_path)
    assert '"running_mean"' in listed and '"latent_class"' in listed
    sweep = tmp_path / "sweep.py"
    config = source / "configs" / "class_digits.py"
    sweep.write_text(f"""
from arjax.sweep import Mixture, Run

def get_sweep():
    of = lambda arg: f"{config}:smoke,{{arg}}"
    rows = [Run("few", of("num_classes=2")), Run("many", of("num_classes=9")), Run("mixed", of("mixed"))]
    return rows + [Mixture("two", ["few", "many"])]
""")
    run("arjax.sweep.main", f"--sweep={sweep}", f"--workdir={tmp_path / 'study'}", folder=tmp_path)
    with (tmp_path / "study" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 and all(float(row["value"]) > 0 for row in rows)
    for name in ("few", "many", "mixed"):
        assert json.loads((tmp_path / "study" / name / "results.json").read_text())["kind"] == "exact"
    assert (tmp_path / "study" / "few" / "classes.png").exists()
    assert "samples-1" in run("arjax", "--mode=sample", f"--workdir={tmp_path / 'study' / 'few'}", folder=tmp_path)
