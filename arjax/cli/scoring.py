"""The modes `evaluate`, `compare` and `classify`: a split of the data of a run, or the rows of a file, `--input`."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np

from arjax.api.comparing import compare
from arjax.api.comparing import row_in_words as in_a_line
from arjax.api.run import Run
from arjax.api.run import open_run as open_other
from arjax.api.trained_model import Given
from arjax.cli.opening import open_run
from arjax.config.files import apply_overrides
from arjax.config.validate import validate
from arjax.core.errors import UserError
from arjax.core.files import own_folder, read_array, read_json_object, user_path, writable_file, write_json, write_text
from arjax.core.scores import NO_LIKELIHOOD, SAMPLE_SCORE
from arjax.data import Source
from arjax.evaluation.classes import classes_of, classification_scores, labels_of, log_posterior, log_prior
from arjax.evaluation.likelihood import Evaluator
from arjax.evaluation.report import open_judge, report
from arjax.evaluation.sampling import parse_context
from arjax.evaluation.splits import split_of
from arjax.reporting.plots import write_exposure
from arjax.reporting.reports import describe_classification, line_of
from arjax.training.reporter import announce
from arjax.training.results import run_report, write_evaluation

FOLDER, SCORES, COMPARISONS = "classification", "scores.json", "comparisons"


def read_input(run: Run, path: str, context: Any = None) -> tuple[Given, np.ndarray | None]:
    """Returns the examples of a file like that of the training, or of a .npy file in the units of the data, and the
    classes int[N] in the file, if it has any. `context` is one for all; None: that of the file.
    """
    if path.endswith(".npy"):
        return run.source(run.standardise(read_array(user_path(path))), context), None
    if run.dataset.rows is None:
        raise UserError(
            f"--input of {run.dataset.name!r} is a .npy file of examples in the units of the data: only tables, "
            "strings and texts are read from other files"
        )
    read = run.read(path)
    labels = read.arrays.get("context")
    if run.model.context_spec and labels is None and context is None:
        raise UserError(f"{path!r} has no labels, on which the model is conditioned: give --context, one for all rows")
    given = run.source(read.arrays["x"], labels if context is None else context, read.arrays.get("mask"))
    return given._replace(numbers=read.numbers), labels


def evaluate_split(flags: SimpleNamespace) -> None:
    """Scores `config.evaluate.split` with the best parameters of a finished or running run -> `DIR/evaluations/`."""
    run, workdir = open_run(flags), flags.workdir
    setup = run.setup
    open_judge(setup.model, setup.dataset, setup.evaluate, setup.open_run)  # a mistake ends here
    best = run.best
    announce(f"compiling, and scoring the {setup.evaluate.split} split ...", sys.stderr)
    scored = run_report(setup, workdir, best)
    if jax.process_index() != 0:
        return
    print(line_of(scored.scores, setup.model.event.has_bits))  # before the file, which the disk may refuse
    path = write_evaluation(workdir, scored.scores)
    write_exposure(path.with_name(f"{path.stem}-exposure"), scored.curves)
    print(path)


def evaluate_rows(flags: SimpleNamespace) -> None:
    """Prints the scores of the examples of a file, and writes the nats (-log p) of each to a csv file --output."""
    run, path, context, output = open_run(flags), flags.input, flags.context, flags.output
    if output:
        writable_file(output)
    model, settings = run.model, run.settings
    one = parse_context(run.dataset.context, context, run.dataset.classes) if context else None
    given, _ = read_input(run, path, one)
    measures = dataclasses.replace(settings.measures, examples=0)
    splits = dict(run.dataset.splits) | {path: given.examples}
    dataset = dataclasses.replace(run.dataset, transform=None, truth=None, splits=splits)
    rows = run.evaluator().rows_of(run.params, given.examples)
    where = model, run.params, dataset, path, measures
    scores = report(*where, mesh=settings.mesh, seed=settings.seed, open_run=settings.open_run, rows=rows).scores
    if jax.process_index() != 0:
        return
    print(line_of(scores | {"best_step": run.best_step}, model.event.has_bits))  # before the file
    if output:
        name = SAMPLE_SCORE if model.score_kind == NO_LIKELIHOOD else "nats"
        write_rows(output, {"row": given.numbers, name: rows["nll"]})


def classify(flags: SimpleNamespace) -> None:
    """Scores the classes of `config.evaluate.split` in `classification/scores.json`; or writes the most probable class
    of each row of a file, with its probability, to --output, or prints it.
    """
    run, path, prior, output = open_run(flags), flags.input, flags.prior, flags.output
    if output:
        writable_file(output)
    classes = classes_of(run.model, "the mode classify", end=run.dataset.end)
    split, examples = run.config.evaluate.split, run.settings.measures.examples
    source: Source
    if path:
        given, labels = read_input(run, path, np.int32(0))
        source, evaluator = given.examples, run.evaluator()
    else:
        dataset = run.dataset.thinned(examples)
        source, evaluator = split_of(dataset, split), Evaluator(run.model, dataset, run.settings.scoring)
        labels = labels_of(source, classes)
    log_posterior_NC = log_posterior(evaluator, run.params, source, classes, log_prior(run.dataset, classes, prior))
    if jax.process_index() != 0:
        return
    if path:
        best_N, names = log_posterior_NC.argmax(1), run.dataset.classes or tuple(map(str, range(classes.num)))
        probability_N = np.exp(log_posterior_NC.max(1))
        write_rows(output, {"row": given.numbers, "label": [names[c] for c in best_N], "probability": probability_N})
    if labels is None:
        return
    scores = classification_scores(log_posterior_NC, labels) | {"dataset": run.dataset.name, "split": path or split}
    scores |= {"kind": "exact" if run.score_kind() == "exact" else "estimate", "prior": prior}
    scores["best_step"] = run.best_step
    print(describe_classification(scores), file=sys.stderr if path and not output else sys.stdout)
    if not path:
        name = split if prior == "train" else f"{split}_{prior}"
        add_scores(run.workdir / FOLDER, name + f"_{examples}_examples" * bool(examples), scores)


def compare_runs(flags: SimpleNamespace) -> None:
    """Prints how a run compares with those of --other. Writes `comparisons/OTHER.json`, the numbers, and `.csv`, the
    nats of each example. The names state a split other than test, and the number of examples if it is limited.
    """
    run = open_run(flags)
    others = [_other(flags, name) for name in map(str.strip, flags.other.split(",")) if name]  # a mistake ends here
    split, num = run.config.evaluate.split, run.config.evaluate.examples
    of_examples = f"-{split}" * (split != "test") + f"-{num}-examples" * bool(num)
    announce(f"comparing the nats of the {split} split ...", sys.stderr)
    comparison = compare(run, *others, split=split)
    names = [Path(other.name).resolve().name for other in comparison.others]
    folder = own_folder(run.workdir, COMPARISONS)
    for i, row in enumerate(comparison.rows()):
        print(in_a_line(row))
        name = names[i] + f"-{i + 1}" * (names[i] in names[:i]) + of_examples
        finite = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
        write_json(folder / f"{name}.json", finite | {"dataset": run.dataset.name, "split": split})
        print(folder / f"{name}.json")
        first, other = (model.nats_SN.mean(0) for model in (comparison.first, comparison.others[i]))
        write_rows(str(folder / f"{name}.csv"), {"example": comparison.examples, "first": first, "other": other})


def _other(flags: SimpleNamespace, workdir: str) -> Run:
    run = open_other(workdir)
    overrides = [override for override in flags.overrides if override[0].startswith("evaluate.")]
    apply_overrides(run.config, overrides)
    return Run(run.workdir, validate(run.config)) if overrides else run


def add_scores(folder: Path, name: str, scores: Mapping[str, Any]) -> None:
    """Adds scores to the file of those of a mode, and prints its path."""
    path = own_folder(folder.parent, folder.name) / SCORES
    write_json(path, (read_json_object(path) or {}) | {name: scores})
    print(path)


def write_rows(path: str, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
    """Writes columns as a csv file and prints its path; prints the rows for the path ""."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    lists = [values.tolist() if isinstance(values, np.ndarray) else values for values in columns.values()]
    rows.writerows([f"{v:.6f}" if isinstance(v, float) else v for v in row] for row in zip(*lists, strict=True))
    if path:
        write_text(user_path(path), text.getvalue())
    print(user_path(path) if path else text.getvalue(), end="\n" * bool(path))
