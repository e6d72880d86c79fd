"""The sampler that `docs/add_a_sampler.md` writes keeps the laws, and at one temperature it is exact."""

import doc_text
import pytest

from arjax.samplers import SAMPLERS, make_sampler


@pytest.fixture
def files(repository, tmp_path, monkeypatch):
    """The folder with the files of the page; what they register is there for one test."""
    with doc_text.titled_files(repository / "docs" / "add_a_sampler.md", tmp_path, SAMPLERS, monkeypatch):
        yield tmp_path


def laws_of_the_page(files):
    """The laws of both tests of the page, each with the test that takes it, by name."""
    names = {"__name__": "test_cooling_of_the_page"}
    exec(compile((files / "test_cooling.py").read_text(), "test_cooling.py", "exec"), names)
    tests = {}
    for name in ("test_cooling", "test_without_cooling"):
        (mark,) = names[name].pytestmark
        tests[name] = {row.id: (names[name], row.values[0]) for row in mark.args[1]}
    return tests


def test_the_page_states_its_laws_and_two_of_them_hold(files):
    laws = laws_of_the_page(files)
    assert laws["test_cooling"].keys() == {
        *("statistics", "own-key", "observed-binary", "observed-tokens", "observed-real")
    }
    assert {"distribution", "values-of-naive-binary", "values-of-naive-real"} <= laws["test_without_cooling"].keys()
    assert not make_sampler("cooling").exact and make_sampler("cooling(start=1.0)").exact
    for test, law in (laws["test_without_cooling"]["values-of-naive-binary"], laws["test_cooling"]["observed-tokens"]):
        test(law)


@pytest.mark.slow
def test_all_its_laws_hold(files):
    laws = [row for of_test in laws_of_the_page(files).values() for row in of_test.values()]
    assert len(laws) > 5
    for test, law in laws:
        test(law)  # raises `LawBroken`
