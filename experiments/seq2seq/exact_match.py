"""How well each model of the sweep restores fragments, by the way in which its answer is found; the table of the page.

    python experiments/seq2seq/exact_match.py WORKDIR [--samplers='cached;beam(width=4)']     (the workdir of a sweep)

An answer is compared up to the character that ends it. It is exact when it equals the fragment in every character. The
character error rate is the number of characters to insert, delete or replace (Levenshtein, 1966) over those of the
fragments. `cached` draws from the model, one answer under seed 0; the others look for a probable one. Adds rows to the
results of the sweep, on the split that it reports and on validation, puts these into results.csv beside this file, and
makes the table of README.md of it. Rows of runs whose folder is not in WORKDIR stay, and so do those of other samplers,
but for a run that has been trained again since.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from sweep import get_sweep

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.config.build import build
from arjax.config.files import load_workdir_config
from arjax.core.errors import UserError
from arjax.data.batches import eval_batches
from arjax.evaluation.summaries import ratio_of_means, stderr_of
from arjax.sweep.results import FILE_NAME, read_csv, write_csv
from arjax.training.setup import restore_params

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from keep_results import merged_rows, name_of_row
from measured import markdown_table, measured_rows, write_measured

EXACT_MATCH, ERROR_RATE = "exact_match", "character_error_rate"
NATS, BEAM = "nll_nats_per_char", "beam(width=4)"
SAMPLERS = ("cached", "greedy", BEAM, "best(of=16)")
HERE = Path(__file__).parent
#: The columns that differ where a run has been trained again.
TRAINING = ("num_params", "train_minutes", "best_step", "device")
COLUMNS = [
    "model",
    "seeds",
    "nats per character",
    *(f"exact, {sampler}" for sampler in SAMPLERS),
    f"wrong characters, {BEAM}",
    f"exact on validation, {BEAM}",
]


def answers(
    workdir: str | os.PathLike, samplers: Sequence[str], split: str = ""
) -> tuple[list[str], dict[str, list[str]]]:
    """The N fragments of a split, "" for the one that the run reports, and the N answers of each sampler."""
    config = load_workdir_config(workdir)
    setup = build(config)
    params, _, _ = restore_params(setup, workdir)
    model, decode, end = setup.model, setup.dataset.decode, setup.dataset.end
    fragments, found = [], {sampler: [] for sampler in samplers}
    source = setup.dataset.splits[split or config.evaluate.split]
    for number, batch in enumerate(eval_batches(source, config.evaluate.batch_size)):
        rows = np.flatnonzero(np.asarray(batch.weight) > 0)
        fragments += [decode(batch.x[row]) for row in rows]
        for sampler, texts in found.items():
            key = jax.random.fold_in(jax.random.key(0), number)
            drawn = model.sample(params, key, len(batch), context=batch.context, sampler=sampler, end=end)
            texts += [decode(np.asarray(drawn)[row]) for row in rows]
    return fragments, found


def distance(a: str, b: str) -> int:
    """The fewest characters to insert, delete or replace that make one text of the other."""
    row = range(len(b) + 1)
    for i, symbol in enumerate(a, 1):
        above, row = row, [i]
        for j, other in enumerate(b, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (symbol != other)))
    return row[-1]


def scores(fragments: Sequence[str], found: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Each metric of N answers with its standard error; that of the error rate is that of a ratio of two sums."""
    num = len(fragments)
    share = sum(a == b for a, b in zip(fragments, found, strict=True)) / num
    errors = np.array([distance(a, b) for a, b in zip(fragments, found, strict=True)])
    sizes = np.array([len(fragment) for fragment in fragments])
    return {EXACT_MATCH: (share, math.sqrt(share * (1 - share) / num)), ERROR_RATE: ratio_of_means(errors, sizes)}


def rows_of(row: dict[str, str], workdir: Path, samplers: Sequence[str] = SAMPLERS) -> list[dict[str, Any]]:
    """The rows beside that of the likelihood of the same run, two for each sampler."""
    found = {}
    for column, split in (("value", ""), ("validation", "validation")):
        fragments, texts = answers(workdir / name_of_row(row), samplers, split)
        for sampler in samplers:
            for metric, (value, stderr) in scores(fragments, texts[sampler]).items():
                cells = {column: f"{value:.4g}", f"{column}_stderr": f"{stderr:.3g}"}
                found[metric, sampler] = found.get((metric, sampler), {}) | cells
    return [
        row | {"kind": "", "metric": metric, "model": f"{row['model']}, {sampler}"} | found[metric, sampler]
        for metric in (EXACT_MATCH, ERROR_RATE)
        for sampler in samplers
    ]


