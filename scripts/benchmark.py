"""Speed of every network in training and sampling, beside the same nets in torch, as a table and as JSON.

    python scripts/benchmark.py [--only=made,lstm] [--repeats=7] [--out=FILE.json] [--nopeers]
    python scripts/benchmark.py --quick
    python scripts/benchmark.py --length=FOLDER [--only=lstm,transformer] [--longest=65536] [--seconds=10]
    python scripts/benchmark.py --compile=FOLDER [--only=lstm,transformer]
    python scripts/benchmark.py --prompt | --longer | --steps | --coding [--only=lstm,transformer]
    python scripts/benchmark.py --generate

Training goes through the train step of real runs: optimizer included, several steps per dispatch, rows gathered on the
device. Peers and arjax run in turn in the same process. A ratio is the median over the rounds of the ratio within a
round; beside it stands the ratio of the best rounds, which other work on the machine disturbs least (torch's threads
wait for one another, so it suffers more). Naive sampling is timed for some of its steps, each a full pass, and
extrapolated. A line tells of each network as it ends; after Ctrl-C, the networks that have ended are in the report
FILE_unfinished.json. With --quick: the networks that have a peer, in few rounds and less than three minutes. With
--length: memory and time against the length of the sequence, see benchmark_length.py. With --compile: seconds until a
network trains, see benchmark_compile.py. With --prompt: reading a prompt, see benchmark_prompt.py; with --longer: draws
of 2,000 characters, see benchmark_longer.py; with --generate: drawing beside `generate` of transformers, see
benchmark_generate.py; with --steps: a step of drawing beside the bandwidth, see benchmark_steps.py; with --coding:
compressing and decompressing beside drawing, see benchmark_coding.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib
import importlib.util
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from benchmark_training import CASES, IMAGE, STEPS_PER_DISPATCH, Training, case_of
from timing import matrix_product, ratio, sampling_speed, time_in_turns

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError
from arjax.core.files import folder_to_write, writable_file, write_json
from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks import NETWORKS
from arjax.reporting.tables import format_count, print_table
from arjax.testing.models import autoregressive_networks

SAMPLES = 16
SPEECH = EventSpec((8000,), kind="levels", num_levels=256)
#: Event, number of samples and options of networks that do not sample images.
SAMPLING: dict[str, tuple[EventSpec, int, Mapping[str, Any]]] = {
    # One second of speech, at the size of configs/spoken_digits.py.
    "wavenet": (SPEECH, 1, {"hidden_size": 32, "skip_channels": 64, "num_layers": 18, "dilation_cycle": 9}),
}
#: At most: naive sampling takes seconds per step, and its ratios are far above the noise.
SAMPLING_ROUNDS, QUICK_SAMPLING_ROUNDS = 3, 1
ROUNDS, QUICK_ROUNDS = 7, 3  # of training, unless --repeats says otherwise


def measure_training(name: str, rounds: int, peers: Any) -> dict[str, Any]:
    """Train speed of a network, alone and beside its peer; `peers` is the module benchmark_peers or None."""
    case = case_of(name)
    training = Training(make_model(case.event, name, ordering=case.ordering, **case.options), case)
    product, product_flops = matrix_product()
    flops_per_step = training.flops_per_step()
    functions: dict[str, Callable[[], Any]] = {"arjax": training.dispatch, "product": product}
    if peers is not None and case.peer is not None:
        functions["peer"] = getattr(peers, case.peer[0])(*case.peer[1])
    seconds = time_in_turns(functions, rounds)
    step_seconds = [s / STEPS_PER_DISPATCH for s in seconds["arjax"]]
    row = {
        "network": name,
        "options": NETWORKS.options(name) | dict(case.options),
        "event": dataclasses.asdict(case.event),
        "batch_size": case.batch_size,
        "step_seconds": statistics.median(step_seconds),
        "examples_per_second": case.batch_size / statistics.median(step_seconds),
        "flops_per_step": flops_per_step,
        "matmul_peak_flops": product_flops / statistics.median(seconds["product"]),
        "fraction_of_matmul_peak": flops_per_step / product_flops * ratio(seconds["product"], step_seconds),
        "compile_seconds": training.compile_seconds,
    }
    if "peer" in seconds:
        row |= {
            "peer": case.peer_name,
            "peer_step_seconds": statistics.median(seconds["peer"]),
            "peer_examples_per_second": case.batch_size / statistics.median(seconds["peer"]),
            "speed_over_peer": ratio(seconds["peer"], step_seconds),
            "speed_over_peer_best": min(seconds["peer"]) / min(step_seconds),
        }
    return row


def measure_sampling(name: str, rounds: int) -> dict[str, Any]:
    """Cached against naive sampling of images, or of the case in `SAMPLING`."""
    case = case_of(name)
    event, num, options = SAMPLING.get(name, (IMAGE, SAMPLES, case.options if case.event == IMAGE else {}))
    model = make_model(event, name, ordering=case.ordering, **options)
    speed = sampling_speed(model, jax.jit(model.init)(jax.random.key(0)), num, rounds)
    options = NETWORKS.options(name) | dict(options)
    about = {"network": name, "options": options, "num_sites": event.num_sites, "batch_size": num}
    return about | dataclasses.asdict(speed)


def machine() -> dict[str, Any]:
    """The source of the numbers: machine and versions."""
    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


def training_line(row: Mapping[str, Any]) -> str:
    """What is known of a network once its training is measured."""
    peer = f", {row['speed_over_peer']:.2f} times {row['peer']}" if "peer" in row else ""
    speed = f"{row['examples_per_second']:,.0f} examples/s, {row['fraction_of_matmul_peak']:.0%} of the matrix peak"
    return f"{row['network']}: training {speed}{peer}"


def sampling_line(row: Mapping[str, Any]) -> str:
    """The same of its sampling."""
    sites = f"{row['batch_size']} x {row['num_sites']} sites in {row['cached_seconds']:.2f} s"
    return f"{row['network']}: sampling {sites}, {row['speedup']:,.0f} times naive"


def tell(
    rows: list[dict[str, Any]],
    names: Sequence[str],
    measure: Callable[[str], dict[str, Any]],
    line: Callable[[Mapping[str, Any]], str],
) -> None:
    """Adds the rows of all names; each is told as it ends, with its place among them."""
    for place, name in enumerate(names, 1):
        rows.append(measure(name))
        print(f"[{place}/{len(names)}] {line(rows[-1])}", flush=True)


def load_peers(wanted: bool | None) -> Any:
    """The module with the peers, or None; with `wanted` None, only where their libraries are installed, saying so."""
    missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    if wanted is False:
        return None
    if missing:
        message = f"the peers need {' and '.join(missing)}: pip install 'arjax[benchmark]', or give --nopeers"
        if wanted:
            raise UserError(message)
        print(f"without peers: {message}")
        return None
    import benchmark_peers

    return benchmark_peers


def print_report(report: Mapping[str, Any]) -> None:
    """The report as two tables."""
    rows = [
        (
            row["network"],
            f"{row['examples_per_second']:,.0f}",
            f"{1e3 * row['step_seconds']:.2f}",
            f"{format_count(row['flops_per_step'])}",
            f"{row['fraction_of_matmul_peak']:.0%}",
            f"{row['compile_seconds']:.1f}",
            row.get("peer", ""),
            f"{row['peer_examples_per_second']:,.0f}" if "peer" in row else "",
            f"{row['speed_over_peer']:.2f} ({row['speed_over_peer_best']:.2f})" if "peer" in row else "",
        )
        for row in report["training"]
    ]
    columns = ("network", "examples/s", "ms/step", "FLOPs/step", "of peak", "compile s")
    columns += ("peer", "its examples/s", "speed over peer (best)")
    print_table(columns, rows, title="Training", right=columns[1:6] + columns[7:])
    rows = [
        (
            row["network"],
            f"{row['batch_size']} x {row['num_sites']}",
            f"{row['cached_seconds']:.2f}",
            f"{row['naive_seconds']:.1f}",
            f"{row['naive_steps']}, {row['naive_form']}",
            f"{row['speedup']:.0f}",
            f"{row['compile_seconds']:.1f}",
        )
        for row in report["sampling"]
    ]
    columns = ("network", "sites", "cached s", "naive s", "naive steps timed", "speed-up", "compile s")
    print_table(columns, rows, title="Sampling", right=columns[1:4] + columns[5:])


def measure_length(flags: argparse.Namespace) -> int:
    """Memory and time against the length of the sequence."""
    import benchmark_length

    names = tuple(flags.only.split(",")) if flags.only else benchmark_length.NAMES
    for name in names:
        if name not in benchmark_length.NAMES:
            raise UserError(f"--length measures {', '.join(benchmark_length.NAMES)}, not {name!r}")
    if flags.longest < benchmark_length.SHORTEST or flags.seconds <= 0:
        raise UserError(f"--longest must be at least {benchmark_length.SHORTEST}, and --seconds above 0")
    benchmark_length.run(names, flags.longest, flags.seconds, flags.length)
    return 0


def measure_draws(flags: argparse.Namespace, what: str) -> int:
    """Time of a prompt that is read in chunks, of draws that are longer than the window, or of coding."""
    module = importlib.import_module(f"benchmark_{what}")
    names = tuple(flags.only.split(",")) if flags.only else tuple(module.NETWORKS)
    for name in names:
        if name not in module.NETWORKS:
            raise UserError(f"--{what} measures {', '.join(module.NETWORKS)}, not {name!r}")
    return write(flags.out, {"machine": machine(), what: module.run(names, flags.repeats)})


def measure_generate(flags: argparse.Namespace) -> int:
    """Drawing beside another library."""
    import benchmark_generate

    peers = load_peers(flags.peers)
    about = machine() | (peers.VERSIONS if peers else {})
    return write(flags.out, {"machine": about, "generate": benchmark_generate.run(flags.repeats, peers)})


def measure_steps(flags: argparse.Namespace) -> int:
    """Bytes and time of a step of drawing."""
    import benchmark_steps

    names = flags.only.split(",") if flags.only else autoregressive_networks()
    for name in names:
        NETWORKS.get(name)
    rows: list[dict[str, Any]] = []
    ended = False
    try:
        measure = functools.partial(benchmark_steps.measure_network, rounds=flags.repeats)
        tell(rows, names, measure, benchmark_steps.line)
        ended = True
    finally:  # also after Ctrl-C
        if rows and flags.out is not None:
            keep({"machine": machine(), "steps": rows}, flags.out, ended)
    return 0


def write(out: Path | None, report: Mapping[str, Any]) -> int:
    """The report as JSON, where a file is named."""
    if out is not None:
        write_json(out, report)
    return 0


def measure_networks(flags: argparse.Namespace, names: Sequence[str]) -> int:
    """Training and sampling of networks, beside their peers and naive sampling."""
    peers = load_peers(flags.peers)
    # Compile times are part of the report, so nothing may come from the cache.
    jax.config.update("jax_enable_compilation_cache", False)
    draws = min(flags.repeats, QUICK_SAMPLING_ROUNDS if flags.quick else SAMPLING_ROUNDS)
    training: list[dict[str, Any]] = []
    sampling: list[dict[str, Any]] = []
    about = machine() | (peers.VERSIONS if peers else {})
    report = {"machine": about, "training": training, "sampling": sampling}
    ended = False
    try:
        tell(training, names, lambda name: measure_training(name, flags.repeats, peers), training_line)
        tell(sampling, names, lambda name: measure_sampling(name, draws), sampling_line)
        ended = True
    finally:  # also after Ctrl-C
        if training:
            print_report(report)
            keep(report, flags.out, ended)
    return 0


def keep(report: Mapping[str, Any], out: Path | None, ended: bool) -> None:
    """Writes or prints the report; one of fewer networks than wanted leaves an earlier file as it is."""
    if out is None:
        print(json.dumps(report, indent=2), flush=True)
        return
    out = out if ended else out.with_name(f"{out.stem}_unfinished{out.suffix}")
    write(out, report)
    print(f"the report is in {out}", flush=True)


def read_flags(argv: Sequence[str]) -> argparse.Namespace:
    """The flags, with the rounds that are meant where none are given."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names of networks, separated by commas; all by default")
    parser.add_argument(
        "--repeats", type=int, help=f"rounds over which medians are taken [{ROUNDS}; {QUICK_ROUNDS} with --quick]"
    )
    parser.add_argument("--quick", action="store_true", help="only the networks that have a peer, in few rounds")
    parser.add_argument("--out", type=Path, help="file for the JSON, which is printed otherwise")
    parser.add_argument("--peers", action="store_true", default=None, help="fail where the peers are not installed")
    parser.add_argument("--nopeers", dest="peers", action="store_false", help="measure arjax alone")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--length", type=Path, metavar="FOLDER", help="measure against length, and write a plot there")
    one.add_argument("--compile", type=Path, metavar="FOLDER", help="measure how long compilation takes")
    one.add_argument("--prompt", action="store_true", help="measure reading a prompt against stepping through it")
    one.add_argument("--longer", action="store_true", help="measure draws longer than the window of the training")
    one.add_argument("--generate", action="store_true", help="measure drawing beside generate of transformers")
    one.add_argument("--steps", action="store_true", help="measure what a step of drawing reads and copies")
    one.add_argument("--coding", action="store_true", help="measure compressing and decompressing beside drawing")
    parser.add_argument("--longest", type=int, default=65536, help="with --length: the longest sequence")
    parser.add_argument("--seconds", type=float, default=10.0, help="with --length: the longest gradient, in seconds")
    flags = parser.parse_args(argv)
    if flags.repeats is None:
        flags.repeats = QUICK_ROUNDS if flags.quick else ROUNDS
    if flags.repeats < 1:
        raise UserError(f"--repeats must be at least 1, not {flags.repeats}")
    if flags.generate and flags.only:
        raise UserError("--generate measures the networks that have a peer: it takes no --only")
    if flags.out is not None and (flags.length is not None or flags.compile is not None):
        raise UserError("--length and --compile write into their folders: they take no --out")
    return flags


