"""The files that hosts of code read: they parse, and agree with the project."""

import re
import tomllib

import yaml

import arjax


def load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_citations_name_the_version_and_the_licence(repository):
    citation = load(repository / "CITATION.cff")
    assert citation["version"] == arjax.__version__
    assert f"version = {{{arjax.__version__}}}" in (repository / "README.md").read_text()
    assert f'license = "{citation["license"]}"' in (repository / "pyproject.toml").read_text()


def test_the_workflow_runs_the_checks_of_the_makefile_on_both_pythons(repository):
    job = load(repository / ".github" / "workflows" / "tests.yml")["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
    targets = [step["run"].split()[1] for step in job["steps"] if "run" in step]
    assert targets == ["lint", "test"]
    (hook,) = load(repository / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    makefile = (repository / "Makefile").read_text()
    for target in [*targets, hook["entry"].split()[1]]:
        assert re.search(rf"^{target}:", makefile, flags=re.M)


def test_the_types_are_checked_before_the_tests_with_a_pinned_version(repository):
    """`make lint` runs the checker, and continuous integration runs `make lint`."""
    makefile = (repository / "Makefile").read_text()
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, flags=re.M)[1].split()
    assert [word for word in lint if word.startswith("$(BIN)")] == ["$(BIN)/ruff", "$(BIN)/ruff", "$(BIN)/mypy"]
    commands = (repository / ".ci" / "run").read_text()
    assert commands.index("make lint") < commands.index("make test")
    project = tomllib.loads((repository / "pyproject.toml").read_text())
    assert any(name.startswith("mypy") for name in project["project"]["optional-dependencies"]["dev"])
    assert re.search(r"^mypy==[\d.]+$", (repository / "constraints.txt").read_text(), flags=re.M)
    # No part of the package is left out: neither by the settings nor by a comment at the top of a file.
    assert project["tool"]["mypy"]["files"] == ["arjax"]
    assert project["tool"]["mypy"]["exclude"] == ["^arjax/configs/"]
    assert not any("ignore_errors" in part for part in project["tool"]["mypy"]["overrides"])
    assert not [path for path in (repository / "arjax").rglob("*.py") if "# mypy:" in path.read_text()]


def test_reports_of_bugs_ask_for_the_version_and_the_config(repository):
    fields = load(repository / ".github" / "ISSUE_TEMPLATE" / "bug.yml")["body"]
    texts = [str(field["attributes"]) for field in fields]
    assert any("arjax --version" in text for text in texts) and any("config.json" in text for text in texts)
