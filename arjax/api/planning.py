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
from arjax.training.plan import Plan, make_plan, simulate_devices
from arjax.training.reporter import announce


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


def plan_of(checked: Checked, accelerator: str = "", devices: int = 0) -> Plan:
    """The plan of a config: the mode `plan` of the command."""
    known = accelerator_of(accelerator) if accelerator else None
    mesh, is_slice = checked.config.mesh, ":" in accelerator
    refuse((is_slice and devices, "simulated devices go with the name of one accelerator; a slice has its own devices"))
    of_mesh = simulate_devices(devices or (1 if is_slice else max(mesh.data, 1) * mesh.fsdp * mesh.tensor))
    if is_slice:
        of_mesh = slice_devices(accelerator)
        announce(f"compiling a train step for {accelerator} ...", sys.stderr)
    return make_plan(build(checked, of_mesh), known)
