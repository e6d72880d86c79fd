"""Slices of accelerators: what there is, what is missing, and plans by their compilers where these are installed."""

import csv
import importlib.util
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from mesh_gradients import SMALL_MODELS

import arjax
from arjax.core.errors import UserError
from arjax.parallel.accelerators import accelerator_of, slice_devices
from arjax.parallel.sharding import make_mesh
from arjax.testing.models import autoregressive_networks


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("v5e:3x5", "there is no slice v5e:3x5: v5e:1x1, v5e:2x2, .*, v5e:16x16"),
        ("v5e:8", "there is no slice v5e:8"),
        ("v5p:4x4", "there is no slice v5p:4x4: .* and multiples of four, up to 8,960 chips"),
        ("v5p:64x64x64", "there is no slice v5p:64x64x64"),
        ("v4:0x4x4", "there is no slice v4:0x4x4"),
        ("v5p:04x4x4", "there is no slice v5p:04x4x4"),
        ("v5p:\u0664x4x4", "there is no slice v5p:"),
        ("H100:12", "H100:N are N GPUs, up to 8 or a multiple of them, not 'H100:12'"),
        ("H100:2x2", "H100:N are N GPUs"),
        ("H100:99999999992", "more than the 4,096 devices"),
        ("v55e:2x2", "there is no accelerator 'v55e', did you mean 'v5e'"),
    ],
)
def test_slices_that_do_not_exist(name, sentence):
    with pytest.raises(UserError, match=sentence):
        slice_devices(name)


def test_devices_of_a_plan_and_of_a_slice():
    for wrong, sentence in (
        ({"devices": -1}, "devices must be a whole number, at least 0"),
        ({"devices": 2}, "a slice has its own"),
    ):
        with pytest.raises(UserError, match=sentence):
            arjax.plan("configs/digits.py", accelerator="v5e:2x2", **wrong)


@pytest.mark.parametrize(("name", "extra"), [("v5p:4x4x8", "tpu"), ("h100:16", "cuda")])
def test_without_the_compiler_a_sentence_names_the_package(monkeypatch, name, extra):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    with pytest.raises(UserError, match=rf"needs the package .*: pip install 'arjax\[{extra}\]'"):
        slice_devices(name)


def test_one_chip_is_a_host_and_other_slices_have_hosts_of_four(monkeypatch):
    from jax.experimental import topologies

    known = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: True)
    monkeypatch.setattr(
        topologies,
        "get_topology_desc",
        lambda *names, **options: known.append((names, options)) or SimpleNamespace(devices=()),
    )
    assert [slice_devices(name) for name in ("v5e:1x1", "v5e:2x2", "v4:2x2x1")] == [[]] * 3
    one = {"chips_per_host_bounds": (1, 1, 1)}
    assert known == [
        *((("v5e:1x1", "tpu"), one), (("v5e:2x2", "tpu"), {}), (("v4:2x2x1", "tpu"), {"chip_config_name": "megacore"})),
    ]


