"""Classes of examples by Bayes' rule, from a model of examples given their class: p(c | x) = p(x | c) p(c) / p(x)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from arjax.core.arrays import as_array, check_finite
from arjax.core.batch import Batch
from arjax.core.errors import UserError, did_you_mean, refuse, say_once
from arjax.data import Dataset, Source
from arjax.data.sources import read_in_pieces
from arjax.evaluation.likelihood import Evaluator
from arjax.evaluation.report import kind_of_nats
from arjax.evaluation.summaries import stderr_of
from arjax.models import Model
from arjax.models.checks import check_likelihood

PRIORS = ("train", "uniform")
#: The most combinations of the classes of several parts.
MOST_COMBINATIONS = 4096


@dataclasses.dataclass(frozen=True)
class Classes:
    """The classes that a model is conditioned on: all combinations of the classes of the `parts` of its context."""

    parts: tuple[str, ...]
    shape: tuple[int, ...]

    @property
    def num(self) -> int:
        """The number C of combinations, which are numbered as the entries of an array of this shape."""
        return math.prod(self.shape)

    def context(self, number: int, rows: int) -> dict[str, np.ndarray]:
        """Returns the context of `rows` examples of one combination."""
        values = np.unravel_index(number, self.shape)
        return {part: np.full(rows, value, np.int32) for part, value in zip(self.parts, values, strict=True)}


def classes_of(model: Model, needed_by: str, several: bool = False, end: int | None = None) -> Classes:
    """Returns the classes of a model whose context is one class, or `several` parts that are classes.
    Says that posteriors are estimates where scores are not exact, such as those of strings with the token `end`.
    """
    parts = model.context_spec.parts
    if not parts or (len(parts) > 1 and not several) or any(not part.is_class for _, part in parts):
        said = " and ".join(name for name, _ in parts) or "none"
        what = "a class, or several classes" if several else "a class"
        raise UserError(f"{needed_by} needs a model whose context is {what}, and the context of this one is {said}")
    classes = Classes(tuple(name for name, _ in parts), tuple(part.num_levels for _, part in parts))
    if len(parts) > 1 and classes.num > MOST_COMBINATIONS:
        sizes = " x ".join(map(str, classes.shape))
        raise UserError(
            f"{needed_by} scores all {sizes} combinations of {' and '.join(classes.parts)}: more than "
            f"{MOST_COMBINATIONS:,} are too many"
        )
    check_likelihood(model, needed_by)
    if (kind := kind_of_nats(model, end=end)) != "exact":
        say_once(f"p(class | x) is an estimate: the model has {kind}s of log p(x | class), which are not exact")
    return classes


def labels_of(source: Source, classes: Classes) -> np.ndarray:
    """The labels of the examples of a source whose weight is not 0, as numbers of combinations, int[N]."""
    parts = []
    for rows in read_in_pieces(source):
        labels = np.ravel_multi_index([np.asarray(rows.context[part]) for part in classes.parts], classes.shape)
        parts.append(labels if rows.weight is None else labels[np.asarray(rows.weight) > 0])
    return np.concatenate(parts).astype(np.int64)


def log_prior(dataset: Dataset, classes: Classes, prior: Any) -> np.ndarray:
    """Returns log p(c), float64[C]: frequencies in "train", "uniform", or those of an array with an axis per part."""
    if isinstance(prior, str):
        refuse((prior not in PRIORS, f"prior cannot be {prior!r}{did_you_mean(prior, PRIORS)}"))
        if prior == "uniform":
            return np.full(classes.num, -np.log(classes.num))
        if "train" not in dataset.splits:
            raise UserError("there is no train split that has class frequencies: give prior='uniform', or an array")
        weights_C = np.bincount(labels_of(dataset.splits["train"], classes), minlength=classes.num)
    else:
        weights_C = np.asarray(as_array(prior, "prior"), np.float64)
        check_finite(weights_C, "prior")
        if weights_C.shape != classes.shape or (weights_C < 0).any() or not weights_C.sum():
            sizes = " x ".join(map(str, classes.shape))
            raise UserError(f"prior must be {sizes} numbers of at least 0, not {weights_C.tolist()}")
        weights_C = weights_C.ravel()
    with np.errstate(divide="ignore"):  # a class that is never there
        return np.log(weights_C / weights_C.sum())


@dataclasses.dataclass(frozen=True, eq=False)
class _OfClass:
    """The examples of a source, all under the context of one class."""

    source: Source
    classes: Classes
    number: int

    def __len__(self) -> int:
        return len(self.source)

    def __getitems__(self, indices: np.ndarray) -> Batch:
        rows = self.source.__getitems__(indices)
        return rows.replace(context=self.classes.context(self.number, len(rows)))


def log_posterior(
    evaluator: Evaluator, params: Any, source: Source, classes: Classes, log_prior_C: np.ndarray
) -> np.ndarray:
    """Returns log p(c | x) of each example whose weight is not 0, float64[N, C]; scores share their noise."""
    log_joint_CN = log_prior_C[:, None] - np.stack(
        [evaluator.rows_of(params, _OfClass(source, classes, c))["nll"] for c in range(classes.num)]
    )
    return (log_joint_CN - np.logaddexp.reduce(log_joint_CN, 0)).T


def classification_scores(log_posterior_NC: np.ndarray, labels_N: np.ndarray) -> dict[str, Any]:
    """`accuracy` of the most probable class, and `class_nats`, the mean of -log p(class | x), with standard errors."""
    nats_N = -log_posterior_NC[np.arange(len(labels_N)), labels_N]
    right_N = (log_posterior_NC.argmax(1) == labels_N).astype(np.float64)
    by_example = {"accuracy": right_N, "class_nats": nats_N}
    scores = {name: float(values.mean()) for name, values in by_example.items()}
    with np.errstate(invalid="ignore"):  # -log p may be infinite
        stderrs = {f"{name}_stderr": float(stderr_of(values)) for name, values in by_example.items()}
    return scores | stderrs | {"num_examples": len(labels_N)}
