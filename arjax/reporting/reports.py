"""`results.json`, the report of a run: its fields, and reading it. Imports nothing heavy: sweeps read it, too."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arjax.core.errors import UserError, did_you_mean
from arjax.core.files import read_json_object
from arjax.core.score_names import NO_LIKELIHOOD, SAMPLE_SCORE

FILE_NAME = "results.json"
#: The kind of a score that is the log-likelihood itself; others are "bound", "estimate", and "none" of models without a
#: likelihood.
EXACT = "exact"
_TEXTS = ("dataset", "split", "device", "kind")
_NUMBERS = ("num_examples", "num_params", "step", "best_step", "seed", "train_seconds")
#: The numbers of likelihoods, and those in their place of models without one.
_NATS, _SAMPLES = ("nll_nats", "nll_stderr", "bits_per_dim"), (SAMPLE_SCORE, f"{SAMPLE_SCORE}_stderr")


def read_report(workdir: str | os.PathLike) -> dict[str, Any] | None:
    """The report of a run, or None when there is none, or an incomplete one: then it is computed again.

    A report without one of the fields of all reports was edited by hand or damaged. Raises `UserError`: there is one
    that cannot be read.
    """
    report = read_json_object(Path(workdir) / FILE_NAME)
    return report if report is not None and is_report(report) else None


def finished_report(workdir: str | os.PathLike) -> dict[str, Any] | None:
    """The report of a run, or None when there is none. Raises `UserError`: there is one that cannot be read, or that is
    damaged.
    """
    report, path = read_report(workdir), Path(workdir) / FILE_NAME
    if report is None and path.exists():
        raise UserError(f"{path} is damaged: the command that trained the run computes it again")
    return report


def is_report(report: Mapping[str, Any]) -> bool:
    """Whether an object of JSON has all fields of a report."""
    texts = all(isinstance(report.get(name), str) for name in _TEXTS)
    of_kind = _SAMPLES if report.get("kind") == NO_LIKELIHOOD else _NATS
    numbers = [report.get("validation_nll_nats") or 0.0, *(report.get(name) for name in (*_NUMBERS, *of_kind))]
    return texts and all(map(is_number, numbers))


def is_number(value: Any) -> bool:
    """Whether a value of a report is a number: JSON's true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


#: The terms of bounds, in nats: of models with latents, of chains, of flows.
TERMS = ("reconstruction", "kl", "importance", "prior", "diffusion", "dequantisation", "log_det", "base")


def _each(*names: str) -> tuple[str, ...]:
    """Each name, and that of its standard error."""
    return tuple(f"{name}{ending}" for name in names for ending in ("", "_stderr"))


def _nats(*names: str) -> tuple[str, ...]:
    """The nats of each name, and their standard error."""
    return tuple(f"{name}_{ending}" for name in names for ending in ("nats", "stderr"))


#: The numbers of a split. Some depend on the data: texts have characters, sequences of vectors frames.
SCORES = (
    *(*_nats("nll"), *_each("bits_per_dim"), "num_examples"),
    *_each("nll_nats_per_char", "bits_per_char", "nll_nats_per_byte", "bits_per_byte", "perplexity"),
    *_each("nll_nats_per_frame", "accuracy", "squared_error"),
    *_each(SAMPLE_SCORE, "solver_error_nats"),
    *_nats("truth_nll", "excess"),
    *("num_orders", *_nats("negative_elbo")),
    *(*_nats("k_step_bound", "k_step_nll"), "k_steps"),
    *(*_nats("importance_bound"), *_each("importance_bound_bits_per_dim"), "importance_samples", "active_units"),
    *(*_nats("chain_bound"), *_each("chain_bound_bits_per_dim"), "chain_bound_steps"),
    *_nats(*TERMS),
)
#: The numbers that `evaluate.exposure` adds: errors against the truth, of decodings, and scores under a judge.
OF_EXPOSURE = (
    "exposure_rollouts",
    *_nats(*(f"exposure_{direction}_{of}" for direction in ("forward", "reverse") for of in ("own", "data"))),
    "exposure_excess_percent",
    "exposure_excess_stderr",
    *_each("next_step_error", "greedy_error"),
    *(f"judge_{of}_{name}" for of in ("own", "data") for name in SCORES[: SCORES.index("accuracy")]),
    "judge_step",
)
#: The numbers that a run adds to the scores: those of its parameters on validation, and its cost.
OF_VALIDATION = tuple(f"validation_{name}" for name in SCORES)
OF_A_RUN = (
    *OF_VALIDATION,
    *OF_EXPOSURE,
    *("num_params", "step", "best_step", "seed", "train_seconds", "compile_seconds", "train_sites_per_second"),
)


def check_metric(metric: str, owner: str, known: tuple[str, ...] = SCORES + OF_A_RUN) -> None:
    """Raises `UserError` when no run can report the metric; `owner` names, in words, the part that asks for it."""
    if metric not in known:
        raise UserError(f"{owner} reports no {metric!r}{did_you_mean(metric, known)}")
