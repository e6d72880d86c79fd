"""Seconds, calls and equality of all samplers on the models of this study.

    python experiments/sampling/measure.py runs/sampling [--out=experiments/sampling] [--only=digits] [--rounds=5]

Trains the rows of sweep.py in the folder where that is not done yet. Then draws from each model under every sampler,
one example and sixteen at once, all samplers in turns; medians over the rounds. Writes results.csv, results.png
and the table of README.md.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import arjax
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.config.build import open_run as open_other_run
from arjax.evaluation.sampling import prepare_sampler
from arjax.reporting.figures import ACCENT, INK, SOFT, new_figure, row_of_axes, save_figure
from arjax.samplers import Sampler
from arjax.sweep.main import main as sweep
from arjax.training.results import device_name

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from measured import markdown_table, write_measured
from timing import time_in_turns

COLUMNS = ["data", "network", "sampler", "batch", "seconds", "calls", "most_calls", "steps_per_call", "over_cached"]
COLUMNS += ["differ", "of", "device"]
BATCHES = (1, 16)


class Case(NamedTuple):
    """A trained model, and what is drawn from it.

    Attributes:
      data: the name of the data in the table.
      row: of the sweep.
      draft: the row whose run is its draft; "" for none.
      num: samples that are compared with those of `cached`.
      passes: whether fixed points are tried, by passes and in windows: of long texts they take minutes.
      counts: order of the n-grams.
      of_itself: whether the model is its own draft.
    """

    data: str
    row: str
    draft: str = ""
    num: int = 992
    passes: bool = True
    counts: int = 3
    of_itself: bool = False


CASES = (
    Case("digits", "digits-transformer", "digits-lstm"),
    Case("digits", "digits-made", "digits-lstm"),
    Case("digits", "digits-lstm", "digits-made"),
    Case("digits", "digits-wavenet", "digits-lstm"),
    Case("digits", "digits-gated_pixelcnn", "digits-lstm"),
    Case("digits", "digits-diagonal_bilstm", "digits-lstm"),
    Case("digits", "digits-two_stream", of_itself=True),
    Case("digits", "digits-masked", num=64, of_itself=True),
    Case("binarized MNIST", "images-made", "images-gated_pixelcnn", num=64, counts=12),
    Case("binarized MNIST", "images-gated_pixelcnn", "images-made", num=64, counts=12),
    Case("binarized MNIST", "images-diagonal_bilstm", "images-made", num=64, counts=12),
    Case("Shakespeare, 1,024 characters", "text", "text-gru", num=16, passes=False, counts=4),
)


def samplers_of(case: Case, folder: Path) -> dict[str, str]:
    """Name in the table -> call string."""
    found = {"cached": "cached"}
    draft, short = str(folder / case.draft), case.draft.partition("-")[2]
    if case.passes:
        found["fixed_point"] = "fixed_point"
        if case.draft:
            found[f"fixed_point(start={short})"] = f"fixed_point(start={draft!r})"
        found["fixed_point(window=8)"] = "fixed_point(window=8)"
    counts = f"counts(order={case.counts})"
    drafts = [("self", "self")] if case.of_itself else [(short, draft)]
    for window, coupling in ((8, "keys"), (4, "rejection")):
        for name, text in [*drafts, (counts, counts)]:
            options = f"window={window}, coupling={coupling!r}"
            found[f"speculative(draft={name}, {options})"] = f"speculative(draft={text!r}, {options})"
    return found


def measure(case: Case, folder: Path, rounds: int) -> Iterator[list[dict[str, Any]]]:
    """The rows of one model, those of each batch size as they are there."""
    run = arjax.open_run(folder / case.row)
    other = lambda workdir: open_other_run(workdir, run.settings.mesh)  # noqa: E731
    samplers = {
        name: prepare_sampler(text, run.model, run.params, run.dataset, other)
        for name, text in samplers_of(case, folder).items()
    }
    expected = compared(run, samplers["cached"], case.num)[0]
    steps = run.model.factorization.num_steps
    equal = {}
    for name, sampler in samplers.items():
        x, calls = compared(run, sampler, case.num)
        differ = "" if "rejection" in name else int((x != expected).reshape(case.num, -1).any(1).sum())
        equal[name] = calls, differ
    for batch in BATCHES:
        keys = jax.random.split(jax.random.key(7), batch)
        draws = {name: drawing(run, sampler, keys) for name, sampler in samplers.items()}
        seconds = {name: statistics.median(found) for name, found in time_in_turns(draws, rounds, 0.0).items()}
        rows = []
        for name in samplers:
            calls, differ = equal[name]
            row = {"data": case.data, "network": case.row.partition("-")[2] or "transformer 6 x 256", "sampler": name}
            row |= {"batch": batch, "seconds": f"{seconds[name]:.4g}", "calls": f"{calls.mean():.4g}"}
            row |= {"most_calls": int(calls.max()), "steps_per_call": f"{steps / calls.mean():.3g}"}
            row |= {"over_cached": f"{seconds['cached'] / seconds[name]:.3g}", "differ": differ, "of": case.num}
            rows.append(row | {"device": device_name()})
            print(*rows[-1].values(), sep="; ", flush=True)
        yield rows


def drawing(run: arjax.Run, sampler: Sampler, keys: jax.Array) -> Callable[[], Any]:
    """A draw without arguments."""
    return lambda: run.model.draw(run.params, keys, sampler=sampler)


def compared(run: arjax.Run, sampler: Sampler, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples and calls of the network, some at a time."""
    keys, size = jax.random.split(jax.random.key(3), num), BATCHES[-1]
    parts = [run.model.draw(run.params, keys[i : i + size], sampler=sampler) for i in range(0, num, size)]
    calls = np.concatenate([np.asarray(part.stats["network_calls"]) for part in parts])
    return np.concatenate([np.asarray(part.x) for part in parts]), calls


