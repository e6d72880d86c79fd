"""What the modes list and plan print, and a standard output that is closed, full, or lacks our characters."""

import errno
import io
import json
import os
import subprocess
import sys
import time

import pytest
from refusals import refusal

from arjax.cli import command_line
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.cli.listing import REGISTRIES
from arjax.cli.main import main
from arjax.cli.planning import _print_memory
from arjax.core.errors import UserError
from arjax.reporting.tables import print_table


class Full(io.StringIO):
    """A file on a full disk, with a buffer or without."""

    def __init__(self, method: str):
        super().__init__()
        self.method = method

    def _write(self, *args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __getattribute__(self, name):
        method = object.__getattribute__(self, "method") if name in ("write", "flush") else ""
        return object.__getattribute__(self, "_write" if name == method else name)


STREAMS = {"closed": lambda: None, "full": lambda: Full("write"), "full at the end": lambda: Full("flush")}


@pytest.mark.parametrize(("code", "told"), [(0, 2), (3, 3)])
@pytest.mark.parametrize("stream", STREAMS)
def test_what_cannot_be_written_is_told_once_after_the_work(stream, code, told, monkeypatch, capsys):
    """Another exit code is kept."""
    done = []

    def work() -> int:
        for i in range(3):
            print("line", i, flush=True)
        done.append(True)
        return code

    monkeypatch.setattr(sys, "stdout", STREAMS[stream]())
    assert tell_mistakes("arjax", work) == told and done
    error = capsys.readouterr().err
    assert error.startswith("arjax: cannot write to the standard output") and error.count("\n") == 1


def test_mistakes_do_not_go_to_stdout_when_stderr_is_closed(monkeypatch, capsys):
    def work() -> int:
        raise UserError("a mistake")

    monkeypatch.setattr(sys, "stderr", None)
    assert tell_mistakes("arjax", work) == 2
    assert capsys.readouterr().out == ""


def test_characters_that_the_encoding_lacks(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert tell_mistakes("arjax", lambda: print("1.5 ± 0.1 µ") or 0) == 0
    assert raw.getvalue() == b"1.5 +- 0.1 \\xb5\n"


@pytest.mark.slow
@pytest.mark.parametrize("stream", STREAMS)
def test_a_run_trains_to_its_end(stream, config_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", STREAMS[stream]())
    assert main([f"--config={config_file}:smoke", f"--workdir={tmp_path}"]) == 2
    assert json.loads((tmp_path / "results.json").read_text())["step"] == 6
    assert capsys.readouterr().err.count("cannot write to the standard output") == 1


@pytest.mark.parametrize(
    ("program", "redirection"),
    [("arjax --mode=list", ">/dev/full"), pytest.param("arjax.sweep.main --help", ">&-", marks=pytest.mark.slow)],
)
def test_as_a_process(program, redirection):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    command = f"{sys.executable} -m {program} {redirection}"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True)
    assert "cannot write to the standard output" in done.stderr and done.stderr.count("\n") == 1


def test_a_reader_that_has_seen_enough_ends_a_table(monkeypatch):
    """As in `arjax --mode=list | head`: rich would end the process with the code of a failure."""

    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    assert tell_mistakes("arjax", lambda: print_table(["name"], [["a"]]) or 0) == 141


@pytest.mark.slow
def test_the_modes_without_a_run_do_not_wait_for_what_runs_need():
    heavy = {"orbax.checkpoint", "scipy.io", "scipy.optimize", "scipy.stats", "matplotlib"}
    code = f"""
import sys
from arjax.cli.main import main
assert main(["--mode=list"]) == 0 and main(["--mode=new", "--config=no_such_file"]) == 2
print({heavy} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_list_names_everything(capsys, repository, monkeypatch):
    monkeypatch.chdir(repository)
    assert main(["--mode=list", "--json"]) == 0
    names = json.loads(capsys.readouterr().out)
    assert set(names) == {*REGISTRIES, "configs"}
    assert {"made", "lstm", "causal_conv", "transformer"} <= set(names["networks"])
    assert names["configs"] == sorted(path.stem for path in (repository / "configs").glob("*.py"))


def test_list_tells_of_options_and_what_a_component_is(capsys):
    assert main(["--mode=list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (made,) = [line for line in lines if line.split()[:1] == ["made"]]
    assert "A fully connected network with weights multiplied by masks" in made and "hidden_sizes=(500,)" in made
    blocks = [line.split() for line in lines if line.split()[:1] == ["blocks"]]  # a line of a text may begin so, too
    assert "size" in {words[-1] for words in blocks}  # it has no default; `order` and `grid_shape` are no options
    assert "digits" in lines[-1].split(", ")
    for registry in REGISTRIES.values():
        for name in registry:
            own = f"{registry.get(name).__name__}("  # a dataclass without a docstring has its signature
            assert registry.about(name) and not registry.about(name).startswith(own), name


def test_plan_prints_tables_and_writes_them(config_file, tmp_path, capsys):
    assert main(["--mode=plan", f"--config={config_file}", f"--workdir={tmp_path}", "--accelerator=V5E"]) == 0
    plan = json.loads((tmp_path / "plan.json").read_text())
    out = capsys.readouterr().out
    assert f"{plan['num_params']:,}" in out
    # 64 sites x 17 levels in, 8 hidden units, 64 x 17 out.
    assert plan["num_params"] == 64 * 17 * 8 + 8 + 8 * 64 * 17 + 64 * 17
    assert plan["flops_forward_per_example"] == 2 * 2 * 64 * 17 * 8
    assert plan["batch_size"] == 64 and plan["flops_per_step"] == pytest.approx(64 * plan["flops_per_example"])
    state = 3 * 4 * plan["num_params"]  # parameters and two moments in float32
    assert state <= plan["memory_per_device"]["state"] <= state + 100
    # All products together have the FLOPs of the step; each takes its time, and so small ones that of the memory.
    assert sum(module["flops"] for module in plan["modules"]) == plan["flops_per_step"]
    assert all(module["by_bytes"] > module["by_flops"] for module in plan["modules"])
    assert plan["expected_step_seconds"] == pytest.approx(sum(module["by_bytes"] for module in plan["modules"]))
    assert f"takes about {1e3 * plan['expected_step_seconds']:.3g} ms on v5e at 40% of its peak" in out


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["--devices=8"], ["--config.mesh.data=2"]], ids=["flag", "mesh"])
def test_plan_simulates_the_devices_of_the_flag_or_of_the_mesh(config_file, tmp_path, flags):
    """The data axis takes the devices that the others leave."""
    command = [sys.executable, "-m", "arjax", "--mode=plan", f"--config={config_file}", f"--workdir={tmp_path}"]
    environment = {name: value for name, value in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
    subprocess.run([*command, "--config.mesh.fsdp=4", *flags], check=True, capture_output=True, env=environment)
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["mesh"] == {"data": 2, "fsdp": 4, "tensor": 1}
    state = 3 * 4 * plan["num_params"]
    assert state / 4 <= plan["memory_per_device"]["state"] < state / 3
    assert {part for *_, part in plan["parameters"]} >= {"1/4"}


@pytest.mark.slow
def test_plan_of_a_large_model_takes_less_than_a_minute(repository, tmp_path):
    command = [sys.executable, "-m", "arjax", "--mode=plan", f"--workdir={tmp_path}"]
    start = time.monotonic()
    subprocess.run([*command, f"--config={repository / 'configs' / 'gpt_1b.py'}"], check=True, capture_output=True)
    assert time.monotonic() - start < 60
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["mesh"] == {"data": 8, "fsdp": 8, "tensor": 1} and plan["num_params"] == 1_423_092_864
    # 2 operations per parameter and token to score, and some for attention; the embedding tables are looked up.
    assert plan["flops_forward_per_example"] == pytest.approx(2 * 1.32e9 * 2048, rel=0.2)


def test_a_process_leaves_with_its_code(monkeypatch):
    monkeypatch.setattr(command_line.gc, "freeze", lambda: None)
    with pytest.raises(SystemExit) as left:
        command_line.leave(3)
    assert left.value.code == 3


def test_flags_are_written_in_full():
    parser = Parser()
    parser.add_argument("--number")
    assert "unknown flag '--num', did you mean '--number'" in refusal(parser.parse_args, ["--num=3"])
    assert parser.parse_args(["--number=3"]).number == "3"


def test_the_memory_of_a_plan(capsys):
    _print_memory({"state": 2**20}, None)
    assert "Memory per device" in (out := capsys.readouterr().out) and "state" in out
