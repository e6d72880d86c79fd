"""`results.json`, the report of a run: its fields, reading it, and its scores in words. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arjax.core.errors import UserError, did_you_mean
from arjax.core.files import fingerprint_of_value, read_json_object
from arjax.core.scores import NLL, NO_LIKELIHOOD, SAMPLE_SCORE

FILE_NAME, RECORD = "results.json", "record.json"
#: The nats of each scored example, float32[N] by split.
NATS_FILE = "rows.npz"
_TEXTS = ("dataset", "split", "device", "kind")
_NUMBERS = ("num_examples", "num_params", "step", "best_step", "seed", "train_seconds")
#: The numbers of likelihoods, and those in their place of models without one.
_NATS, _SAMPLES = ("nll_nats", "nll_stderr", "bits_per_dim"), (SAMPLE_SCORE, f"{SAMPLE_SCORE}_stderr")


def read_report(workdir: str | os.PathLike) -> dict[str, Any] | None:
    """Returns the report of a run; None without a whole one, as this run has written it: it is then computed again."""
    report = read_json_object(Path(workdir) / FILE_NAME)
    known = report is not None and is_report(report) and is_as_written(workdir, FILE_NAME, report)
    return report if known else None


def is_as_written(workdir: str | os.PathLike, name: str, value: Any) -> bool:
    """Whether the contents of a file are what the run had written when it ended, as far as its record knows."""
    with contextlib.suppress(UserError):
        match read_json_object(Path(workdir) / RECORD):
            case {"written": {**written}} if isinstance(known := written.get(name), list):
                return fingerprint_of_value(value) in known
    return True


def finished_report(workdir: str | os.PathLike) -> dict[str, Any] | None:
    """The report of a run, or None when there is none."""
    report, path = read_report(workdir), Path(workdir) / FILE_NAME
    if report is None and path.exists():
        raise UserError(f"{path} is damaged: the command that trained the run computes it again")
    return report


def is_report(report: Mapping[str, Any]) -> bool:
    """Whether an object of JSON has all fields of a report."""
    texts = all(isinstance(report.get(name), str) for name in _TEXTS)
    of_kind = _SAMPLES if report.get("kind") == NO_LIKELIHOOD else _NATS
    numbers = [report.get("validation_nll_nats") or 0.0, *(report.get(name) for name in (*_NUMBERS, *of_kind))]
    return texts and all(map(is_json_number, numbers))


def is_json_number(value: Any) -> bool:
    """Whether a value of a report is a number: JSON's true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


#: The terms of bounds, in nats: of models with latents, of chains, of flows.
TERMS = ("reconstruction", "kl", "importance", "prior", "diffusion", "dequantisation", "log_det", "base")


def _each(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}{ending}" for name in names for ending in ("", "_stderr"))


def _nats(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}_{ending}" for name in names for ending in ("nats", "stderr"))