def main(argv: Sequence[str]) -> int:
    """Measures what the flags ask for; a report that cannot be written ends it before that."""
    flags = read_flags(argv)
    folder = flags.length or flags.compile or (flags.out and flags.out.parent)
    if folder is None:
        return measure_all(flags)
    with folder_to_write(folder) as folder:
        if flags.out is not None:
            flags.out = writable_file(folder / flags.out.name)
        return measure_all(flags)


def measure_all(flags: argparse.Namespace) -> int:
    """Measures what the flags ask for."""
    if flags.length is not None:
        return measure_length(flags)
    for wanted, measure in (
        (flags.generate, measure_generate),
        (flags.steps, measure_steps),
        (flags.prompt, functools.partial(measure_draws, what="prompt")),
        (flags.longer, functools.partial(measure_draws, what="longer")),
        (flags.coding, functools.partial(measure_draws, what="coding")),
    ):
        if wanted:
            return measure(flags)
    names = flags.only.split(",") if flags.only else list(CASES) if flags.quick else autoregressive_networks()
    for name in names:
        NETWORKS.get(name)
    if flags.compile is not None:
        import benchmark_compile

        benchmark_compile.run(names, flags.compile)
        return 0
    return measure_networks(flags, names)


if __name__ == "__main__":
    sys.exit(tell_mistakes("benchmark", lambda: main(sys.argv[1:])))