def page_rows(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """A line for each model: the means over its seeds.

    After ± stands the standard error over the seeds, or over the fragments where there is one seed.
    """
    models = dict.fromkeys(row["model"] for row in rows if row["metric"] == NATS)
    lines = []
    for model in models:
        seeds = {row["seed"] for row in rows if (row["model"], row["metric"]) == (model, NATS)}
        beam = f"{model}, {BEAM}"
        wanted = [(model, NATS, "value"), *((f"{model}, {sampler}", EXACT_MATCH, "value") for sampler in SAMPLERS)]
        wanted += [(beam, ERROR_RATE, "value"), (beam, EXACT_MATCH, "validation")]
        cells = []
        for name, metric, column in wanted:
            of_seeds = [row for row in rows if (row["model"], row["metric"]) == (name, metric) and row[column]]
            cells.append(over_seeds(of_seeds, column) if {row["seed"] for row in of_seeds} == seeds else "")
        lines.append([model, str(len(seeds)), *cells])
    return lines


def over_seeds(rows: Sequence[dict[str, Any]], column: str = "value") -> str:
    """The mean of a column with its standard error over the rows, or the value and the error of a single row."""
    values = np.array([float(row[column]) for row in rows])
    stderr = float(stderr_of(values)) if len(rows) > 1 else float(rows[0][f"{column}_stderr"])
    return f"{values.mean():.4f} ± {stderr:.4f}"


def main(argv: Sequence[str]) -> int:
    """Reads the flags, scores every run of the sweep and writes its table again."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path, help="workdir of the sweep")
    known = ";".join(SAMPLERS)
    parser.add_argument("--samplers", default=known, metavar="A;B", help=f"some of {known} [all]")
    parser.add_argument("--out", type=Path, default=HERE, help="where results.csv and README.md are [this folder]")
    flags = parser.parse_args(argv)
    chosen = {name.strip() for name in flags.samplers.split(";")}
    samplers = [name for name in SAMPLERS if name in chosen]
    if not chosen <= set(SAMPLERS):
        raise UserError(f"--samplers are some of {known}, not {flags.samplers!r}")
    workdir, page, results = flags.workdir, flags.out / "README.md", flags.out / FILE_NAME
    table = workdir / FILE_NAME
    if not table.is_file():
        raise UserError(f"{table} does not exist: run the sweep first")
    measured_rows(page, COLUMNS)  # a page without its table is told before the work
    of_sweep = read_csv(table)
    if any(row["stderr_over"] == "seeds" for row in of_sweep):
        raise UserError(f"{table} has means over seeds: run the sweep without --seeds=mean")
    of_runs = [row for row in of_sweep if row["metric"] not in (EXACT_MATCH, ERROR_RATE)]
    here = [row for row in of_runs if (workdir / name_of_row(row) / "results.json").is_file()]
    if not here:
        raise UserError(f"{workdir} has no finished run of {table}")
    for row in here:
        rows = [row, *rows_of(row, workdir, samplers)]
        keep(table, rows)
        keep(results, rows)
        print(f"{row['model']}, seed {row['seed']}: done", flush=True)
    lines = markdown_table(COLUMNS, page_rows(read_csv(results)), COLUMNS[1:])
    print(lines)
    write_measured(page, lines)
    return 0


def keep(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Puts the rows of a run, the first of which is that of its likelihood, into a table, in place of earlier ones."""
    now = rows[0]
    before = read_csv(path) if path.is_file() else []
    stay = [
        row for row in before if name_of_row(row) != name_of_row(now) or all(row.get(c) == now.get(c) for c in TRAINING)
    ]
    write_csv(path, merged_rows(stay, rows, [row.name for row in get_sweep()]))


if __name__ == "__main__":
    sys.exit(tell_mistakes("exact_match", lambda: main(sys.argv[1:])))
