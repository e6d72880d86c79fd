"""The needs of a run, without an accelerator: parameters, FLOPs, and memory per device on simulated devices."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax._src.config import enable_compilation_cache

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.options import check_size
from arjax.evaluation.compiled import Estimate, estimate
from arjax.evaluation.flops import Roofline, Work, count_flops, count_work, roofline_seconds, rooflines
from arjax.models import Model
from arjax.models.base import dummy_batch
from arjax.networks.recurrent.linear.states import WITHIN_CHUNKS
from arjax.objectives import Loss
from arjax.parallel.accelerators import Accelerator
from arjax.parallel.sharding import batch_sharding, path_string, replicated
from arjax.training.setup import Setup
from arjax.training.state import TrainState, parts_of_optimizer
from arjax.training.step import train_step

#: JAX makes them one after another: this many take it almost a minute.
MOST_DEVICES = 4096


@dataclasses.dataclass(frozen=True)
class Plan:
    """The needs of a run. Temporary memory is that of the compiler of the mesh's devices; where these are simulated on
    a CPU, accelerators often need less.
    """

    parameters: list[tuple[str, tuple[int, ...], int, str]]  # path, shape, size, and the part on one device ("1/8")
    parts: dict[str, str]  # of the optimizer, such as "muon", that move the parameters, by path; {}: one moves all
    num_params: int
    mesh: dict[str, int]  # sizes of the mesh axes
    batch_size: int  # examples per step, over all devices
    flops_per_step: float  # of the matrix products of one step, over all devices, recomputation included
    flops_per_example: float
    flops_forward_per_example: float  # of scoring one example
    memory_per_device: dict[str, int]  # bytes of "state", "batch", "temporary" (activations, gradients) and "total"
    #: What bounds each one on the accelerator that was named, the slowest first; []: none was.
    modules: list[Roofline] = dataclasses.field(default_factory=list)
    expected_step_seconds: float | None = None  # on this accelerator
    #: Of the compiler, on a slice of abstract devices.
    compiled: Estimate | None = None
    #: Of these seconds, the part that the FLOPs of the model, without what is recomputed, take at the peak.
    model_flops_utilisation: float | None = None


def simulate_devices(num: int) -> list[jax.Device]:
    """Makes JAX simulate `num` devices on the CPU and returns them; call it before any other use of JAX's devices."""
    check_size(num, MOST_DEVICES, "the number of simulated devices")
    try:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", num)
    except RuntimeError:
        pass  # JAX has started already: the devices it has may be enough
    devices = jax.devices()
    if len(devices) < num:
        raise UserError(f"a plan for {num} devices needs a fresh process: JAX runs with {len(devices)} here")
    return devices[:num]


def make_plan(setup: Setup, batch_size: int, accelerator: Accelerator | None) -> Plan:
    """Traces and compiles one train step on the mesh of a run, of simulated devices; nothing is computed."""
    spec, mesh = setup.spec, setup.mesh
    state = setup.abstract_state
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    example = setup.dataset.splits["train"].__getitems__(np.arange(1))  # its masks and other arrays are read, too
    batch = abstract_batch(spec.model, batch_size, batch_sharding(mesh), example)
    key = jax.ShapeDtypeStruct((), jax.eval_shape(lambda: jax.random.key(0)).dtype, sharding=replicated(mesh))
    companions = {name: trained.companion for name, trained in setup.trained_companions().items()}

    def step(state: TrainState, batch: Batch, key: jax.Array, companions: Any) -> tuple[TrainState, Loss]:
        return train_step(spec, state, batch, key, companions)

    inputs = (state, batch, key, companions)
    work = count_work(step, *inputs)
    flops = sum(each.flops for each in work)
    with jax.set_mesh(mesh):
        lowered = jax.jit(step, donate_argnums=0, out_shardings=(shardings, None)).lower(*inputs)
    compiled = _compiled(lowered, batch_size, accelerator)
    memory = _memory(compiled, batch)
    cost, utilisation = None, None
    if accelerator is not None and mesh.devices.flat[0].platform != "cpu":
        cost = estimate(compiled.as_text(), accelerator)
        if accelerator.clock:
            peak = cost.seconds * mesh.size * accelerator.flops_16
            utilisation = batch_size * model_flops(spec.model, state.params) / peak
    # The optimizer reads and writes its state once.
    work.append(Work("optimizer", 32, 0.0, 2.0 * memory["state"] * mesh.size))
    leaves = jax.tree.leaves_with_path(state.params)
    modules = [] if accelerator is None else rooflines(accelerator, work, mesh.size)
    return Plan(
        parameters=[(path_string(path), leaf.shape, leaf.size, _part_of(leaf)) for path, leaf in leaves],
        parts=parts_of_optimizer(state),
        num_params=sum(leaf.size for _, leaf in leaves),
        mesh=dict(mesh.shape),
        batch_size=batch_size,
        flops_per_step=flops,
        flops_per_example=flops / batch_size,
        flops_forward_per_example=count_flops(_score_of(spec.model), state.params, abstract_batch(spec.model, 1)),
        memory_per_device=memory,
        modules=modules,
        expected_step_seconds=None if accelerator is None else roofline_seconds(modules),
        compiled=cost,
        model_flops_utilisation=utilisation,
    )


