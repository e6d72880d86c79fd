"""The needs of a run before it is started: `arjax.plan(config, accelerator="v5e:8x8")`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from arjax.api.fitting import checked_config
from arjax.config.build import build
from arjax.config.validate import Checked
from arjax.core.errors import refuse
from arjax.core.options import checked_arguments
from arjax.core.plugins import trusting
from arjax.parallel.accelerators import accelerator_of, slice_devices
from arjax.training.plan import DrawPlan, Plan, make_draw_plan, make_plan, simulate_devices
from arjax.training.reporter import announce
from arjax.training.setup import Setup


@checked_arguments(devices=0)
def plan(
    config: str | os.PathLike | ConfigDict,
    overrides: Mapping[str, Any] | None = None,
    *,
    accelerator: str = "",
    devices: int = 0,
    trust: bool = False,
) -> Plan:
    """Compiles a train step of a run, and returns what it needs: parameters, FLOPs, memory per device, seconds. JAX
    computes on the CPU from then on in this process.

        arjax.plan("configs/gpt_1b.py", accelerator="v5e:8x8").compiled.seconds

    Args:
      config, overrides, trust: as of `fit`.
      accelerator: a name, such as "H100", adds what bounds each module there to a plan on simulated devices. A slice,
        such as "v5e:8x8" or "H100:8", is compiled for by the compiler of its devices, which need not be at hand: their
        memory, communication and, of TPUs, an estimate of the seconds of a step. Needs `arjax[tpu]` or `arjax[cuda]`.
      devices: simulated devices; 0: as many as the mesh of the config has.
    """
    with trusting(trust):
        return plan_of(checked_config(config, overrides), accelerator, devices)


@checked_arguments()
def plan_draws(
    config: str | os.PathLike | ConfigDict,
    overrides: Mapping[str, Any] | None = None,
    *,
    accelerator: str,
    trust: bool = False,
) -> DrawPlan:
    """Compiles the draw of the samples of a run, `config.sample`, for a slice of accelerators, and returns what its
    steps need: seconds, and the bytes that they read and write. Otherwise as `plan`.

        loop = arjax.plan_draws("configs/gpt_1b.py", {"sample.num": 64}, accelerator="v5p:2x2x1").compiled.loops[-1]
    """
    with trusting(trust):
        return draw_plan_of(checked_config(config, overrides), accelerator)


def plan_of(checked: Checked, accelerator: str = "", devices: int = 0) -> Plan:
    """The plan of a config: the mode `plan` of the command."""
    known = accelerator_of(accelerator) if accelerator else None
    mesh, is_slice = checked.config.mesh, ":" in accelerator
    refuse((is_slice and devices, "simulated devices go with the name of one accelerator; a slice has its own devices"))
    if is_slice:
        return make_plan(_on_slice(checked, accelerator, "a train step"), known)
    of_mesh = simulate_devices(devices or max(mesh.data, 1) * mesh.fsdp * mesh.tensor)
    return make_plan(build(checked, of_mesh), known)


def draw_plan_of(checked: Checked, accelerator: str) -> DrawPlan:
    """The plan of the draws of a config: the mode `plan` with `--draws`."""
    refuse((":" not in accelerator, "draws are planned for a slice: name one as the accelerator, such as v5e:2x2"))
    return make_draw_plan(_on_slice(checked, accelerator, "a draw"), accelerator_of(accelerator))


def _on_slice(checked: Checked, accelerator: str, program: str) -> Setup:
    simulate_devices(1)  # for what is computed beside the program
    devices = slice_devices(accelerator)
    announce(f"compiling {program} for {accelerator} ...", sys.stderr)
    return build(checked, devices)
