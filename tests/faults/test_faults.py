"""The tests catch faults: each is put into a copy of the project, and tests that are named for it must fail."""

from __future__ import annotations

import ast
import csv
import functools
import io
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from chain_faults import CHAIN_FAULTS
from coding_faults import CODING_FAULTS
from crash_faults import CRASH_FAULTS
from data_faults import DATA_FAULTS
from exposure_faults import EXPOSURE_FAULTS
from head_faults import HEAD_FAULTS
from hole_faults import HOLE_FAULTS
from linear_faults import LINEAR_FAULTS
from model_faults import MODEL_FAULTS
from network_faults import NETWORK_FAULTS
from other_faults import OTHER_FAULTS
from page_faults import PAGE_FAULTS
from regime_faults import REGIME_FAULTS
from row_faults import ROW_FAULTS
from safety_faults import SAFETY_FAULTS
from sampler_faults import SAMPLER_FAULTS
from stage_faults import STAGE_FAULTS
from table_faults import TABLE_FAULTS
from token_faults import TOKEN_FAULTS
from training_faults import TRAINING_FAULTS
from truth_faults import TRUTH_FAULTS

FAULTS = MODEL_FAULTS + NETWORK_FAULTS + SAMPLER_FAULTS + OTHER_FAULTS + TRAINING_FAULTS
FAULTS += CHAIN_FAULTS + TRUTH_FAULTS + EXPOSURE_FAULTS + REGIME_FAULTS + SAFETY_FAULTS + DATA_FAULTS + CRASH_FAULTS
FAULTS += STAGE_FAULTS + TOKEN_FAULTS + HEAD_FAULTS + TABLE_FAULTS + HOLE_FAULTS + ROW_FAULTS + PAGE_FAULTS
FAULTS += CODING_FAULTS + LINEAR_FAULTS
LEAST = 40
#: How a test notices a fault, and does not merely stumble over it: by a comparison, or by a refusal.
NOTICED = ("AssertionError", "Failed: ", "UserError", "LawBroken")
#: What the copy is made of.
PARTS = ("arjax", "configs", "docs", "experiments", "scripts", "tests", "pyproject.toml", "README.md", "Makefile")


def table() -> str:
    """The faults and the tests that catch them, as they stand in `tests/faults/faults.csv`."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["fault", "file under arjax/", "caught by, under tests/", "suite"])
    rows.writerows([fault.what, fault.file, " ".join(fault.caught_by), _suite(fault)] for fault in FAULTS)
    return out.getvalue()


def _suite(fault) -> str:
    return "slow" if fault.slow else "fast"


@functools.cache
def slowness(path: pathlib.Path) -> dict[str, bool]:
    """Of each test of a file, whether all of it is slow: pytest then runs it only if it is asked for slow ones."""
    functions = [each for each in ast.parse(path.read_text()).body if isinstance(each, ast.FunctionDef)]
    return {each.name: "pytest.mark.slow" in map(ast.unparse, each.decorator_list) for each in functions}


def test_there_are_many_faults_of_many_files():
    assert len(FAULTS) >= LEAST and len({fault.what for fault in FAULTS}) == len(FAULTS)
    assert len({fault.file for fault in FAULTS}) >= LEAST // 2


def test_each_can_be_put_in(repository):
    """The text of a fault is found exactly once, else it has to follow the code that moved; and its tests exist, in the
    suite that it states.
    """
    for fault in FAULTS:
        assert (repository / "arjax" / fault.file).read_text().count(fault.text) == 1, fault
        for test in fault.caught_by:
            file, _, name = test.partition("::")
            path = repository / "tests" / file
            assert not name or slowness(path)[name.partition("[")[0]] == fault.slow, test


def test_the_list_has_all_faults(repository):
    """ARJAX_WRITE_FAULTS=1 writes it anew."""
    path = repository / "tests" / "faults" / "faults.csv"
    if os.environ.get("ARJAX_WRITE_FAULTS"):
        path.write_text(table(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == table()


@pytest.fixture(scope="module")
def copy(repository, tmp_path_factory) -> pathlib.Path:
    """A copy of the project."""
    root = tmp_path_factory.mktemp("faults")
    for part in PARTS:
        source, ignored = repository / part, shutil.ignore_patterns("__pycache__", ".*")
        if source.is_dir():
            shutil.copytree(source, root / part, ignore=ignored)
        else:
            shutil.copy(source, root / part)
    return root


def run_tests(root: pathlib.Path, tests: list[str], slow: bool = False) -> subprocess.CompletedProcess:
    """Runs tests of a copy until the first that fails: the fast ones or, with `slow`, the slow ones."""
    paths = [str(root / "tests" / test) for test in tests]
    options = [
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        f"--basetemp={root / 'basetemp'}",
        "-m",
        "slow" if slow else "not slow",
    ]
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", *options, *paths]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("slow", [False, True])
def test_without_a_fault_all_pass(copy, slow):
    done = run_tests(copy, sorted({test for fault in FAULTS for test in fault.caught_by if fault.slow == slow}), slow)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_the_fault_is_caught(copy, fault):
    file = copy / "arjax" / fault.file
    right = file.read_text()
    file.write_text(right.replace(fault.text, fault.wrong))
    try:
        done = run_tests(copy, list(fault.caught_by), fault.slow)
    finally:
        file.write_text(right)
    assert done.returncode == 1, f"not caught: {done.stdout[-2000:]}{done.stderr[-2000:]}"  # 1: tests failed
    assert any(words in done.stdout for words in NOTICED), done.stdout[-2000:]
