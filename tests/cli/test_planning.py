"""What the mode `plan` prints of plans that nobody has compiled."""

import dataclasses
import json
import types

import pytest
from refusals import refusal

from arjax.cli import planning
from arjax.evaluation.compiled import Collective, Estimate, Loop, Part
from arjax.evaluation.flops import Roofline
from arjax.parallel.accelerators import Accelerator
from arjax.training.plan import DrawPlan, Plan

CHIP = Accelerator("chip", 1e12, 5e11, 1e12, 2**30, 1e9)
PARTS = [Part(f"layer_{i}", "dot_general", "forward", 1e-3 * (12 - i), 2.0**20, 2.0**10) for i in range(12)]
COLLECTIVES = [
    Collective("all-reduce", True, 3, 2.0**20, 2e-3, 1e-3),
    Collective("all-gather", False, 1, 2.0**10, 1e-4, 0.0),
]
PLAN = Plan(
    [("layer/kernel", (8, 4), 32, "1/2"), ("layer/bias", (4,), 4, "1")],
    {"layer/kernel": "muon"},
    36,
    {"data": 2, "tensor": 2},
    16,
    4e9,
    2.5e8,
    1e8,
    {"state": 2**20, "total": 2**31},
)


def printed(capsys, make, *given):
    """The lines that are printed, each as its words, and without those that only divide tables."""
    make(*given)
    return [" ".join(line.replace("─", " ").split()) for line in capsys.readouterr().out.splitlines() if line.strip()]


def in_order(lines, *wanted):
    """Whether these lines are among others in this order."""
    rest = iter(lines)
    return [line for line in wanted if line not in rest]


def test_a_plan_on_simulated_devices(capsys):
    lines = printed(capsys, planning.print_plan, PLAN)
    assert not in_order(
        lines,
        *("Parameters", "parameter shape size on a device moved by", "layer/kernel 8x4 32 1/2 muon"),
        *("layer/bias 4 4 1", "total 36", "FLOPs of matrix products (mesh: data 2 x tensor 2)"),
        *("score one example 100M", "train on one example 250M", "train step of 16 examples 4B"),
        *("train step, per device 1B", "Memory per device", "state 1 MiB", "total 2 GiB"),
    )
    assert lines[-1] == "total 2 GiB"  # no accelerator, and no seconds
    lines = printed(capsys, planning.print_plan, dataclasses.replace(PLAN, parts={}), CHIP)
    assert "parameter shape size on a device" in lines and lines[-1] == "of chip 1 GiB"


def test_a_plan_on_an_accelerator_tells_what_bounds_its_modules(capsys):
    modules = [Roofline("layer", 4e9, 2e6, 3e-3, 1e-3), Roofline("head", 1e6, 1e6, 1e-4, 2e-4)]
    plan = dataclasses.replace(PLAN, modules=modules, expected_step_seconds=0.0125)
    lines = printed(capsys, planning.print_plan, plan, CHIP)
    assert not in_order(
        lines,
        *("of chip 1 GiB", "A train step on one chip", "module FLOPs bytes FLOPs a byte least ms bound by"),
        *("layer 4B 1.91 MiB 2000 3 multiplications", "head 1M 977 KiB 1 0.2 memory"),
    )
    assert lines[-2].startswith("a train step takes about 12.5 ms on chip at ")
    assert lines[-2].endswith("% of its peak; elementwise operations and communication between devices are not counted")
    assert lines[-1] == "2 GiB do not fit into its memory of 1 GiB"
    fits = dataclasses.replace(plan, memory_per_device={"total": 2**30})
    assert "do not fit" not in printed(capsys, planning.print_plan, fits, CHIP)[-1]
    assert "A train step on one chip" not in printed(capsys, planning.print_plan, plan)


