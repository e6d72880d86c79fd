"""The script that puts random mistakes in: what it changes, which tests it runs, and what it keeps."""

import ast
import json
import subprocess
import sys

import pytest

SOURCE = '''
from here import there

__all__ = ["f"]
LEAST: int = 3
SMALL = {"size": 7}


@decorated(1)
def f(x: list[1], y=0.5, *, k=True):
    """Text 1."""
    if x < y and not k:
        raise UserError(f"{x} is below {1}", 5)
    print(x, y)
    x = g(x[1:], y, axis=0) + x
    x += 3 * -y
    for _ in zip(x, y, strict=True):
        continue
    max(x.reshape(2, -1), y)
    return g(x, f"{y + 1}", "text")
'''
#: All that is done to it, by operator: what stands in a place, and what may stand there instead.
EXPECTED = {
    ("constant", "3"): {"(4)"},
    ("constant", "0.5"): {"(0.505)"},
    ("constant", "True"): {"(False)"},
    ("boolean", "x < y and not k"): {"(x < y or not k)", "(not k)", "(x < y)"},
    ("condition", "x < y and not k"): {"(not (x < y and (not k)))"},
    ("comparison", "x < y"): {"(x <= y)", "(x > y)"},
    ("sign or not", "not k"): {"(k)"},
    ("line", "x = g(x[1:], y, axis=0) + x"): {"pass"},
    ("arithmetic", "g(x[1:], y, axis=0) + x"): {"(g(x[1:], y, axis=0) - x)", "(g(x[1:], y, axis=0))", "(x)"},
    ("arguments", "g(x[1:], y, axis=0)"): {"(g(x[1:], y))", "(g(y, x[1:], axis=0))"},
    ("slice", "1:"): {":"},
    ("constant", "1"): {"(2)", "(0)"},
    ("constant", "0"): {"(1)"},
    ("line", "x += 3 * -y"): {"pass"},
    ("arithmetic", "x += 3 * -y"): {"x -= 3 * -y"},
    ("arithmetic", "3 * -y"): {"(3 / -y)", "(3)", "(-y)"},
    ("sign or not", "-y"): {"(y)"},
    ("line", "continue"): {"pass"},
    ("arguments", "zip(x, y, strict=True)"): {"(zip(y, x, strict=True))"},
    ("arguments", "x.reshape(2, -1)"): {"(x.reshape(-1, 2))"},
    ("constant", "2"): {"(3)"},
    ("line", "max(x.reshape(2, -1), y)"): {"pass"},
    ("sign or not", "-1"): {"(1)"},
    ("returned call", 'g(x, f"{y + 1}", "text")'): {"(x)"},
}


@pytest.fixture(scope="module")
def mutants(load_script):
    return load_script("scripts/mutants.py")


@pytest.fixture(scope="module")
def every(load_script):
    return load_script("scripts/mutants_places.py").places


def test_places_and_what_stands_there_instead(every, mutants):
    found = {}
    for place in every(SOURCE):
        first, start, last, end = place.span
        assert first == last
        found[place.operator, SOURCE.splitlines()[first - 1][start:end]] = set(place.instead)
        for text in place.instead:
            changed = mutants.put_in(SOURCE, place.span, text)
            assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(SOURCE))
            assert len(changed.splitlines()) == len(SOURCE.splitlines())
    assert found == EXPECTED


def test_arguments_that_may_change_places_or_change_no_number_stay(every):
    calls = ("max(x, y)", "math.gcd(x, y)", "np.maximum(x, y)", "np.array_equal(x, y)", "a.union(x, y)")
    for call in (*calls, "a.swapaxes(x, y)", "zip(x, strict=True)", "remat(f, prevent_cse=False)"):
        assert not every(f"{call}.a"), call
    for call, instead in (
        ("np.allclose(x, y, tolerance)", "(np.allclose(x, tolerance, y))"),
        ("np.swapaxes(x, y, 1)", "(np.swapaxes(y, x, 1))"),
        ("np.subtract(x, y)", "(np.subtract(y, x))"),
    ):
        assert every(f"{call}.a")[0].instead == (instead,)
    assert {place.operator for place in every("f(x, train=False).a")} == {"arguments", "constant"}


def test_names_of_types_stay(every):
    assert not every("Pair = tuple[Array, int | None]\nCall = Callable[[np.ndarray], Any]\nEither = A | B")
    for source in ("x = first[1]", "x = first | second()", "def f():\n    x = a | b"):
        assert every(source), source


