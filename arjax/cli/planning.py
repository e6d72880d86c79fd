"""The mode `plan`: tables of the needs of a run."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

from arjax.api.planning import plan_of
from arjax.cli.opening import new_config
from arjax.core.files import writable_folder, write_json
from arjax.evaluation.compiled import Estimate
from arjax.evaluation.flops import UTILISATION
from arjax.parallel.accelerators import Accelerator, accelerator_of
from arjax.reporting.tables import format_bytes, format_count, print_table
from arjax.training.plan import Plan

#: Operations that are printed, the slowest first.
TOP = 10


def plan_run(flags: SimpleNamespace) -> None:
    """Prints the needs of the run of a config, and writes them to `plan.json` in a workdir where one is given."""
    plan = plan_of(new_config(flags), flags.accelerator, flags.devices)
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
    memory = [(name, format_bytes(size)) for name, size in plan.memory_per_device.items()]
    if accelerator is not None:
        memory.append((f"of {accelerator.name}", format_bytes(accelerator.memory)))
    print_table(("memory", ""), memory, title="Memory per device", right=("",))
    if accelerator is not None and plan.expected_step_seconds is not None:
        _print_modules(plan, plan.expected_step_seconds, accelerator)
    if plan.compiled is not None:
        _print_compiled(plan.compiled, plan.model_flops_utilisation)


def _print_compiled(cost: Estimate, utilisation: float | None) -> None:
    columns: tuple[str, ...] = ("collective", "in a loop", "runs", "bytes", "ms", "uncovered ms")
    rows: list[tuple[str, ...]] = [
        (each.kind, "yes" if each.in_loop else "", f"{each.runs}", format_bytes(each.bytes),
         f"{1e3 * each.seconds:.3g}", f"{1e3 * each.uncovered:.3g}")
        for each in cost.collectives
    ]  # fmt: skip
    if rows:
        print_table(columns, rows, title="Communication of a step, of each device", right=columns[2:])
    if utilisation is None:
        return
    columns = ("module", "operation", "phase", "ms", "part")
    rows = [
        (each.module, each.what, each.phase, f"{1e3 * each.seconds:.3g}", f"{each.seconds / cost.seconds:.0%}")
        for each in cost.parts[:TOP]
    ]
    print_table(columns, rows, title="A step by the estimate of the compiler", right=columns[3:])
    step = f"by the estimate of the compiler a train step takes {1e3 * cost.seconds:.4g} ms"
    print(f"{step}: the FLOPs of the model are {utilisation:.0%} of the peak")
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
