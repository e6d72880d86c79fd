"""The needs of a run, without an accelerator: parameters, FLOPs, and memory per device on simulated devices.

compile_program(draw_program(setup), accelerator_of("v5e"))  # for the mesh of the run, by the compiler of v5e
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.config import enable_compilation_cache
from jax.sharding import Mesh

from arjax.core.batch import Batch
from arjax.core.errors import UserError, refuse
from arjax.core.options import check_size, defaults
from arjax.core.programs import BATCH_AXES
from arjax.evaluation.compiled import Estimate, estimate
from arjax.evaluation.flops import Roofline, Work, count_flops, count_work, roofline_seconds, rooflines
from arjax.evaluation.sampling import draw_on_mesh, options_of_run
from arjax.models import Model, recipe_of
from arjax.models.base import dummy_batch
from arjax.networks.recurrent.linear.states import WITHIN_CHUNKS
from arjax.objectives import Loss
from arjax.parallel.accelerators import Accelerator
from arjax.parallel.sharding import batch_sharding, path_string, replicated
from arjax.samplers import Draw
from arjax.samplers.request import DrawOptions
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


@dataclasses.dataclass(frozen=True)
class DrawPlan:
    """The needs of the draw of the samples of a run on a slice.

    Attributes:
      num: examples that are drawn at once, over all devices.
      mesh: sizes of its axes.
      parameters: bytes that a step has to read of them on a device: in the type of the network, and divided over the
        axis `tensor` alone, as parts of other axes are put together.
      memory_per_device: bytes of "parameters", of "temporary" values, such as a cache, and of both.
      compiled: by the compiler. The steps are a loop, or several, in each of which the cache has another size.
    """

    num: int
    mesh: dict[str, int]
    parameters: int
    memory_per_device: dict[str, int]
    compiled: Estimate


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


class Program(NamedTuple):
    """A program of a run: a function of abstract arguments that lie on its mesh.

    Attributes:
      name: "train step" or "draw".
      options: of `jax.jit`.
      batch: the arguments that grow with the number of examples.
      num: examples.
      field: the field of a config that has their number.
    """

    name: str
    mesh: Mesh
    function: Callable[..., Any]
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    batch: Any
    num: int
    field: str


def train_program(setup: Setup) -> Program:
    """The train step of a run."""
    spec, state, num = setup.spec, setup.abstract_state, setup.train.batch_size
    batch, key = _examples(setup, num), _placed(setup, jax.eval_shape(lambda: jax.random.key(0)))
    companions = {name: trained.companion for name, trained in setup.trained_companions().items()}

    def step(state: TrainState, batch: Batch, key: jax.Array, companions: Any) -> tuple[TrainState, Loss]:
        return train_step(spec, state, batch, key, companions)

    options = {"donate_argnums": 0, "out_shardings": (jax.tree.map(lambda leaf: leaf.sharding, state), None)}
    inputs = state, batch, key, companions
    return Program("train step", setup.mesh, step, inputs, options, batch, num, "train.batch_size")


def draw_program(setup: Setup) -> Program:
    """The draw of the samples of a run, under the contexts of its first examples."""
    wanted, sampler = setup.sample, setup.sampler
    made = f"the sampler {wanted.sampler} is made of a trained model: plan with config.sample.sampler=cached"
    pieces = "a draw of another length is a program for each piece: plan with config.sample.length=0"
    refuse((sampler.has_arrays, made), (wanted.length, pieces))
    of_draw = {name: getattr(wanted, name) for name in defaults(DrawOptions)}
    of_draw |= {"context": setup.dataset.first_examples(wanted.num).context, "sampler": sampler}

    def draw(params: Any, key: jax.Array) -> Draw:
        options = options_of_run(setup.model, params, setup.dataset, setup.open_run, **of_draw)
        return draw_on_mesh(setup.model, params, key, wanted.num, setup.mesh, **options)

    key = _placed(setup, jax.eval_shape(lambda: jax.random.key(0)))
    return Program("draw", setup.mesh, draw, (setup.abstract_state.params, key), {}, (), wanted.num, "sample.num")


def _placed(setup: Setup, arrays: Any) -> Any:
    """Abstract arrays on every device of the mesh."""
    everywhere = replicated(setup.mesh)
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=everywhere), arrays)


def _examples(setup: Setup, num: int) -> Batch:
    example = setup.dataset.splits["train"].__getitems__(np.arange(1))  # its masks and other arrays are read, too
    return abstract_batch(setup.model, num, batch_sharding(setup.mesh), example)


def compile_program(program: Program, accelerator: Accelerator | None = None) -> jax.stages.Compiled:
    """Returns the program, compiled for the devices of its mesh; one that the compiler of an accelerator finds too
    large for the memory of a device is refused.
    """
    with jax.set_mesh(program.mesh):
        lowered = jax.jit(program.function, **program.options).lower(*program.inputs)
    if accelerator is None:
        return lowered.compile()
    try:
        with enable_compilation_cache(False):  # a program of devices that are not here cannot be loaded again
            return lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UserError(_too_large(program, accelerator.name, str(error))) from error


def _too_large(program: Program, device: str, error: str) -> str:
    """The sentence for a program that needs more memory than a device has, with what would fit."""
    sizes = re.search(r"(?:Used |temporaries \()([\d.]+)([GM])\)? .*?([\d.]+)([GM])", error)
    needed, num = "more memory than there is", program.num // 2
    if sizes is not None:
        used, free = (float(sizes[i]) * {"G": 1, "M": 2**-10}[sizes[i + 1]] for i in (1, 3))
        fixed = (_bytes_on_device(program.inputs) - _bytes_on_device(program.batch)) / 2**30
        used += fixed if "temporaries" in sizes[0] else 0.0
        needed, num = f"{used:.1f} GiB of {free:.1f}", int(program.num * (free - fixed) / max(used - fixed, 1e-9))
    parts = math.prod(program.mesh.shape[axis] for axis in BATCH_AXES)
    advice = [f"config.{program.field}={num - num % parts} or less"] * (num >= parts)
    advice += ["config.network.remat=True where the network has it"] * (num > 0 and program.name == "train step")
    advice += ["more devices on config.mesh.fsdp"]
    return f"the {program.name} needs {needed} on each {device}: try {', or '.join(advice)}"


def make_plan(setup: Setup, accelerator: Accelerator | None) -> Plan:
    """Traces and compiles one train step on the mesh of a run; nothing is computed."""
    spec, mesh, program, state = setup.spec, setup.mesh, train_program(setup), setup.abstract_state
    work = count_work(program.function, *program.inputs)
    flops, batch_size = sum(each.flops for each in work), program.num
    compiled = compile_program(program, accelerator)
    memory = _memory(compiled, program.batch)
    cost = utilisation = None
    if accelerator is not None and mesh.devices.flat[0].platform != "cpu":  # not simulated
        cost = estimate(compiled.as_text() or "", accelerator)
        if accelerator.clock:  # a score may be many passes
            counted = min(flops, batch_size * model_flops(spec.model, state.params))
            utilisation = counted / (cost.seconds * mesh.size * accelerator.flops_16)
    # The optimizer reads and writes its state once.
    work.append(Work("optimizer", 32, 0.0, 2.0 * memory["state"] * mesh.size))
    leaves = jax.tree.leaves_with_path(state.params)
    modules = [] if accelerator is None else rooflines(accelerator, work, mesh.size)
    return Plan(
        parameters=[
            (path_string(path), leaf.shape, leaf.size, f"1/{parts}" if (parts := _num_parts(leaf)) > 1 else "all")
            for path, leaf in leaves
        ],
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


def make_draw_plan(setup: Setup, accelerator: Accelerator) -> DrawPlan:
    """Compiles the draw of the samples of a run for its mesh, of the devices of a slice."""
    program = draw_program(setup)
    compiled = compile_program(program, accelerator)
    memory, params = _memory(compiled, program.batch), jax.tree.leaves(setup.abstract_state.params)
    of_number = jnp.dtype(recipe_of(setup.model).dtype).itemsize
    return DrawPlan(
        num=program.num,
        mesh=dict(program.mesh.shape),
        parameters=sum(leaf.size // min(_num_parts(leaf), program.mesh.shape["tensor"]) for leaf in params) * of_number,
        memory_per_device={"parameters": memory["state"], **{name: memory[name] for name in ("temporary", "total")}},
        compiled=estimate(compiled.as_text() or "", accelerator),
    )


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
    key = None if model.score_kind == "exact" else jax.random.key(0)
    return lambda params, batch: model.score(params, batch, key=key).log_prob


def _num_parts(leaf: Any) -> int:
    return leaf.size // max(1, math.prod(leaf.sharding.shard_shape(leaf.shape)))


def _bytes_on_device(arrays: Any) -> int:
    """Of abstract arrays with a placement."""
    return sum(math.prod(a.sharding.shard_shape(a.shape)) * a.dtype.itemsize for a in jax.tree.leaves(arrays))


def _memory(compiled: Any, batch: Batch) -> dict[str, int]:
    """Bytes per device: the compiler's analysis, with its arguments split into state and batch."""
    analysis = compiled.memory_analysis()
    batch_bytes = _bytes_on_device(batch)
    # Outputs that are not aliased to donated arguments exist beside them.
    outputs = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    memory = {
        "state": analysis.argument_size_in_bytes - batch_bytes,
        "batch": batch_bytes,
        "temporary": analysis.temp_size_in_bytes + outputs,
    }
    return memory | {"total": sum(memory.values())}
