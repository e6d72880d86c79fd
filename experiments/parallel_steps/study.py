"""Nats and samples of models of all orders that draw several sites at once: trains what is missing, measures what is
not in the table yet, and draws the picture.

    python experiments/parallel_steps/study.py runs/parallel_steps [--short] [--only=digits-masked,text-masked]

nats.csv: the k-step bound of each model, number of steps and schedule on the test split; samples.csv: the mean exact
log-likelihood and the diversity of samples, beside those of test examples. An interrupted study goes on.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import arjax
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.evaluation.sampling import prepare_sampler
from arjax.reporting import figures
from arjax.samplers.rounds import SCHEDULES, log_prob_of_rest, make_sizes, measure_losses

CONFIG = Path(__file__).with_name("config.py")
DATA, FORMS = ("digits", "text", "mnist"), ("masked", "two_position", "two_stream", "conv_nade")
#: S / K: steps of a round, on average.
FACTORS = (1, 2, 4, 8, 16)
CHOICES = ("random", "order", "confidence", "entropy")
NUM, ORDERS, NUM_SAMPLES, SEED = 200, 8, 128, 0
NATS = ("dataset", "model", "num_steps", "steps", "schedule", "nats", "stderr", "excess", "excess_stderr", "seed")
NATS += ("train_minutes", "num_params", "device")
SAMPLES = ("dataset", "model", "num_steps", "steps", "schedule", "choose", "log_prob", "stderr", "distance")
SAMPLES += ("distinct_4_grams", "network_calls", "seed", "seconds")
COLORS = dict(zip(SCHEDULES, (figures.SOFT, figures.INK, figures.ACCENT), strict=True))


def runs(only: Sequence[str]) -> Iterator[str]:
    """Names of the runs; a convolution has no text."""
    for data in DATA:
        for form in FORMS:
            name = f"{data}-{form}"
            if (data, form) != ("text", "conv_nade") and (not only or name in only):
                yield name


def nats_of(run: Any, losses_S: np.ndarray) -> Iterator[dict[str, Any]]:
    """The bound on the test split at each number of steps and schedule: from the losses of all sites that are left, so
    that no schedule is lucky, on the same examples and orders for all.
    """
    num_steps = run.model.factorization.num_steps
    source = run.dataset.splits["test"]
    batch = source.__getitems__(np.arange(min(NUM, len(source))))
    loss_NS, points = 0, tuple(range(num_steps))
    for seed in range(ORDERS):
        log_prob_NS, sites_NS = log_prob_of_rest(run.model, run.params, batch, points, seed=seed)
        loss_NS = loss_NS - log_prob_NS / sites_NS / ORDERS
    exact_N = loss_NS.sum(1)
    for factor in FACTORS:
        for schedule in SCHEDULES if factor > 1 else ("uniform",):
            sizes = make_sizes(schedule, num_steps, num_steps // factor, losses_S)
            nats_N = loss_NS[:, np.cumsum((0, *sizes[:-1]))] @ np.array(sizes)
            yield {"steps": len(sizes), "schedule": schedule} | {
                "nats": mean(nats_N)[0],
                "stderr": mean(nats_N)[1],
                "excess": mean(nats_N - exact_N)[0],
                "excess_stderr": mean(nats_N - exact_N)[1],
            }


def mean(values_N: np.ndarray) -> tuple[float, float]:
    """A mean and its standard error."""
    return float(values_N.mean()), float(values_N.std(ddof=1) / np.sqrt(len(values_N)))


def diversity(x: np.ndarray, is_text: bool) -> dict[str, float]:
    """The mean part of sites in which two examples differ; of text also the part of 4-grams that are different ones."""
    x = x.reshape(len(x), -1)
    differ = (x[:, None] != x[None]).mean(-1)
    found = {"distance": float(differ[np.triu_indices(len(x), 1)].mean())}
    if is_text:
        grams = np.lib.stride_tricks.sliding_window_view(x, 4, axis=1).reshape(-1, 4)
        found["distinct_4_grams"] = len(np.unique(grams, axis=0)) / len(grams)
    return found


def samples_of(run: Any, losses_S: np.ndarray, done: set[tuple[str, str, str]]) -> Iterator[dict[str, Any]]:
    """Exact log-likelihood in the order of the model, and diversity: of test examples and of samples."""
    model, params, is_text = run.model, run.params, run.model.event.kind == "tokens"
    num_steps, keys = model.factorization.num_steps, jax.random.split(jax.random.key(SEED), NUM_SAMPLES)
    score = jax.jit(lambda x: model.log_prob(params, x, factorization=model.factorization))

    def about(x: np.ndarray) -> dict[str, Any]:
        log_prob, stderr = mean(np.asarray(score(x), np.float64))
        return {"log_prob": log_prob, "stderr": stderr} | diversity(x, is_text)

    if ("", "", "data") not in done:
        source = run.dataset.splits["test"]
        x = np.asarray(source.__getitems__(np.arange(NUM_SAMPLES)).x).astype(model.event.dtype)
        yield {"steps": "", "schedule": "", "choose": "data"} | about(x)
    for factor, schedule, choose in order_of_samples():
        steps = num_steps // factor
        if (str(steps), schedule, choose) in done:
            continue
        sizes = make_sizes(schedule, num_steps, steps, losses_S)
        text = f"parallel(choose={choose!r},sizes={sizes})"
        sampler = prepare_sampler(text, model, params, run.dataset, None)
        start = time.perf_counter()
        x, stats = model.draw(params, keys, sampler=sampler)
        found = {"steps": steps, "schedule": schedule, "choose": choose} | about(np.asarray(x))
        calls = int(stats["network_calls"][0])
        yield found | {"network_calls": calls, "seconds": round(time.perf_counter() - start, 1)}


def order_of_samples() -> Iterator[tuple[int, str, str]]:
    """The most telling first."""
    yield 1, "uniform", "random"
    for factor in (8, 4, 16, 2):
        for choose in CHOICES:
            for schedule in SCHEDULES:
                yield factor, schedule, choose


def measure(run: Any, name: str, folder: Path, with_samples: bool) -> None:
    """Adds the rows of a run to the tables."""
    data, form = name.split("-")
    num_steps = run.model.factorization.num_steps
    common = {"dataset": data, "model": form, "num_steps": num_steps, "seed": run.config.seed}
    losses = folder / name / "losses.npy"
    if not losses.exists():
        source = run.dataset.splits["validation"]
        batch = source.__getitems__(np.arange(min(NUM, len(source))))
        np.save(losses, measure_losses(run.model, run.params, batch))
    losses_S = np.load(losses)
    if not any((row["dataset"], row["model"]) == (data, form) for row in read(folder / "nats.csv")):
        minutes = {"train_minutes": round(run.results["train_seconds"] / 60, 2)}
        more = common | minutes | {name: run.results[name] for name in ("num_params", "device")}
        write(folder / "nats.csv", NATS, [more | row for row in nats_of(run, losses_S)])
    if with_samples:
        mine = [row for row in read(folder / "samples.csv") if (row["dataset"], row["model"]) == (data, form)]
        done = {(row["steps"], row["schedule"], row["choose"]) for row in mine}
        for row in samples_of(run, losses_S, done):
            write(folder / "samples.csv", SAMPLES, [common | row])


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table; none where there is no table."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, names: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Adds rows to a table, numbers with six digits."""
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
        if is_new:
            writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
            print(", ".join(f"{key} {value}" for key, value in row.items() if value != ""), flush=True)