def _compiled(lowered: Any, batch_size: int, accelerator: Accelerator | None) -> Any:
    """The program, compiled; one that its compiler finds too large for the memory of a device is refused."""
    if accelerator is None:
        return lowered.compile()
    try:
        with enable_compilation_cache(False):  # a program of devices that are not here cannot be loaded again
            return lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        sizes = re.search(r"Used ([\d.]+)([GM]) of ([\d.]+)([GM]) hbm", str(error))
        needed, batch = "more memory than there is", batch_size // 2
        if sizes is not None:
            used, free = (float(sizes[i]) * {"G": 1, "M": 2**-10}[sizes[i + 1]] for i in (1, 3))
            needed, batch = f"{used:.1f} GiB of {free:.1f}", int(batch_size * free / used)
        raise UserError(
            f"the train step needs {needed} on each {accelerator.name}: try config.train.batch_size={max(1, batch)} or "
            "less, config.network.remat=True where the network has it, or more devices on config.mesh.fsdp"
        ) from error


def abstract_batch(model: Model, batch_size: int, sharding: Any = None, example: Batch | None = None) -> Batch:
    """Returns shapes and types of a batch for the model, or of examples such as this one."""
    batch = jax.eval_shape(lambda: dummy_batch(model, 1)) if example is None else example
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct((batch_size, *a.shape[1:]), a.dtype, sharding=sharding), batch)


def model_flops(model: Model, params: Any) -> float:
    """Returns the FLOPs of training on one example as utilisations count them: three times those of its score, of which
    attention to earlier steps needs half (Chowdhery et al., "PaLM", 2022, appendix B; there the whole). A recurrence
    counts with the products of its steps, without those that chunks compute in their place.
    """
    causal = ("...qh,...kh->...qk", "...qk,...kh->...qh")
    work = count_work(_score_of(model), params, abstract_batch(model, 1))
    work = [each for each in work if WITHIN_CHUNKS not in each.module.split("/")]
    return 3 * sum(each.flops / (2 if each.module.endswith(causal) else 1) for each in work)


def _score_of(model: Model) -> Callable[[Any, Batch], jax.Array]:
    def score(params: Any, batch: Batch) -> jax.Array:
        return model.score(params, batch, key=None if model.score_kind == "exact" else jax.random.key(0)).log_prob

    return score


def _part_of(leaf: Any) -> str:
    num_parts = leaf.size // max(1, math.prod(leaf.sharding.shard_shape(leaf.shape)))
    return f"1/{num_parts}" if num_parts > 1 else "all"


def _memory(compiled: Any, batch: Batch) -> dict[str, int]:
    """Bytes per device: the compiler's analysis, with its arguments split into state and batch."""
    analysis = compiled.memory_analysis()
    batch_bytes = sum(math.prod(a.sharding.shard_shape(a.shape)) * a.dtype.itemsize for a in jax.tree.leaves(batch))
    # Outputs that are not aliased to donated arguments exist beside them.
    outputs = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    memory = {
        "state": analysis.argument_size_in_bytes - batch_bytes,
        "batch": batch_bytes,
        "temporary": analysis.temp_size_in_bytes + outputs,
    }
    return memory | {"total": sum(memory.values())}
