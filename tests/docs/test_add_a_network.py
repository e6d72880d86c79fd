"""The network that `docs/add_a_network.md` writes: beside a config it trains, and in a package it keeps the laws."""

import importlib
import json
import re

import doc_text
import pytest

from arjax.cli.main import main
from arjax.conditionals import CONDITIONALS
from arjax.networks import NETWORKS
from arjax.testing.conditional import check_entropy, check_normalised, check_samples, check_shapes


@pytest.fixture
def files(repository, tmp_path, monkeypatch):
    """The folder with the files of the page; what they register is there for one test."""
    with doc_text.titled_files(repository / "docs" / "add_a_network.md", tmp_path, NETWORKS, monkeypatch):
        yield tmp_path


def test_the_network_is_that_of_the_package(files, repository):
    package = repository / "examples" / "outside_package" / "running_mean"
    assert (files / "running_mean.py").read_text() == (package / "network.py").read_text()


@pytest.mark.slow
def test_its_config_trains(files):
    assert main([f"--config={files / 'mean_config.py'}:smoke", f"--workdir={files / 'run'}"]) == 0
    config = json.loads((files / "run" / "config.json").read_text())
    assert config["plugins"] == [f"running_mean in {files}"] and config["network"]["hidden_size"] == 64


def test_its_test_file_holds_it_to_the_laws(files, monkeypatch):
    monkeypatch.syspath_prepend(str(files))
    names = {"__name__": "test_running_mean"}
    exec(compile((files / "test_running_mean.py").read_text(), "test_running_mean.py", "exec"), names)
    (mark,) = names["test_running_mean"].pytestmark
    laws = {row.id: row.values[0] for row in mark.args[1]}
    assert {"autoregressive-real", "steps-tokens", "extends-binary", "normalised", "gradients"} <= laws.keys()
    names["test_running_mean"](laws["autoregressive-binary"])


def test_the_page_counts_its_concepts(repository):
    for page in ("add_a_network.md", "add_a_sampler.md"):
        text = (repository / "docs" / page).read_text()
        numbers = re.findall(r"^\| (\d+) \| [a-z`S]", text, flags=re.M)
        words = {"Nine": 9, "Eight": 8}[re.search(r"^(\w+) concepts are enough", text, flags=re.M)[1]]
        assert numbers == [str(n + 1) for n in range(words)] and words <= 9


def test_the_mixture_of_the_page_keeps_the_laws(repository, tmp_path, monkeypatch):
    with doc_text.titled_files(repository / "docs" / "add_a_network.md", tmp_path, CONDITIONALS, monkeypatch):
        importlib.import_module("laplace")
        for law in (check_shapes, check_normalised, check_samples, check_entropy):
            law("laplace_mixture(components=2)", "real", 1.0)
