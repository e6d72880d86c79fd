"""The pages of the site: all are collected and in its menu, and no link leads nowhere."""

import re
import runpy

import doc_text
import pytest


@pytest.fixture(scope="module")
def site(repository, tmp_path_factory):
    target = tmp_path_factory.mktemp("site") / "pages"
    runpy.run_path(str(repository / "scripts" / "collect_pages.py"))["collect"](repository, target)
    return target


def test_every_page_stands_in_the_menu_once(repository, site):
    listed = re.findall(r": (\S+\.md)$", (repository / "mkdocs.yml").read_text(), flags=re.M)
    notebooks = [path.with_suffix(".md") for path in site.glob("docs/lecture/*.py")]  # pages once they have run
    pages = [*site.rglob("*.md"), *notebooks]
    assert len(notebooks) == 5 and sorted(listed) == sorted(path.relative_to(site).as_posix() for path in pages)


def test_the_menu_has_at_most_four_groups_which_open_and_close(repository):
    text = (repository / "mkdocs.yml").read_text()
    groups = re.findall(r"^  - ([^:]+):$", text[text.index("nav:") :], flags=re.M)
    assert groups == ["Learn", "Use", "Extend", "Results"]
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


def test_links_between_collected_pages_lead_somewhere(site):
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
            assert path.is_dir() or path.with_suffix(".py").is_file(), f"{page.name} names {name}"
