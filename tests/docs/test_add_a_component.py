"""The components that pages write: beside a config they train, and in a package they keep the laws."""

import importlib
import json
import os
import re
import shlex
import subprocess
import sys

import doc_text
import pytest
from refusals import refusal
from registries import within

from arjax.cli.main import main
from arjax.conditionals import CONDITIONALS
from arjax.models import KINDS, Recipe, make
from arjax.networks import NETWORKS
from arjax.samplers import SAMPLERS, make_sampler
from arjax.testing import EVENTS, model_laws
from arjax.testing import network as laws_of_network
from arjax.testing.conditional import check_entropy, check_normalised, check_samples, check_shapes


def files_of(page, registry):
    """A fixture: the folder with the files of a page; what they register is there for one test."""

    @pytest.fixture
    def files(repository, tmp_path, monkeypatch):
        with doc_text.titled_files(repository / "docs" / page, tmp_path, registry, monkeypatch):
            yield tmp_path

    return files


kind, network = files_of("add_a_kind.md", KINDS), files_of("add_a_network.md", NETWORKS)
sampler = files_of("add_a_sampler.md", SAMPLERS)


def laws_of(path, *tests):
    """The laws of tests of a file, each with the test that takes it, by name."""
    names = {"__name__": path.stem}
    exec(compile(path.read_text(), path.name, "exec"), names)
    marks = {name: names[name].pytestmark[0].args[1] for name in tests}
    return {name: {row.id: (names[name], row.values[0]) for row in rows} for name, rows in marks.items()}


def hold(laws, name):
    test, law = laws[name]
    test(law)


def test_the_components_are_those_of_the_package_and_have_few_concepts(kind, network, repository):
    package = repository / "examples" / "outside_package" / "running_mean"
    assert (kind / "latent_class.py").read_text() == (package / "latent_class.py").read_text()
    assert (network / "running_mean.py").read_text() == (package / "network.py").read_text()
    for page in ("add_a_network.md", "add_a_sampler.md"):
        text = (repository / "docs" / page).read_text()
        most, concepts = re.search(r"^(\w+) concepts are enough .*?: (.*?), and ", text, flags=re.M).groups()
        assert len(concepts.split(", ")) + 1 == {"Nine": 9, "Eight": 8}[most]


@pytest.mark.slow
def test_the_config_of_a_kind_trains(kind):
    workdir = kind / "classes"
    assert main([f"--config={kind / 'class_config.py'}:smoke", f"--workdir={workdir}"]) == 0
    config, results = (json.loads((workdir / file).read_text()) for file in ("config.json", "results.json"))
    assert config["plugins"] == [f"latent_class in {kind}"] and config["model"]["kind"] == "latent_class"
    assert results["kind"] == "exact"
    assert (workdir / "classes.png").exists()


@pytest.mark.slow
def test_the_config_of_a_network_trains_and_its_code_must_be_trusted(network, repository, monkeypatch):
    monkeypatch.chdir(network)
    (shown,) = [b for b in doc_text.blocks(repository / "docs" / "own_code.md") if "refusal=" in b.info]
    train, sample, refused = shown.text.splitlines()
    assert main(shlex.split(train)[2:]) == 0
    program, environment = (
        [sys.executable, "-m", *shlex.split(sample)[1:]],
        os.environ | {"PYTHONPATH": str(repository)},
    )
    process = subprocess.run(program, capture_output=True, text=True, env=environment, timeout=120)
    assert process.returncode == 2
    doc_text.check_printed(refused, process.stderr.splitlines()[-1])
    config = json.loads((network / "runs" / "mean" / "config.json").read_text())
    assert config["plugins"] == [f"running_mean in {network}"] and config["network"]["hidden_size"] == 64


def test_the_laws_that_a_page_shows_are_among_those_of_made(repository):
    page = repository / "docs" / "laws.md"
    code, shown = (b.text for b in doc_text.blocks(page)[:2])
    exec(compile(code, page.name, "exec"), names := {})
    (rows,) = (mark.args[1] for mark in names["test_made"].pytestmark if mark.name == "parametrize")
    listed = re.findall(r"\[(.*)\] PASSED", shown)
    assert len(listed) == 6 and set(listed) <= {row.id for row in rows}


def test_the_test_file_of_a_kind_holds_it_to_the_laws(kind):
    laws = laws_of(kind / "test_latent_class.py", "test_latent_class")["test_latent_class"]
    assert laws.keys() == {f"{law}-binary" for law in ("mass", "terms", "gradients", "draws", "samples", "files")}
    hold(laws, "files-binary")


def test_the_test_file_of_a_network_holds_it_to_the_laws(network):
    laws = laws_of(network / "test_running_mean.py", "test_running_mean")["test_running_mean"]
    assert {"autoregressive-real", "steps-tokens", "extends-binary", "normalised", "gradients"} <= laws.keys()
    hold(laws, "autoregressive-binary")


def test_the_kind_that_is_made_of_a_part_can_be_stored(repository):
    """The orders of a part are in the file; without `named_parts` they would be lost."""
    text, names = (repository / "examples" / "symmetric.py").read_text(), {"__name__": "symmetric"}
    with within(KINDS):
        exec(compile(text, "symmetric.py", "exec"), names)
        law = model_laws("symmetric")
        law({row.id: row.values[0] for row in law.pytestmark[0].args[1]}["files-binary"])
        example = names["Symmetric"].EXAMPLES["binary"]
        del names["Symmetric"].named_parts
        assert "`named_parts` of the kind of" in refusal(make, Recipe(example.event, example.context, example.choice))


def test_the_mixture_of_the_examples_keeps_the_laws(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "examples"))
    with within(CONDITIONALS):
        importlib.import_module("laplace")
        for law in (check_shapes, check_normalised, check_samples, check_entropy):
            law("laplace_mixture(components=2)", "real", 1.0)
    del sys.modules["laplace"]


def test_the_network_from_masks_keeps_the_laws(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "examples"))
    with within(NETWORKS):
        importlib.import_module("masked_mixer")
        model = laws_of_network.supported("masked_mixer", EVENTS["tokens"], "random(seed=1)", "sites")
        for check in (laws_of_network.check_autoregressive, laws_of_network.check_steps):
            check(model, laws_of_network.params_of(model))
    del sys.modules["masked_mixer"]


def test_the_page_of_a_sampler_states_its_laws_and_two_of_them_hold(sampler):
    cooling, without = laws_of(sampler / "test_cooling.py", "test_cooling", "test_without_cooling").values()
    assert cooling.keys() == {"statistics", "own-key", *(f"observed-{kind}" for kind in ("binary", "tokens", "real"))}
    assert {"distribution", "values-of-naive-binary", "values-of-naive-real"} <= without.keys()
    assert not make_sampler("cooling").exact and make_sampler("cooling(start=1.0)").exact
    hold(without, "values-of-naive-binary")
    hold(cooling, "observed-tokens")


@pytest.mark.slow
def test_all_laws_of_the_sampler_of_the_page_hold(sampler):
    found = laws_of(sampler / "test_cooling.py", "test_cooling", "test_without_cooling").values()
    assert sum(map(len, found)) > 5
    for laws in found:
        for name in laws:
            hold(laws, name)  # raises `LawBroken`
