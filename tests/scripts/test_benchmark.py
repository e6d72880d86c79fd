"""Scripts that measure: timing helpers, the benchmark, and the baseline of densities of real values."""

import importlib.util
import json
import re
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.sweep.results import read_csv


@pytest.fixture(scope="module")
def timing(load_script):
    return load_script("scripts/timing.py")


def test_functions_take_turns(timing):
    called = []
    functions = {name: (lambda name=name: called.append(name)) for name in ("a", "b")}
    seconds = timing.time_in_turns(functions, rounds=3, min_seconds=0.0)
    assert {name: len(s) for name, s in seconds.items()} == {"a": 3, "b": 3}
    assert called[-6:] == ["a", "b"] * 3


def test_dispatched_work_is_waited_for(timing):
    def slow(x):
        return jax.lax.fori_loop(0, 100, lambda _, y: jnp.tanh(y @ y), x)

    program = jax.jit(slow)
    x = jnp.full((256, 256), 1e-3)
    seconds = timing.time_in_turns({"slow": lambda: program(x)}, rounds=1, min_seconds=0.0)
    started = time.perf_counter()
    program(x)
    dispatched = time.perf_counter() - started
    assert seconds["slow"][0] > dispatched


def test_ratio_compares_within_rounds(timing):
    # The machine slows down threefold in the second round: the ratio of medians would be 2, or 6.
    assert timing.ratio([2.0, 6.0, 2.0], [1.0, 3.0, 1.0]) == 2.0
    assert timing.ratio([2.0, 6.0], [1.0, 2.0]) == 2.5
    with pytest.raises(ValueError, match="shorter"):
        timing.ratio([1.0, 2.0], [1.0])


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
        (["--length=here", "--only=made"], "--length measures transformer, .*, not 'made'"),
        (["--length=here", "--seconds=0"], "--seconds above 0"),
        (["--prompt", "--steps"], "--steps.*not allowed with.*--prompt"),
        (["--generate", "--only=made"], "--generate .* takes no --only"),
        (["--compile=here", "--out=here.json"], "they take no --out"),
        (["--quick", "--out=/dev/null/report.json"], "cannot write to the folder"),
    ],
)
def test_mistakes_end_before_anything_is_measured(benchmark, scripts, flags, sentence):
    with pytest.raises(UserError, match=sentence):
        benchmark.main(flags)


@pytest.mark.parametrize(
    ("network", "own"), [pytest.param("transformer", 2 * 12 * 8 * 4 / 2, marks=pytest.mark.slow), ("gru", 0)]
)
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


MEANS = np.array([[-2.0, 0.0, 1.0], [2.0, 1.0, -1.0]])


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("scripts/gaussian_mixture_baseline.py")


def clusters(num: int, seed: int = 0) -> np.ndarray:
    """Two narrow clusters, [num, 3]."""
    rng = np.random.default_rng(seed)
    return MEANS[rng.integers(2, size=num)] + 0.5 * rng.normal(size=(num, 3))


def test_one_component_is_the_gaussian_of_the_rows(script):
    x = clusters(200)
    fit = script.fit_gaussian_mixture(x, clusters(50, 1), components=(1,), min_log_scale=-7.0)
    covariance = np.cov(x.T, bias=True) + fit.regularisation * np.eye(3)
    np.testing.assert_allclose(fit.nats(x[:9]), -multivariate_normal(x.mean(0), covariance).logpdf(x[:9]), rtol=1e-5)
    assert fit.num_params == 3 + 6


@pytest.mark.slow
def test_a_fit_is_a_model_of_the_kind_gaussian_mixture(script):
    x = clusters(120)
    fit = script.fit_gaussian_mixture(x, clusters(60, 1), components=(2,))
    model = make_model(EventSpec((3,), kind="real"), kind="gaussian_mixture", data=x, **fit.options)
    params = model.init(jax.random.key(5))  # whose key has no influence
    np.testing.assert_allclose(model.log_prob(params, x), -fit.nats(x), rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_script_adds_its_rows_to_a_table_in_the_units_of_the_data(script, repository, tmp_path, capsys):
    values = clusters(300)
    tables = {}
    for unit in (1, 10):
        rows = "\n".join(",".join(map(repr, row)) for row in (unit * values).tolist())
        (tmp_path / f"mine{unit}.csv").write_text(f"a,b,c\n{rows}\n")
        config = f"--config={repository / 'configs' / 'wine_quality.py'}:table={tmp_path / f'mine{unit}.csv'}"
        tables[unit] = tmp_path / f"results{unit}.csv"
        for components in ("1,3", "1,2"):  # the second table of rows replaces the first
            assert script.main([config, f"--components={components}", f"--out={tables[unit]}"]) == 0
    rows = read_csv(tables[1])
    names = ["Gaussian, full covariance", "mixture of Gaussians, scikit-learn, 2 components"]
    assert [row["model"] for row in rows] == names and rows[1]["num_params"] == "19"
    values = [float(row["value"]) for row in rows]
    assert values[0] > values[1] + 0.3 and 2.3 < values[1] < 3.5 and float(rows[1]["value_stderr"]) > 0
    shifted = [float(row["value"]) - 3 * np.log(10) for row in read_csv(tables[10])]
    np.testing.assert_allclose(shifted, values, atol=1e-3)
    assert names[1] in capsys.readouterr().out
