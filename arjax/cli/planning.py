"""The mode `plan`: tables of the needs of a run."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

from arjax.cli.opening import new_config
from arjax.config.build import build
from arjax.core.files import writable_folder, write_json
from arjax.evaluation.flops import UTILISATION, Accelerator, accelerator_of
from arjax.reporting.tables import format_bytes, format_count, print_table
from arjax.training.plan import Plan, make_plan, simulate_devices


def plan_run(flags: SimpleNamespace) -> None:
    """Prints the needs of the run of a config, and writes them to `plan.json` in a workdir where one is given."""
    checked = new_config(flags)
    accelerator = accelerator_of(flags.accelerator) if flags.accelerator else None
    mesh = checked.config.mesh
    simulate_devices(flags.devices or max(mesh.data, 1) * mesh.fsdp * mesh.tensor)
    plan = make_plan(build(checked), checked.config.train.batch_size, accelerator)
    print_plan(plan, accelerator)
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
    print_table(("memory", ""), memory, title="Memory per device", right=("",))
    if accelerator is not None and plan.expected_step_seconds is not None:
        _print_modules(plan, plan.expected_step_seconds, accelerator)


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