def draw(folder: Path) -> None:
    """nats.png: excess nats over S / K, one panel for each data set, a line for each schedule and model."""
    rows = [row for row in read(folder / "nats.csv") if row["steps"] != row["num_steps"]]
    names = [data for data in DATA if any(row["dataset"] == data for row in rows)]
    figure = figures.new_figure(3.6 * len(names), 3.4)
    marks = dict(zip(FORMS, "osd^", strict=True))
    for axis, data in zip(figures.row_of_axes(figure, len(names)), names, strict=True):
        for form in FORMS:
            for schedule in SCHEDULES:
                mine = [r for r in rows if (r["dataset"], r["model"], r["schedule"]) == (data, form, schedule)]
                points = sorted((int(r["num_steps"]) / int(r["steps"]), float(r["excess"])) for r in mine)
                if points:
                    style = {"color": COLORS[schedule], "marker": marks[form], "markersize": 4, "linewidth": 1}
                    axis.plot(*zip(*points, strict=True), **style, label=f"{form}, {schedule}")
        axis.set_xscale("log", base=2)
        figures.label_axes(axis, "sites per step", "nats above one site per step", data)
    figure.axes[0].legend(frameon=False, fontsize=6)
    figures.save_figure(figure, folder / "nats.png")


def main(argv: Sequence[str]) -> int:
    """Reads the flags and goes through the runs."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path, help="folder of the runs and of the tables")
    parser.add_argument("--short", action="store_true", help="models of two minutes of training each")
    parser.add_argument("--only", default="", help="names of runs, with commas between them")
    parser.add_argument("--no_training", action="store_true", help="measure finished runs alone")
    parser.add_argument("--no_samples", action="store_true", help="nats alone")
    flags = parser.parse_args(argv)
    for name in runs([part for part in flags.only.split(",") if part]):
        data, form = name.split("-")
        config = f"{CONFIG}:data={data},form={form}" + (",short" if flags.short else "")
        if not (flags.workdir / name / "results.json").exists():
            if flags.no_training:
                continue
            arjax.fit(config, flags.workdir / name)
        measure(arjax.open_run(flags.workdir / name, config), name, flags.workdir, not flags.no_samples)
    draw(flags.workdir)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("study", lambda: main(sys.argv[1:])))