def test_a_plan_by_the_compiler_tells_communication_and_the_slowest_parts(capsys):
    cost = Estimate(0.05, PARTS, COLLECTIVES, [], 2)
    plan = dataclasses.replace(PLAN, compiled=cost, model_flops_utilisation=0.425)
    lines = printed(capsys, planning.print_plan, plan, CHIP)
    assert not in_order(
        lines,
        *("Communication of a step, of each device", "collective in a loop runs bytes ms uncovered ms"),
        *("all-reduce yes 3 1 MiB 2 1", "all-gather 1 1 KiB 0.1 0"),
        "2 loops whose length the program does not tell count as one round each",
        *("A step by the estimate of the compiler", "module operation phase ms part read written"),
        *("layer_0 dot_general forward 12 24% 1 MiB 1 KiB", "layer_9 dot_general forward 3 6% 1 MiB 1 KiB"),
    )
    assert not any(line.startswith("layer_10") for line in lines)
    step = "by the estimate of the compiler a train step takes 50 ms: the FLOPs of the model are 42% of the peak"
    assert lines[-1] == step
    of_gpu = dataclasses.replace(plan, compiled=Estimate(0.0, PARTS, [], [], 0), model_flops_utilisation=None)
    assert printed(capsys, planning.print_plan, of_gpu, CHIP)[-1] == "of chip 1 GiB"


def test_a_plan_of_draws_tells_what_a_step_reads(capsys):
    loops = [Loop(4, 2e-3, PARTS[:2], 2.0**20), Loop(1000, 0.0, PARTS[:1], 2.0**21)]
    plan = DrawPlan(1024, {"tensor": 2}, 2**20, {"total": 2**20}, Estimate(1.5, [], COLLECTIVES[:1], loops, 0))
    lines = printed(capsys, planning.print_draws, plan, CHIP)
    assert not in_order(
        lines,
        *("Memory per device", "total 1 MiB", "of chip 1 GiB"),
        *("Communication of a draw, of each device (mesh: tensor 2)", "all-reduce yes 3 1 MiB 2 1"),
        *("A step of a draw, on each device (examples at once: 1,024)", "4 2 2 MiB 2 KiB 1 MiB 1 MiB 1.00"),
        *("1,000 1 MiB 1 KiB 1 MiB 2 MiB 0.33", "A step of the last row"),
        *("layer_0 dot_general forward 12 1 MiB 1 KiB", "by the estimate of the compiler the draw takes 1.5 s"),
    )
    assert "steps ms read written parameters state times" in lines and not any("whose length" in line for line in lines)
    nothing = dataclasses.replace(plan, compiled=Estimate(0.0, [], [], [], 0))
    assert printed(capsys, planning.print_draws, nothing, CHIP)[-1] == "of chip 1 GiB"


def flags(**given):
    usual = {"draws": False, "devices": 0, "accelerator": "", "workdir": ""}
    return types.SimpleNamespace(**usual | given)


@pytest.fixture
def planned(monkeypatch):
    """The arguments of plans and of what is printed."""
    calls = []

    def returning(name, result):
        return lambda *given: calls.append((name, *given)) or result

    draws = DrawPlan(1, {}, 2, {}, Estimate(0.0, [], [], [], 0))
    monkeypatch.setattr(planning, "new_config", lambda flags: "config")
    monkeypatch.setattr(planning, "accelerator_of", lambda name: f"<{name}>")
    for name, result in (("plan_of", PLAN), ("draw_plan_of", draws), ("print_plan", None), ("print_draws", None)):
        monkeypatch.setattr(planning, name, returning(name, result))
    return calls, draws


def test_the_mode_plans_what_the_flags_say(planned, tmp_path):
    calls, draws = planned
    planning.plan_run(flags(devices=4))
    planning.plan_run(flags(accelerator="H100", workdir=str(tmp_path / "out")))
    planning.plan_run(flags(accelerator="v5e:2x2", draws=True))
    assert calls == [
        *(("plan_of", "config", "", 4), ("print_plan", PLAN, None)),
        *(("plan_of", "config", "H100", 0), ("print_plan", PLAN, "<H100>")),
        *(("draw_plan_of", "config", "v5e:2x2"), ("print_draws", draws, "<v5e:2x2>")),
    ]
    assert json.loads((tmp_path / "out/plan.json").read_text())["num_params"] == 36
    wrong = "--devices are simulated, and --draws are compiled for a slice: leave one of them out"
    assert refusal(planning.plan_run, flags(devices=2, draws=True)) == wrong