def draw_picture(path: Path, rows: list[dict[str, Any]]) -> None:
    """Speed over `cached` of the fastest fixed point and of the fastest speculative sampler of each network, for each
    batch size, sorted by the speed of one example.
    """
    speeds: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["sampler"] != "cached":
            of_kind = speeds.setdefault(f"{row['network']}, {row['sampler'].partition('(')[0]}", {})
            batch = int(row["batch"])
            of_kind[batch] = max(of_kind.get(batch, 0.0), float(row["over_cached"]))
    labels = sorted(speeds, key=lambda label: -speeds[label].get(BATCHES[0], 0.0))
    figure = new_figure(9, 0.28 * len(labels) + 1.4)
    (axis,) = row_of_axes(figure, 1)
    for batch, marker, color in zip(BATCHES, "os", (INK, ACCENT), strict=True):
        places = [place for place, label in enumerate(labels) if batch in speeds[label]]
        shown = [speeds[labels[place]][batch] for place in places]
        axis.scatter(shown, places, s=30, marker=marker, color=color, label=f"batch of {batch}")
    ticks = (0.05, 0.1, 0.2, 0.5, 1, 2)
    axis.axvline(1, color=SOFT, lw=0.8)
    axis.set(xscale="log", xlabel="samples a second, over those of the cached sampler", ylim=(len(labels), -1))
    axis.set_title("the fastest sampler of each kind", loc="left")
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_yticks(range(len(labels)), labels, fontsize=9)
    axis.legend(fontsize=9, loc="lower right")
    save_figure(figure, path)


def write_table(page: Path, rows: list[dict[str, Any]]) -> None:
    """The rows of both batch sizes beside one another, between the two markers of the page."""
    head = ["data", "network", "sampler", "calls", "most", "steps a call"]
    head += [name for batch in BATCHES for name in (f"seconds, batch {batch}", "over cached")] + ["differ"]
    lines, found = [], {}
    for row in rows:
        found.setdefault((row["data"], row["network"], row["sampler"]), {})[int(row["batch"])] = row
    for (data, network, sampler), batches in found.items():
        one = next(iter(batches.values()))
        cells = [data, network, f"`{sampler}`", one["calls"], one["most_calls"], one["steps_per_call"]]
        for batch in BATCHES:
            row = batches.get(batch, {"seconds": "", "over_cached": ""})
            cells += [row["seconds"], row["over_cached"]]
        differ = "other draws" if one["differ"] == "" else f"{one['differ']} of {one['of']}"
        lines.append([*cells, differ])
    write_measured(page, markdown_table(head, lines))


def main(argv: list[str]) -> int:
    """Trains, draws, writes."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the models are, or will be")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where the table goes [this folder]")
    parser.add_argument("--only", default="", help="rows whose names begin so")
    parser.add_argument("--rounds", type=int, default=5, help="of timing [5]")
    flags = parser.parse_args(argv)
    cases = [case for case in CASES if case.row.startswith(flags.only)]
    needed = {name for case in cases for name in (case.row, case.draft) if name}
    missing = [name for name in needed if not (flags.folder / name / "results.json").exists()]
    if missing:
        status = sweep(
            [f"--sweep=experiments/sampling/sweep.py:{flags.folder}", f"--workdir={flags.folder}", "--jobs=1"]
        )
        if status:
            return status
    path = flags.out / "results.csv"
    kept = list(csv.DictReader(path.open(encoding="utf-8"))) if path.is_file() else []
    for case in cases:
        for rows in measure(case, flags.folder, flags.rounds):
            same = {name: rows[0][name] for name in ("data", "network", "batch")}
            kept = [row for row in kept if any(str(row[name]) != str(same[name]) for name in same)] + rows
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(kept)
            draw_picture(flags.out / "results.png", kept)
            if (flags.out / "README.md").is_file():
                write_table(flags.out / "README.md", kept)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("measure", lambda: main(sys.argv[1:])))
