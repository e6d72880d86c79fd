"""The modes `evaluate` and `classify`: a split of the data of a run, or the rows of a file, `--input`."""

from __future__ import annotations

import csv
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

import jax
import numpy as np

from arjax.api.run import Run
from arjax.api.trained_model import Given
from arjax.cli.opening import open_run, open_setup
from arjax.cli.ranking import show_ranking
from arjax.core.errors import UserError
from arjax.core.files import read_json_object, reading, replacing, user_path, writable_file, write_json, writing
from arjax.core.scores import NO_LIKELIHOOD, SAMPLE_SCORE
from arjax.evaluation.classes import classes_of, classification_scores, labels_of, log_posterior, log_prior
from arjax.evaluation.likelihood import Evaluator
from arjax.evaluation.report import open_judge, report
from arjax.evaluation.sampling import parse_context
from arjax.evaluation.splits import split_of
from arjax.models.checks import check_likelihood
from arjax.reporting.plots import write_exposure
from arjax.reporting.reports import describe_classification, line_of
from arjax.training.reporter import announce
from arjax.training.results import run_report, write_evaluation
from arjax.training.setup import restore_params

FOLDER, SCORES = "classification", "scores.json"


def read_input(run: Run, path: str, context: Any = None) -> tuple[Given, np.ndarray | None]:
    """Returns the examples of a file like that of the training, or of a .npy file in the units of the data, and the
    classes int[N] in the file, if it has any. `context` is one for all; None: that of the file.
    """
    if path.endswith(".npy"):
        with reading(path):
            try:
                x = np.load(user_path(path), allow_pickle=False)
            except ValueError as error:
                raise UserError(f"cannot read the array {path!r}: {error}") from error
        return run.source(run.standardise(x), context), None
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
    (setup, _), workdir = open_setup(flags), flags.workdir
    open_judge(setup.model, setup.dataset, setup.evaluate, setup.open_run)  # a mistake ends here
    if setup.evaluate.ranking:
        check_likelihood(setup.model, "config.evaluate.ranking")
    best = restore_params(setup, workdir)
    announce(f"compiling, and scoring the {setup.evaluate.split} split ...", sys.stderr)
    scored = run_report(setup, workdir, best)
    if jax.process_index() != 0:
        return
    print(line_of(scored.scores, setup.model.event.has_bits))  # before the file, which the disk may refuse
    path = write_evaluation(workdir, scored.scores)
    write_exposure(path.with_name(f"{path.stem}-exposure"), scored.curves)
    print(path)
    if setup.evaluate.ranking:
        for line in show_ranking(setup, scored.rows, path):
            print(line)


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
    rows = run.evaluator.rows_of(run.params, given.examples)
    where = model, run.params, dataset, path, measures
    scores = report(*where, mesh=settings.mesh, seed=settings.seed, open_run=settings.open_run, rows=rows).scores
    if jax.process_index() != 0:
        return
    print(line_of(scores | {"best_step": run.best_step}, model.event.has_bits))  # before the file
    if output:
        name = SAMPLE_SCORE if model.score_kind == NO_LIKELIHOOD else "nats"
        write_rows(output, {"row": given.numbers, name: rows["nll"]})


def classify_split(flags: SimpleNamespace) -> None:
    """Writes the scores of the classes of `config.evaluate.split` to `classification/scores.json`."""
    run, prior = open_run(flags), flags.prior
    model, settings, classes = run.model, run.settings, classes_of(run.model, "the mode classify")
    split, examples = run.config.evaluate.split, settings.measures.examples
    dataset = run.dataset.thinned(examples)
    source, prior_C = split_of(dataset, split), log_prior(run.dataset, classes, prior)
    log_posterior_NC = log_posterior(Evaluator(model, dataset, settings.scoring), run.params, source, classes, prior_C)
    scores = classification_scores(log_posterior_NC, labels_of(source, classes))
    scores |= {"dataset": dataset.name, "split": split} | _about(run, prior)
    if jax.process_index() == 0:
        print(describe_classification(scores))
        name = split if prior == "train" else f"{split}_{prior}"
        add_scores(run.workdir / FOLDER, name + f"_{examples}_examples" * bool(examples), scores)


def classify_rows(flags: SimpleNamespace) -> None:
    """Writes the most probable class of each row of a file, with its probability, to --output, or prints them."""
    run, path, prior, output = open_run(flags), flags.input, flags.prior, flags.output
    if output:
        writable_file(output)
    classes = classes_of(run.model, "the mode classify")
    given, labels = read_input(run, path, np.int32(0))
    prior_C = log_prior(run.dataset, classes, prior)
    log_posterior_NC = log_posterior(run.evaluator, run.params, given.examples, classes, prior_C)
    if jax.process_index() != 0:
        return
    best_N, names = log_posterior_NC.argmax(1), run.dataset.classes or tuple(map(str, range(classes.num)))
    columns = {
        "row": given.numbers,
        "label": [names[c] for c in best_N],
        "probability": np.exp(log_posterior_NC.max(1)),
    }
    write_rows(output, columns)
    if labels is not None:
        scores = classification_scores(log_posterior_NC, labels) | {"dataset": run.dataset.name, "split": path}
        print(describe_classification(scores | _about(run, prior)), file=sys.stdout if output else sys.stderr)


def add_scores(folder: Path, name: str, scores: Mapping[str, Any]) -> None:
    """Adds scores to the file of those of a mode, and prints its path."""
    with writing(folder):
        folder.mkdir(exist_ok=True)
    path = folder / SCORES
    write_json(path, (read_json_object(path) or {}) | {name: scores})
    print(path)


def _about(run: Run, prior: str) -> dict[str, Any]:
    kind = "exact" if run.model.score_kind == "exact" else "estimate"
    return {"kind": kind, "prior": prior, "best_step": run.best_step}


def write_rows(path: str, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
    """Writes columns as a csv file and prints its path; prints the rows for the path ""."""
    if not path:
        return _write(sys.stdout, columns)
    with replacing(user_path(path)) as part, part.open("w", newline="", encoding="utf-8") as file:
        _write(file, columns)
    print(user_path(path))


def _write(file: TextIO, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(columns)
    lists = [values.tolist() if isinstance(values, np.ndarray) else values for values in columns.values()]
    rows.writerows([f"{v:.6f}" if isinstance(v, float) else v for v in row] for row in zip(*lists, strict=True))
