"""The package in `examples/outside_package`: in this process, and installed as others install it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from arjax.conditionals import CONDITIONALS
from arjax.config.files import load_config_file
from arjax.networks import NETWORKS
from arjax.testing import check_network, network
from arjax.testing.conditional import check_entropy, check_in_a_model, check_normalised, check_samples


@pytest.fixture
def package(repository, monkeypatch):
    """Its folder; what it registers is there for one test."""
    folder = repository / "examples" / "outside_package"
    for registry in (NETWORKS, CONDITIONALS):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "running_mean"]:
        del sys.modules[name]


def test_it_keeps_the_laws(package):
    import running_mean  # noqa: F401

    model = network.supported("running_mean", network.EVENTS["tokens"], "random(seed=1)", "sites")
    for check in (network.check_autoregressive, network.check_steps, network.check_extends):
        check(model, network.params_of(model))
    network.check_bfloat16("running_mean", {})
    for check in (check_normalised, check_samples, check_entropy):
        check("binomial", "levels", 1.0)
    check_in_a_model("binomial", ("levels",))
    config = load_config_file(str(package / "configs" / "mean_digits.py") + ":smoke")
    assert (config.network.name, config.model.conditional) == ("running_mean", "binomial")


@pytest.mark.slow
def test_without_pytest_it_says_what_it_kept(package):
    import running_mean  # noqa: F401

    found = check_network("running_mean")
    assert found.pop("dropout") == "the network 'running_mean' has no dropout" and set(found.values()) == {"kept"}


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
    config, workdir = source / "configs" / "mean_digits.py", tmp_path / "run"
    run("arjax", f"--config={config}:smoke", f"--workdir={workdir}", folder=tmp_path)
    assert '"plugins": []' in (workdir / "config.json").read_text()
    assert "digits test" in run("arjax", "--mode=evaluate", f"--workdir={workdir}", folder=source)
    assert '"running_mean"' in run("arjax", "--mode=list", "--json", folder=tmp_path)
