"""The benchmark script: its answers to mistakes, its peers as an option, and one real measurement."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys

import pytest

from arjax.errors import UserError


@pytest.fixture(scope="module")
def benchmark(repository):
    spec = importlib.util.spec_from_file_location("benchmark", repository / "scripts" / "benchmark.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["benchmark"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["benchmark"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--only=made,lsmt"], "did you mean 'lstm'"),
        (["--repeats=0"], "--repeats must be at least 1"),
        (["--repeat-often"], "repeat-often"),
    ],
)
def test_mistakes_end_before_anything_is_measured(benchmark, flags, sentence):
    with pytest.raises(UserError, match=sentence):
        benchmark.main(flags)


def test_missing_peers_are_told(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="need torch and transformers: pip install"):
        benchmark.load_peers(True)
    assert benchmark.load_peers(None) is None
    assert "without peers" in capsys.readouterr().out
    assert benchmark.load_peers(False) is None


def test_the_package_knows_no_peer(repository):
    imports = re.compile(r"^\s*(import|from) (torch|transformers)\b", re.MULTILINE)
    assert imports.search((repository / "scripts" / "benchmark_peers.py").read_text())
    assert [path for path in repository.glob("arjax/**/*.py") if imports.search(path.read_text())] == []


@pytest.mark.slow
def test_measures_a_network(repository, tmp_path):
    out = tmp_path / "report.json"
    command = [sys.executable, repository / "scripts" / "benchmark.py", "--only=made", "--repeats=1", "--nopeers"]
    done = subprocess.run([*command, f"--out={out}"], capture_output=True, text=True, check=True)
    assert "Training" in done.stdout and "Sampling" in done.stdout
    report = json.loads(out.read_text())
    (training,), (sampling,) = report["training"], report["sampling"]
    assert training["flops_per_step"] == 2 * 100 * 784 * 500 * 5  # no gradient with respect to the inputs
    assert 0 < training["fraction_of_matmul_peak"] < 1.5
    assert sampling["speedup"] > 1 and sampling["naive_steps"] >= 2