def test_slices_of_gpus_are_described_to_their_compiler(monkeypatch):
    from jax._src import xla_bridge
    from jax.experimental import topologies

    known, hopper = [], ((9, 0), 132, 128, 1.98)
    sheets = {"A100": ((8, 0), 108, 64, 1.41), "H100": hopper, "H200": hopper}
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: True)
    monkeypatch.setattr(xla_bridge, "_plugins_registered", False)
    monkeypatch.setattr(xla_bridge, "discover_pjrt_plugins", lambda: known.append("discovered"))
    made = SimpleNamespace(devices=("a", "b"))
    describe = lambda *names, **options: known.append((names, options)) or made  # noqa: E731
    monkeypatch.setattr(topologies, "get_topology_desc", describe)
    for name, ((major, minor), cores, lanes, clock) in sheets.items():
        known.clear()
        assert slice_devices(f"{name}:4") == slice_devices(f"{name}:16") == ["a", "b"]
        assert known[::2] == ["discovered"] * 2 and [names for names, _ in known[1::2]] == [(name.lower(), "cuda")] * 2
        assert [options["topology"] for _, options in known[1::2]] == ["1x1x4", "1x2x8"]
        words, gpu = " ".join(known[1][1]["target_config"].split()), accelerator_of(name)
        cache, shared = (50 * 2**20, 228 * 1024) if major == 9 else (40 * 2**20, 164 * 1024)
        for part in (
            f"core_count: {cores} fpus_per_core: {lanes} clock_rate_ghz: {clock} ",
            f"cuda_compute_capability {{ major: {major} minor: {minor} }}",
            f"memory_bandwidth: {gpu.bandwidth:.0f} device_memory_size: {gpu.memory:.0f} l2_cache_size: ",
            f"l2_cache_size: {cache} shared_memory_per_core: {shared} ",
            f"shared_memory_per_block: 49152 shared_memory_per_block_optin: {shared - 1024} ",
            "threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048 ",
            "registers_per_core_limit: 65536 registers_per_block_limit: 65536 block_dim_limit_x: 2147483647 ",
            'block_dim_limit_y: 65535 block_dim_limit_z: 65535 } platform_name: "CUDA" device_description_str: ',
            f'device_description_str: "NVIDIA {name}" dnn_version_info',
            "dnn_version_info { major: 9 minor: 8 } runtime_version { major: 13 minor: 0 patch: 0 }",
        ):
            assert part in words


def test_numbers_are_those_of_the_makers():
    """Tera-operations in 16 and 32 bits, terabytes a second, bytes, gigabytes a second of a link."""
    sheets = {
        **{"A100": (312, 156, 2.039, 80e9, 300), "H100": (989.4, 494.7, 3.35, 80e9, 450)},
        **{"H200": (989.4, 494.7, 4.8, 141e9, 450), "v4": (275, 275, 1.2288, 2**35, 45)},
        **{"v5e": (197, 197, 0.819, 2**34, 45), "v5p": (459, 459, 2.765, 95 * 2**30, 90)},
        **{"v6e": (918, 918, 1.638, 2**35, 90)},
    }
    for name, (half, single, bandwidth, memory, link) in sheets.items():
        known = accelerator_of(name.lower())
        found = known.flops_16 / 1e12, known.flops_32 / 1e12, known.bandwidth / 1e12, known.memory, known.link / 1e9
        assert known.name == name and found == pytest.approx((half, single, bandwidth, memory, link))
        assert known.seconds(2 * known.flops_16, 3 * known.bandwidth) == pytest.approx((2, 3))
        assert known.seconds(known.flops_32, 0, bits=17)[0] == 1 == known.seconds(known.flops_16, 0, bits=16)[0]


def test_the_clock_of_a_tpu_is_its_peak_over_the_operations_of_a_cycle():
    units = {"v4": 8 * 128**2, "v5e": 4 * 128**2, "v5p": 8 * 128**2, "v6e": 4 * 256**2}
    for name, size in units.items():
        known = accelerator_of(name)
        assert known.flops_16 == pytest.approx(2 * size * known.clock, rel=0.01)