def test_a_draw_is_that_of_its_seed_and_its_first_ones_stay(mutants, repository):
    ten, twenty = (mutants.mutants_of(repository, 3, num, ("factorization", "objectives")) for num in (10, 20))
    assert ten == twenty[:10] and len({mutant.name for mutant in twenty}) >= 19
    assert {mutant.package for mutant in twenty} == {"factorization", "objectives"}
    assert ten != mutants.mutants_of(repository, 4, 10, ("factorization", "objectives"))
    for mutant in twenty:
        source = (repository / mutant.file).read_text()
        assert mutant.old != mutant.new and ast.parse(mutants.put_in(source, mutant.span, mutant.text))


def test_the_tests_of_a_mutant_execute_its_statement(mutants):
    """Quickest first, with those of the package earlier, up to a limit; of constants of a module those that use it."""
    source = "A = 1\n\n\ndef f(x):\n    return x + A\n"
    made = {line: mutants.Mutant("arjax/data/a.py", "", "", "", "", (), (line, line), "") for line in (1, 5)}
    covered = {  # file, seconds, and the lines that it executes
        "imports": ("tests/a.py", 1, {1, 4}),
        "calls": ("tests/b.py", 10, {1, 4, 5}),
        "slow": ("tests/data/c.py", 29, {1, 4, 5}),
        "far": ("tests/d.py", 1, set()),
        "defaults": ("tests/core/test_defaults.py", 20, {1, 4}),
    }
    coverage = [
        mutants.Coverage(file, seconds, 1.0, {"arjax/data/a.py": frozenset(lines)} if lines else {})
        for file, seconds, lines in covered.values()
    ]
    for line, limit, expected in (
        (5, 90, (["slow", "calls"], 0)),
        (1, 90, (["defaults", "imports", "slow", "calls"], 0)),
        (5, 30, (["slow"], 1)),
    ):
        chosen, left = mutants.tests_for(made[line], coverage, source, limit)
        assert ([c.test for c in chosen], left) == ([covered[n][0] for n in expected[0]], expected[1])


@pytest.mark.slow
def test_all_packages_are_drawn_from(mutants, repository):
    packages = mutants.packages_of(repository)
    assert {"core", "cli", "sweep", "networks"} <= set(packages) and not {"configs", "testing"} & set(packages)
    assert len({mutant.package for mutant in mutants.mutants_of(repository, 1, 60)}) > 10


def test_the_settings_of_the_tests_import_nothing_of_the_project(repository):
    """Else the tests of a mutant would not see what has changed in it."""
    code = "import runpy, sys; runpy.run_path('tests/conftest.py'); print([n for n in sys.modules if n[:5] == 'arjax'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_equivalent_mutants_have_reasons(mutants, repository):
    reasons = mutants.equivalents(repository)
    assert reasons and all(len(why) > 20 for why in reasons.values())


TESTS = """
from arjax.data.small import half, near


def test_half():
    assert half(4) == 2


def test_near():
    assert near(1, 2)
"""
CODE = """
def half(x):
    return x / 2


def near(a, b):
    if a > 9:
        a = a - 1
    return abs(a - b) < 3


def unused(x):
    return x + 1
"""


@pytest.mark.slow
def test_a_small_project_from_the_draw_to_the_report(repository, tmp_path):
    """All places of a file: the killed ones, the survivors, and none run twice."""
    files = {"arjax/__init__.py": "", "arjax/data/__init__.py": "", "arjax/data/small.py": CODE}
    files |= {"tests/conftest.py": "", "tests/data/test_small.py": TESTS}
    files |= {"pyproject.toml": "[tool.pytest.ini_options]\n"}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "linked").symlink_to("tests")
    (tmp_path / ".gitignore").write_text("build/\nruns/\n.cache/\n__pycache__/\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    command = [sys.executable, str(repository / "scripts" / "mutants.py"), f"--root={tmp_path}", "--num=99"]

    def run() -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    first, records = run(), tmp_path / "runs" / "mutants" / "seed1.jsonl"
    found = [json.loads(line) for line in records.read_text().splitlines()]
    verdicts = {tuple(record["mutant"][1:]): record["verdict"] for record in found}
    assert verdicts["near", "return abs(a - b) < 3", "return abs(a - b) < (4)"] == "survived"
    assert verdicts["near", "if a > 9:", "if (not (a > 9)):"] == "survived"
    assert {verdict for name, verdict in verdicts.items() if name[0] == "unused"} == {"not executed"}
    assert {verdict for name, verdict in verdicts.items() if name[0] == "half"} >= {"killed"}
    assert "\n    + return abs(a - b) < (4)\n" in first
    assert (tmp_path / "build" / "mutants" / "1" / "copy" / "linked" / "data" / "test_small.py").is_file()
    known = len(found)
    run()
    assert len(records.read_text().splitlines()) == known
    (tmp_path / "tests" / "data" / "test_small.py").write_text(TESTS + "    assert not near(10, 14)\n")
    run()  # what killed has changed, too
    assert len(records.read_text().splitlines()) > known
