"""The benchmark script: its answers to mistakes, its peers as an option, and one real measurement."""

import importlib.util
import json
import re
import subprocess
import sys

import jax
import pytest

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.models import make_model


@pytest.fixture
def scripts(repository, monkeypatch):
    """What lies beside the script can be imported, as when it is run."""
    monkeypatch.syspath_prepend(str(repository / "scripts"))


@pytest.fixture(scope="module")
def benchmark(load_script):
    return load_script("scripts/benchmark.py")


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--only=made,lsmt"], "did you mean 'lstm'"),
        (["--repeats=0"], "--repeats must be at least 1"),
        (["--repeat-often"], "repeat-often"),
        (["--length=here", "--only=made"], "--length measures transformer, .*, not 'made'"),
        (["--length=here", "--longest=100"], "--longest must be at least 1024"),
        (["--length=here", "--seconds=0"], "--seconds above 0"),
        (["--prompt", "--steps"], "--steps.*not allowed with.*--prompt"),
        (["--generate", "--only=made"], "--generate .* takes no --only"),
        (["--compile=here", "--out=here.json"], "they take no --out"),
        (["--quick", "--out=/dev/null/report.json"], "cannot write to the folder"),
        (["--compile=/dev/null/here", "--only=made"], "cannot write to the folder"),
        (["--quick", "--out=/dev"], "cannot write /dev: Is a directory"),
    ],
)
def test_mistakes_end_before_anything_is_measured(benchmark, scripts, flags, sentence):
    with pytest.raises(UserError, match=sentence):
        benchmark.main(flags)


@pytest.mark.parametrize(("network", "own"), [("transformer", 2 * 12 * 8 * 4 / 2), ("gru", 0)])
def test_a_step_reads_half_of_a_growing_cache_for_each_example(scripts, network, own):
    size = {"hidden_size": 8} if network == "gru" else {"width": 8, "num_heads": 2, "num_layers": 1}
    model = make_model(EventSpec((12,)), network, **size)
    params = model.init(jax.random.key(0))
    read = [importlib.import_module("benchmark_steps").bytes_read(model, params, num) for num in (1, 2)]
    assert read[0] >= own and read[1] - read[0] == own


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


def test_ctrl_c_keeps_the_networks_that_have_ended_and_an_earlier_report(
    benchmark, scripts, monkeypatch, tmp_path, capsys
):
    about = {"examples_per_second": 1.0, "step_seconds": 0.1, "flops_per_step": 1.0, "fraction_of_matmul_peak": 0.4}

    def train(name, num, peers):
        if name == "lstm":
            raise KeyboardInterrupt
        return about | {"network": name, "compile_seconds": 1.0}

    monkeypatch.setattr(benchmark, "measure_training", train)
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    (tmp_path / "report.json").write_text("earlier")
    with pytest.raises(KeyboardInterrupt):
        benchmark.main(["--quick", "--nopeers", f"--out={tmp_path / 'report.json'}"])
    assert (tmp_path / "report.json").read_text() == "earlier"
    report = json.loads((tmp_path / "report_unfinished.json").read_text())
    assert [row["network"] for row in report["training"]] == ["made"] and report["sampling"] == []
    assert f"the report is in {tmp_path / 'report_unfinished.json'}" in capsys.readouterr().out


@pytest.mark.slow
def test_coding_is_measured_beside_drawing(scripts, monkeypatch):
    import benchmark_coding

    monkeypatch.setattr(benchmark_coding, "IMAGE", EventSpec((4, 4)))
    monkeypatch.setattr(benchmark_coding, "LENGTH", 64)
    for name, steps in (("gru", 64), ("made", 32)):
        assert benchmark_coding.case_of(name).steps == steps
        row = benchmark_coding.measure(name, 1)
        assert row["encode_over_draw"] > 0 < row["decode_over_draw"] and row["decode_step_cpu_seconds"] > 0
