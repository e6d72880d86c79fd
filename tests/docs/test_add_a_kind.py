"""The kind of model that `docs/add_a_kind.md` writes: beside a config it trains, and in a package it keeps the laws."""

import json
import re

import doc_text
import pytest

from arjax.cli.main import main
from arjax.core.errors import UserError
from arjax.models import KINDS, Recipe, make
from arjax.testing import model_laws


@pytest.fixture
def files(repository, tmp_path, monkeypatch):
    """The folder with the files of the page; what they register is there for one test."""
    with doc_text.titled_files(repository / "docs" / "add_a_kind.md", tmp_path, KINDS, monkeypatch):
        yield tmp_path


def test_the_kind_is_that_of_the_package_and_has_ten_concepts(files, repository):
    package = repository / "examples" / "outside_package" / "running_mean"
    assert (files / "latent_class.py").read_text() == (package / "latent_class.py").read_text()
    page = (repository / "docs" / "add_a_kind.md").read_text()
    assert re.findall(r"^\| (\d+) \|", page, re.M) == [str(n) for n in range(1, 11)]


@pytest.mark.slow
def test_its_config_trains(files):
    for form, kind in (("smoke", "latent_class"), ("smoke,mixed", "mixture")):
        workdir = files / kind
        assert main([f"--config={files / 'class_config.py'}:{form}", f"--workdir={workdir}"]) == 0
        config, results = (json.loads((workdir / name).read_text()) for name in ("config.json", "results.json"))
        assert config["plugins"] == [f"latent_class in {files}"] and config["model"]["kind"] == kind
        assert results["kind"] == "exact"
    assert (files / "latent_class" / "classes.png").exists()


def test_its_test_file_holds_it_to_the_laws(files, monkeypatch):
    monkeypatch.syspath_prepend(str(files))
    names = {"__name__": "test_latent_class"}
    exec(compile((files / "test_latent_class.py").read_text(), "test_latent_class.py", "exec"), names)
    (mark,) = names["test_latent_class"].pytestmark
    laws = {row.id: row.values[0] for row in mark.args[1]}
    assert laws.keys() == {f"{law}-binary" for law in ("mass", "terms", "gradients", "draws", "samples", "files")}
    names["test_latent_class"](laws["files-binary"])


def test_the_kind_that_is_made_of_a_part_can_be_stored(repository):
    """The orders of a part are in the file; without `named_parts` they would be lost."""
    (text,) = [b.text for b in doc_text.blocks(repository / "docs" / "add_a_kind.md") if "class Symmetric" in b.text]
    names = {"__name__": "symmetric"}
    with KINDS.scope():
        exec(compile(text, "symmetric.py", "exec"), names)
        law = model_laws("symmetric")
        law({row.id: row.values[0] for row in law.pytestmark[0].args[1]}["files-binary"])
        example = names["Symmetric"].EXAMPLES["binary"]
        del names["Symmetric"].named_parts
        with pytest.raises(UserError, match="`named_parts` of the kind of model 'symmetric' lacks base"):
            make(Recipe(example.event, example.context, example.choice))