def plan_in_a_process(tmp_path, *flags):
    """`plan.json`, and what was printed, of a process whose JAX knows no other devices."""
    command = [sys.executable, "-m", "arjax", "--mode=plan", f"--workdir={tmp_path}", *flags]
    environment = {name: value for name, value in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
    process = subprocess.run(command, check=True, capture_output=True, env=environment, text=True)
    return json.loads((tmp_path / "plan.json").read_text()), process


@pytest.mark.slow
@pytest.mark.parametrize(("name", "module", "most"), [("v5e:1x1", "libtpu", 1.1), ("H100:1", "jax_cuda13_plugin", 1.3)])
def test_a_step_of_a_draw_reads_parameters_and_cache_once(tmp_path, repository, name, module, most):
    """In bfloat16: no conversion of parameters and no copy of the cache in a step."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"needs {module}")
    sizes = ["network.width=512", "network.num_layers=2", "network.num_heads=4", "dataset.grid=(600,)"]
    sizes += ["dataset.num_levels=512", "mesh.data=1", "mesh.fsdp=1", "sample.num=256"]
    config = [f"--config={repository}/configs/gpt_1b.py", *(f"--config.{each}" for each in sizes)]
    plan, process = plan_in_a_process(tmp_path, *config, f"--accelerator={name}", "--draws")
    assert [loop["rounds"] for loop in plan["compiled"]["loops"]] == [256, 256, 88]
    loop = plan["compiled"]["loops"][-1]
    cache, moved = 2 * 2 * 256 * 600 * 512 * 2, sum(part["read"] + part["written"] for part in loop["parts"])
    assert 0.75 * cache < loop["state"] < 1.1 * cache  # a TPU keeps a part in its fast memory
    assert plan["parameters"] == pytest.approx(plan["memory_per_device"]["parameters"] / 2, rel=0.02)
    assert loop["state"] < moved < most * (plan["parameters"] + loop["state"])
    assert "examples at once: 256" in process.stdout and "InitGoogle" not in process.stderr


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs arjax[tpu]")
@pytest.mark.parametrize("network", ["made", "lstm"])
def test_a_plan_by_the_compiler_of_tpus(repository, tmp_path, network):
    """Four chips share a batch: one reduction of all gradients, of the bytes of the parameters."""
    config = f"--config={repository}/configs/digits.py:network={network}"
    plan, _ = plan_in_a_process(tmp_path, config, "--accelerator=v5e:2x2")
    (reduction,) = plan["compiled"]["collectives"]
    assert reduction["kind"] == "all-reduce" and not reduction["in_loop"]
    assert reduction["bytes"] == pytest.approx(4 * plan["num_params"], rel=0.1)
    assert plan["mesh"]["data"] == 4 and 0 < plan["model_flops_utilisation"] < 1
    assert sum(part["seconds"] for part in plan["compiled"]["parts"]) == pytest.approx(plan["compiled"]["seconds"])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "module"), [("v5e:2x2", "libtpu"), ("H100:4", "jax_cuda13_plugin")])
@pytest.mark.parametrize("model", [*autoregressive_networks(), *SMALL_MODELS])
def test_all_programs_compile_and_no_step_of_a_draw_communicates(repository, tmp_path, name, module, model):
    """A train step, a draw and a score, on a mesh with fsdp and tensor."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"needs the compiler in {module}")
    command = [sys.executable, f"{repository}/experiments/accelerators/study.py", f"{tmp_path}/rows.csv", name]
    environment = {name: value for name, value in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
    subprocess.run([*command, f"--only={model}"], check=True, capture_output=True, env=environment)
    with open(tmp_path / "rows.csv", newline="") as file:
        rows = {row["program"]: row for row in csv.DictReader(file)}
    assert {kind: row["outcome"] for kind, row in rows.items()} == dict.fromkeys(("train", "draw", "score"), "compiles")
    assert rows["draw"]["in_loops"] == "0"


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs arjax[tpu]")
def test_a_mesh_that_does_not_fit_the_sides_of_a_slice_is_refused():
    devices = slice_devices("v5p:4x4x4")
    assert make_mesh(4, 16, devices=devices).shape["fsdp"] == 16
    with pytest.raises(UserError, match="data=8, fsdp=8, tensor=1 does not fit a slice of 4 x 4 x 4 chips"):
        make_mesh(8, 8, devices=devices)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs arjax[tpu]")
def test_a_large_transformer_uses_half_of_the_peak(repository, tmp_path):
    """By the estimate of the compiler, which takes minutes."""
    plan, _ = plan_in_a_process(tmp_path, f"--config={repository}/configs/gpt_1b.py", "--accelerator=v5e:8x8")
    assert plan["model_flops_utilisation"] > 0.5 and plan["memory_per_device"]["total"] < 11e9
