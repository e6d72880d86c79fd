"""The pages of the site, the notebooks of the lecture, and the files that hosts of code read."""

import importlib
import pathlib
import re
import runpy
import time
import tomllib

import doc_text
import pytest
import yaml

import arjax


@pytest.fixture(scope="module")
def site(repository, tmp_path_factory):
    target = tmp_path_factory.mktemp("site") / "pages"
    runpy.run_path(str(repository / "scripts" / "collect_pages.py"))["collect"](repository, target)
    return target


def test_every_page_stands_in_the_menu_once(repository, site):
    listed = re.findall(r": (\S+\.md)$", (repository / "mkdocs.yml").read_text(), flags=re.M)
    notebooks = [path.with_suffix(".md") for path in site.glob("docs/lecture/*.py")]  # pages once they have run
    pages = [page for page in (*site.rglob("*.md"), *notebooks) if page.relative_to(site).parts[0] != "source"]
    assert len(notebooks) == 5 and sorted(listed) == sorted(path.relative_to(site).as_posix() for path in pages)


def test_the_menu_has_few_groups_which_open_and_close(repository):
    text = (repository / "mkdocs.yml").read_text()
    groups = re.findall(r"^  - ([^:]+):$", text[text.index("nav:") :], flags=re.M)
    assert groups == ["Learn", "Use", "Extend", "Reference", "Results"]
    features = re.search(r"features: \[(.*)\]", text)[1]
    assert "navigation.sections" not in features and "navigation.expand" not in features


def test_formulas_are_found_outside_of_code(repository):
    script = runpy.run_path(str(repository / "scripts" / "collect_pages.py"))
    text = "$p(x)$ costs 5$, `$HOME` and\n```bash\necho $A $B\n```\n\n    $C $D\n\n"
    text += "then $$\\prod_t p_t$$ and ``a`$x$``, $y_1$."
    found = []
    script["outside_code"](text, lambda part: found.extend(script["FORMULA"].findall(part)) or part)
    assert found == [("", "p(x)"), ("\\prod_t p_t", ""), ("", "y_1")]
    assert script["outside_code"](text, lambda part: part) == text


def test_formulas_of_all_pages_are_typeset(repository, site):
    pytest.importorskip("latex2mathml", reason="needs the extra docs")
    script = runpy.run_path(str(repository / "scripts" / "collect_pages.py"))
    script["typeset"](site)
    page = (site / "docs" / "concepts.md").read_text()
    assert page.count("<math") >= 2 and "\\prod" not in page


def test_blocks_of_code_begin_as_mkdocs_reads_them(site):
    """Else all headings up to the next block are part of it."""
    begins = [line for page in site.rglob("*.md") for line in re.findall(r"^```.+$", page.read_text("utf-8"), re.M)]
    assert begins
    assert not [line for line in begins if not re.fullmatch(r"```[\w-]+( title=\"[^\"]+\")?", line)]


def test_links_between_collected_pages_lead_somewhere(site):
    assert (
        (site / "source" / "arjax" / "networks" / "dense" / "nade.md")
        .read_text()
        .partition("---\n\n")[2]
        .startswith("# nade.py")
    )
    for page in site.rglob("*.md"):
        for link in doc_text.links(page):
            assert (page.parent / link).exists(), f"{page.relative_to(site)} links to {link}"


def test_the_gallery_has_the_pictures_of_all_studies(repository, site):
    shown = set(re.findall(r"\]\((experiments/\S+\.png)\)", (site / "gallery.md").read_text()))
    assert shown == {path.relative_to(repository).as_posix() for path in repository.glob("experiments/*/*.png")}


def test_the_reference_names_modules_that_are_there(repository, site):
    for page in (site / "api").glob("*.md"):
        names = re.findall(r"^::: (\S+)$", page.read_text(), flags=re.M)
        assert names, f"{page.name} is empty"
        for name in names:
            path = repository.joinpath(*name.split("."))
            is_module = path.is_dir() or path.with_suffix(".py").is_file()
            module, _, attribute = name.rpartition(".")
            assert is_module or hasattr(importlib.import_module(module), attribute), f"{page.name} names {name}"


NOTEBOOKS = sorted((pathlib.Path(__file__).parents[2] / "docs" / "lecture").glob("[0-9]*.py"))


def test_notebooks_are_cells_that_begin_with_a_title():
    assert [path.name[0] for path in NOTEBOOKS] == list("12345")
    for path in NOTEBOOKS:
        text = path.read_text(encoding="utf-8")
        assert re.match(rf"# %% \[markdown\]\n# # {path.name[0]}\. ", text), path.name
        compile(text, str(path), "exec")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib").use("Agg")
    monkeypatch.chdir(tmp_path)
    import matplotlib.pyplot as plt

    monkeypatch.setattr(plt, "show", lambda: None)
    start = time.monotonic()
    runpy.run_path(str(path))
    assert plt.get_fignums(), "no figure was drawn"
    plt.close("all")
    assert time.monotonic() - start < 120
    assert not list(tmp_path.iterdir()), "the notebook left files"


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