#: The numbers of a split. Some depend on the data: texts have characters, sequences of vectors frames.
SCORES = (
    *(*_nats("nll"), *_each("bits_per_dim"), "num_examples"),
    *_each("nll_nats_per_char", "bits_per_char", "nll_nats_per_byte", "bits_per_byte", "perplexity"),
    *_each("nll_nats_per_frame", "accuracy", "squared_error"),
    *_each(SAMPLE_SCORE, "solver_error_nats"),
    *_each("free_energy_per_site", "energy_per_site", "log_z"),
    "effective_samples",
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
OF_A_RUN = (
    *(f"validation_{name}" for name in SCORES),
    *OF_EXPOSURE,
    *("num_params", "step", "best_step", "seed", "train_seconds", "compile_seconds", "train_sites_per_second"),
)


def check_metric(metric: str, owner: str) -> None:
    """Raises `UserError` when no run can report the metric; `owner` names, in words, the part that asks for it."""
    known = SCORES + OF_A_RUN
    if metric not in known:
        raise UserError(f"{owner} reports no {metric!r}{did_you_mean(metric, known)}")


#: Scores of some kinds of data, and their units.
UNITS = {
    "bits_per_dim": "bits/dim",
    "bits_per_char": "bits/char",
    "bits_per_byte": "bits/byte",
    "perplexity": "perplexity",
    "nll_nats_per_frame": "nats/frame",
    "accuracy": "accuracy",
    "squared_error": "squared error",
    "free_energy_per_site": "free energy/site",
    "log_z": "log Z (estimate)",
    "effective_samples": "effective samples",
}
#: Bounds that take more work than a score, the names of their amounts of work, and these in words.
BOUNDS = (
    ("k_step_bound", "k_steps", "in {} steps"),
    ("importance_bound", "importance_samples", "with {} samples"),
    ("chain_bound", "chain_bound_steps", "from {} steps"),
)


def describe_scores(scores: Mapping[str, Any], bits: bool = True) -> str:
    """Returns `86.54 ± 0.71 nats, 1.9512 ± 0.0161 bits/dim`, and the further scores of texts, frames and mixtures of
    orders. The `scores` have the names of `results.json`. `bits` tells whether bits per dimension mean anything: those
    of a density depend on the units of the data.
    """
    if SAMPLE_SCORE in scores:
        return with_stderr(scores[SAMPLE_SCORE], scores.get(f"{SAMPLE_SCORE}_stderr"), "sample score, no likelihood")
    if NLL not in scores:
        return ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
    parts = [with_stderr(scores[NLL], scores.get("nll_stderr"), scores.get("unit", "nats"))]
    if "solver_error_nats" in scores:
        parts.append(f"up to {scores['solver_error_nats']:.2g} nats of error of the solver")
    if scores.get("num_orders", 1) > 1:
        mean = with_stderr(scores["negative_elbo_nats"], scores.get("negative_elbo_stderr"))
        parts.append(f"a mixture of {scores['num_orders']} orders (their mean: {mean})")
    for name, effort, words in BOUNDS:
        if f"{name}_nats" in scores:
            bound = with_stderr(scores[f"{name}_nats"], scores[f"{name}_stderr"], "nats")
            parts.append(f"at most {bound} {words.format(scores[effort])} (bound)")
    if "k_step_nll_nats" in scores:
        nats = with_stderr(scores["k_step_nll_nats"], scores["k_step_nll_stderr"], "nats")
        parts.append(f"{nats} in {scores['k_steps']} steps by {scores['k_step_choose']} ({scores['k_step_kind']})")
    if "excess_nats" in scores:
        parts.append(f"{with_stderr(scores['excess_nats'], scores['excess_stderr'], 'nats')} above the truth")
    parts += _of_exposure(scores)
    bits = bits and "log_z" not in scores  # the nats of a target known up to a constant are none of a code
    for name, unit in UNITS.items():
        if name in scores and (bits or name != "bits_per_dim"):
            parts.append(with_stderr(scores[name], scores.get(f"{name}_stderr"), unit))
    return ", ".join(parts)


def line_of(results: Mapping[str, Any], bits: bool) -> str:
    """One readable line: `digits test: 86.54 ± 0.71 nats, 1.9512 ± 0.0161 bits/dim (exact; 300 examples, ...)`."""
    return f"{results['dataset']} {results['split']}: {describe_scores(results, bits)} {_about(results)}"


def describe_classification(scores: Mapping[str, Any]) -> str:
    """`digits test: accuracy 0.9333 ± 0.0144, 0.2104 ± 0.0305 nats of the class (exact; 300 examples, ...)`."""
    accuracy = f"accuracy {with_stderr(scores['accuracy'], scores['accuracy_stderr'])}"
    nats = with_stderr(scores["class_nats"], scores["class_nats_stderr"], "nats of the class")
    return f"{scores['dataset']} {scores['split']}: {accuracy}, {nats} {_about(scores)}"


def _about(results: Mapping[str, Any]) -> str:
    num, prior = f"{results['num_examples']:,} examples", results.get("prior", "train")
    about = [f"({results['kind']}; {num}", *([f"prior {prior}"] if prior != "train" else [])]
    return ", ".join([*about, f"parameters of step {results['best_step']:,})"])


def _of_exposure(scores: Mapping[str, Any]) -> list[str]:
    parts = []
    if "exposure_forward_own_nats" in scores:
        of_model, of_data = (scores[f"exposure_forward_{name}_nats"] for name in ("own", "data"))
        excess = f"{scores['exposure_excess_percent']:.1f} ± {scores['exposure_excess_stderr']:.1f} %"
        parts.append(
            f"errors of {of_model:.4f} nats under own prefixes, {of_data:.4f} under the data's (excess {excess})"
        )
    if "greedy_error" in scores:
        percent = [100 * scores[f"{name}_error"] for name in ("greedy", "next_step")]
        parts.append(f"{percent[0]:.1f} % of decoded values wrong, {percent[1]:.1f} % of next ones")
    if "judge_own_nll_nats" in scores:
        judged = with_stderr(scores["judge_own_nll_nats"], scores["judge_own_nll_stderr"], "nats")
        beside = f", data {scores['judge_data_nll_nats']:.4f}" if "judge_data_nll_nats" in scores else ""
        parts.append(f"samples {judged} under the judge{beside}")
    return parts


def with_stderr(value: float, stderr: float | None, unit: str = "", digits: int = 4) -> str:
    """A value with its unit and its standard error, unless that is 0 or None, as for a single example."""
    error = f" ± {stderr:.{digits}f}" if stderr else ""
    return f"{value:.{digits}f}{error} {unit}".rstrip()


def scores_in_words(results: Mapping[str, Any] | None) -> str:
    """`; test 86.54 ± 0.71 nats (exact)`, "" without results."""
    if results is None:
        return ""
    if SAMPLE_SCORE in results:
        return f"; {results['split']} {describe_scores(results)}"
    return f"; {results['split']} {with_stderr(results[NLL], results['nll_stderr'], 'nats', 2)} ({results['kind']})"
