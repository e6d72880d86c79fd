"""Every network and every kind of model, compiled for slices of accelerators that are not here: a train step, a draw
and a score of each, on a mesh with fsdp and tensor.

    python experiments/accelerators/study.py results.csv v5e:2x2 [--only=lstm,made] [--programs=train] [--minutes=8]

Needs `arjax[tpu]`, or `arjax[cuda]` for `H100:4`. A program that stands in the table is left out, so that an
interrupted study goes on; one in which the compiler ended the process is marked so when the study is started again.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import gzip
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import optax
import waste
from jax.sharding import Mesh

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.batch import Batch
from arjax.core.errors import UserError, did_you_mean, refuse
from arjax.core.spec import EventSpec
from arjax.evaluation.compiled import estimate
from arjax.models import KINDS, Model, make_model
from arjax.models.kinds import ModelChoice
from arjax.networks import NETWORKS
from arjax.objectives import make_objective
from arjax.parallel.accelerators import accelerator_of, slice_devices
from arjax.parallel.sharding import batch_sharding, make_mesh, param_shardings, replicated
from arjax.testing.examples import random_context, random_x
from arjax.testing.models import autoregressive_networks
from arjax.training.optimizer import make_optimizer, read_rule
from arjax.training.plan import Program, compile_program
from arjax.training.state import StepSpec, abstract_state, state_shardings, with_shardings
from arjax.training.step import train_step

#: Sizes in which tiles of 8 x 128 numbers count.
WIDTH, CHUNK, BATCH, DTYPE = 256, 64, 64, "bfloat16"
EVENT = EventSpec((16, 16), (), "levels", 32)
FSDP, TENSOR = 2, 2
OBJECTIVES = {"latent/binary": "elbo(samples=2)", "tokens/fsq": "tokenizer(rate=1)", "tokens/vq": "tokenizer(rate=1)"}
#: Options of networks that are widths.
WIDTHS = {
    "hidden_size",
    "hidden_sizes",
    "width",
    "channels",
    "num_filters",
    "skip_channels",
    "out_size",
    "readout_size",
}
WIDTHS |= {"embedding_size", "value_size"}
OTHERS = {"chunk_size": CHUNK, "window": 64, "query_block": (64,), "memory": (64,), "segment": 128, "groups": 16}
PROGRAMS = ("train", "draw", "score")
COLUMNS = (
    "model",
    "program",
    "slice",
    "mesh",
    "outcome",
    "compile_seconds",
    "parameters",
    "argument_mb",
    "temporary_mb",
)
COLUMNS += ("collectives", "in_loops", "moved_mb", "ms", *waste.COLUMNS)


def models() -> list[str]:
    """Names of all networks, then `kind/example` of all kinds that are not one network in an order."""
    kinds = [
        f"{kind}/{name}" for kind in KINDS.names() for name in KINDS.get(kind).EXAMPLES if kind != "autoregressive"
    ]
    return [*autoregressive_networks(), *kinds, "gaussian_chain/unet", "discrete_chain/adaptive_mlp"]


def wide(options: dict[str, Any]) -> dict[str, Any]:
    """Options with all widths replaced."""

    def size(value: Any) -> Any:
        return tuple(WIDTH for _ in value) if isinstance(value, tuple) else WIDTH

    others = {name: value for name, value in OTHERS.items() if type(options.get(name)) is type(value)}
    return options | {name: size(options[name]) for name in WIDTHS & options.keys()} | others


def widened(choice: ModelChoice) -> ModelChoice:
    """The choices with all widths of their networks replaced."""
    parts = {name: widened(part) if isinstance(part, ModelChoice) else part for name, part in choice.parts.items()}
    return dataclasses.replace(choice, network_options=wide(dict(choice.network_options)), parts=parts)


def model_of(name: str) -> Model:
    """A network at the sizes above, or a model of a kind, on more sites than its example has where it can be."""
    if name in NETWORKS.names():
        ordering = "multiscale" if name == "multiscale" else "raster"
        return make_model(EVENT, name, ordering=ordering, dtype=DTYPE, **wide(dict(NETWORKS.get(name).SMALL)))
    kind, example = name.split("/")
    if example in NETWORKS.names():
        return make_model(EVENT, example, kind=kind, dtype=DTYPE, **wide(dict(NETWORKS.get(example).SMALL)))
    small = KINDS.get(kind).EXAMPLES[example]
    grid = (16, 16) if len(small.event.grid_shape) == 2 else (64,)
    for event in (dataclasses.replace(small.event, grid_shape=grid), small.event):
        with contextlib.suppress(UserError):
            return make_model(event, widened(small.choice), context=small.context, dtype=DTYPE)
    return make_model(small.event, small.choice, context=small.context, dtype=DTYPE)


def placed(tree: Any, sharding: Any) -> Any:
    """Shapes and types of arrays with one placement."""
    shapes = jax.eval_shape(lambda: tree)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes)


def program_of(name: str, model: Model, program: str, mesh: Mesh) -> Program:
    """The train step, the draw or the score of a batch."""
    x, context = random_x(model.event, BATCH), random_context(model.context_spec, BATCH)
    batch, keys = placed((Batch(x, context or {}), jax.random.split(jax.random.key(0), BATCH)), batch_sharding(mesh))
    key = placed(jax.random.key(0), replicated(mesh))
    params = with_shardings(model.param_shapes, param_shardings(model.param_shapes, mesh))
    objective = make_objective(OBJECTIVES.get(name, "teacher_forcing"))
    adam = make_optimizer(read_rule("adamw", {}), optax.constant_schedule(1e-3), clip_norm=1.0)
    spec = StepSpec(model, objective, adam, total_steps=10)

    def train(state: Any, batch: Batch, key: jax.Array) -> Any:
        return train_step(spec, state, batch, key)

    def draw(params: Any, keys: jax.Array, context: Any) -> jax.Array:
        return model.draw(params, keys, context=context)[0]

    def score(params: Any, batch: Batch, key: jax.Array) -> jax.Array:
        return model.score(params, batch, key=key).log_prob

    def made(function: Any, *inputs: Any, **options: Any) -> Program:
        return Program(program, mesh, function, inputs, options, batch, BATCH, "train.batch_size")

    if program == "draw":
        return made(draw, params, keys, batch.context)
    if program == "score":
        return made(score, params, batch, key)
    state = abstract_state(spec, mesh)
    state = with_shardings(state, state_shardings(state, spec, mesh))
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    return made(train, state, batch, key, donate_argnums=0, out_shardings=(shardings, None))


@contextlib.contextmanager
def stderr_of_compilers() -> Iterator[list[str]]:
    """The lines that XLA writes to the second file of the process meanwhile; they are known at the end."""
    lines: list[str] = []
    before = os.dup(2)
    with tempfile.TemporaryFile("w+", errors="replace") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(before, 2)
            os.close(before)
            file.seek(0)
            lines += file.read().splitlines()


def measured(name: str, kind: str, slice_name: str, texts: str = "") -> dict[str, Any]:
    """The row of a program; its text and the words of the compiler go into the folder `texts`."""
    accelerator, mesh = accelerator_of(slice_name), make_mesh(-1, FSDP, TENSOR, slice_devices(slice_name))
    row = {"model": name, "program": kind, "slice": slice_name}
    row["mesh"] = " x ".join(f"{axis} {size}" for axis, size in mesh.shape.items() if size > 1)
    model, start = model_of(name), time.perf_counter()
    program = program_of(name, model, kind, mesh)
    try:
        with stderr_of_compilers() as said:
            compiled = compile_program(program, accelerator)
    except Exception as error:  # the row says what a compiler refuses
        return row | {"outcome": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    seconds, text, memory = time.perf_counter() - start, compiled.as_text(), compiled.memory_analysis()
    if texts:
        stem = f"{texts}/{name.replace('/', '-')}.{kind}.{slice_name.replace(':', '-')}"
        Path(f"{stem}.txt.gz").write_bytes(gzip.compress(text.encode()))
        Path(f"{stem}.err").write_text("\n".join(said))
    cost = estimate(text, accelerator)
    return row | {
        "outcome": "compiles",
        "compile_seconds": round(seconds, 1),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(model.param_shapes)),
        "argument_mb": round(memory.argument_size_in_bytes / 1e6, 2),
        "temporary_mb": round(memory.temp_size_in_bytes / 1e6, 2),
        "collectives": sum(each.runs for each in cost.collectives),
        "in_loops": sum(each.runs for each in cost.collectives if each.in_loop),
        "moved_mb": round(sum(each.bytes for each in cost.collectives) / 1e6, 3),
        "ms": round(1e3 * cost.seconds, 4) if accelerator.clock else "",
        **waste.of_program(text, said),
    }  # fmt: skip


def main() -> int:
    """Compiles what is missing in the table; returns 3 where the minutes are over before."""
    jax.config.update("jax_platforms", "cpu")
    # no devices, and all that libtpu says
    os.environ |= {"CUDA_VISIBLE_DEVICES": "-1", "TPU_MIN_LOG_LEVEL": "0", "TPU_STDERR_LOG_LEVEL": "0"}
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_autotune_level=0"  # no device to time it on
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("slice")
    parser.add_argument("--only", default="", help="names of models")
    parser.add_argument("--programs", default=",".join(PROGRAMS))
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no program after so many")
    parser.add_argument("--texts", default="", help="folder for the texts of the compiled programs")
    flags = parser.parse_args()
    names = flags.only.split(",") if flags.only else models()
    for name in names:
        known = [*models(), "autoregressive/binary"]
        refuse((name not in known, f"there is no model {name!r}{did_you_mean(name, known)}"))
    slice_devices(flags.slice)
    table, begun, start = flags.table, flags.table.with_suffix(".begun"), time.perf_counter()
    if begun.exists():
        model, program, slice_name = begun.read_text().split()
        write(table, {"model": model, "program": program, "slice": slice_name, "outcome": "the process ended"})
        begun.unlink()
    done = {(row["model"], row["program"], row["slice"]) for row in read(table)}
    for program in flags.programs.split(","):
        for name in names:
            if (name, program, flags.slice) in done:
                continue
            if time.perf_counter() - start > 60 * flags.minutes:
                return 3
            begun.write_text(f"{name} {program} {flags.slice}")
            row = measured(name, program, flags.slice, flags.texts)
            write(table, row)
            begun.unlink()
            print(*(f"{row[column]}" for column in COLUMNS if column in row), sep=" | ", flush=True)
            jax.clear_caches()
    return 0


def read(table: Path) -> list[dict[str, str]]:
    """The rows of a table; none where there is none yet."""
    return list(csv.DictReader(table.open())) if table.exists() else []


def write(table: Path, row: dict[str, Any]) -> None:
    """Adds a row to a table."""
    is_new = not table.exists()
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    sys.exit(tell_mistakes("study", main))
