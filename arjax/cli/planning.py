"""The mode `plan`: tables of the needs of a run."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

from arjax.api.planning import draw_plan_of, plan_of
from arjax.cli.opening import new_config
from arjax.core.errors import refuse
from arjax.core.files import writable_folder, write_json
from arjax.evaluation.compiled import Estimate, Part
from arjax.evaluation.flops import UTILISATION
from arjax.parallel.accelerators import Accelerator, accelerator_of
from arjax.reporting.tables import format_bytes, format_count, print_table
from arjax.training.plan import DrawPlan, Plan

#: Operations that are printed, the slowest first.
TOP = 10


def plan_run(flags: SimpleNamespace) -> None:
    """Prints the needs of the run of a config, and writes them to `plan.json` in a workdir where one is given."""
    config = new_config(flags)
    plan: Plan | DrawPlan
    if flags.draws:
        refuse((flags.devices, "--devices are simulated, and --draws are compiled for a slice: leave one of them out"))
        plan = draw_plan_of(config, flags.accelerator)
        print_draws(plan, accelerator_of(flags.accelerator))
    else:
        plan = plan_of(config, flags.accelerator, flags.devices)
        print_plan(plan, accelerator_of(flags.accelerator) if flags.accelerator else None)
    if flags.workdir:
        write_json(writable_folder(flags.workdir) / "plan.json", dataclasses.asdict(plan))


def print_plan(plan: Plan, accelerator: Accelerator | None = None) -> None:
    """Prints parameters by path, FLOPs, memory per device, and what bounds each module on the accelerator."""
    rows = [[path, "x".join(map(str, shape)), f"{size:,}", part] for path, shape, size, part in plan.parameters]
    rows.append(["total", "", f"{plan.num_params:,}", ""])
    columns = ["parameter", "shape", "size", "on a device"]
    if plan.parts:
        columns, rows = [*columns, "moved by"], [[*row, plan.parts.get(row[0], "")] for row in rows]
    print_table(columns, rows, title="Parameters", right=("shape", "size"))
    mesh = " x ".join(f"{name} {size}" for name, size in plan.mesh.items())
    flops = [
        ("score one example", format_count(plan.flops_forward_per_example)),
        ("train on one example", format_count(plan.flops_per_example)),
        (f"train step of {plan.batch_size} examples", format_count(plan.flops_per_step)),
        ("train step, per device", format_count(plan.flops_per_step / math.prod(plan.mesh.values()))),
    ]
    print_table(("FLOPs", ""), flops, title=f"FLOPs of matrix products (mesh: {mesh})", right=("",))
    _print_memory(plan.memory_per_device, accelerator)
    if accelerator is not None and plan.expected_step_seconds is not None:
        _print_modules(plan, plan.expected_step_seconds, accelerator)
    if (cost := plan.compiled) is not None:
        _print_communication(cost, "Communication of a step, of each device")
        if plan.model_flops_utilisation is not None:
            _print_parts(cost.parts, cost.seconds, "A step by the estimate of the compiler")
            step = f"by the estimate of the compiler a train step takes {1e3 * cost.seconds:.4g} ms"
            print(f"{step}: the FLOPs of the model are {plan.model_flops_utilisation:.0%} of the peak")


def print_draws(plan: DrawPlan, accelerator: Accelerator) -> None:
    """Prints memory, communication, and what a step of a draw takes, reads and writes."""
    mesh, cost = " x ".join(f"{name} {size}" for name, size in plan.mesh.items()), plan.compiled
    _print_memory(plan.memory_per_device, accelerator)
    _print_communication(cost, f"Communication of a draw, of each device (mesh: {mesh})")
    columns = ("steps", "ms", "read", "written", "parameters", "state", "times")
    rows = []
    for loop in cost.loops:
        read, written = (sum(getattr(part, name) for part in loop.parts) for name in ("read", "written"))
        least = plan.parameters + loop.state
        sizes = [format_bytes(size) for size in (read, written, plan.parameters, loop.state)]
        rows.append((f"{loop.rounds:,}", _ms(loop.seconds), *sizes, f"{(read + written) / least:.2f}"))
    if cost.loops:
        title = f"A step of a draw, on each device (examples at once: {plan.num:,})"
        print_table(columns, rows, title=title, right=columns)
        print("times: the bytes that a step reads and writes, over those of the parameters and of the state, its cache")
        _print_parts(cost.loops[-1].parts, cost.loops[-1].seconds, "A step of the last row")
    if cost.seconds:
        print(f"by the estimate of the compiler the draw takes {cost.seconds:.4g} s")


def _print_memory(memory: dict[str, int], accelerator: Accelerator | None) -> None:
    rows = [(name, format_bytes(size)) for name, size in memory.items()]
    if accelerator is not None:
        rows.append((f"of {accelerator.name}", format_bytes(accelerator.memory)))
    print_table(("memory", ""), rows, title="Memory per device", right=("",))


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}" if seconds else ""


def _print_parts(parts: list[Part], seconds: float, title: str) -> None:
    columns = ("module", "operation", "phase", "ms", "part", "read", "written")
    rows = []
    for each in parts[:TOP]:
        time = _ms(each.seconds), f"{each.seconds / seconds:.0%}" if seconds else ""
        rows.append((each.module, each.what, each.phase, *time, format_bytes(each.read), format_bytes(each.written)))
    print_table(columns, rows, title=title, right=columns[3:])


def _print_communication(cost: Estimate, title: str) -> None:
    columns = ("collective", "in a loop", "runs", "bytes", "ms", "uncovered ms")
    rows = []
    for each in cost.collectives:
        times = f"{1e3 * each.seconds:.3g}", f"{1e3 * each.uncovered:.3g}"
        rows.append((each.kind, "yes" if each.in_loop else "", f"{each.runs}", format_bytes(each.bytes), *times))
    if rows:
        print_table(columns, rows, title=title, right=columns[2:])
    if cost.unknown_loops:
        print(f"{cost.unknown_loops} loops whose length the program does not tell count as one round each")


def _print_modules(plan: Plan, seconds: float, accelerator: Accelerator) -> None:
    rows = []
    for each in plan.modules:
        work = format_count(each.flops), format_bytes(each.bytes), f"{each.flops / each.bytes:.0f}"
        bound = "multiplications" if each.by_flops >= each.by_bytes else "memory"
        rows.append((each.module, *work, f"{1e3 * each.seconds:.3g}", bound))
    columns = ("module", "FLOPs", "bytes", "FLOPs a byte", "least ms", "bound by")
    print_table(columns, rows, title=f"A train step on one {accelerator.name}", right=columns[1:-1])
    print(
        f"a train step takes about {1e3 * seconds:.3g} ms on {accelerator.name} at {UTILISATION:.0%} of its peak; "
        "elementwise operations and communication between devices are not counted"
    )
    total = plan.memory_per_device["total"]
    if total > accelerator.memory:
        print(f"{format_bytes(total)} do not fit into its memory of {format_bytes(accelerator.memory)}")
