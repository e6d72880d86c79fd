"""Trained models beside one another: paired differences of their nats on the same examples, and mixtures of them."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arjax.api.run import Run, open_run
from arjax.api.trained_model import TrainedModel
from arjax.config.build import build
from arjax.config.files import load_workdir_config, to_json
from arjax.config.validate import validate_run
from arjax.core.errors import UserError, did_you_mean, refuse
from arjax.core.files import read_arrays, user_path
from arjax.core.options import checked_arguments
from arjax.core.plugins import trusting
from arjax.core.scores import NO_LIKELIHOOD, WEIGHTS
from arjax.data import Dataset, Source
from arjax.data.sources import read_in_pieces
from arjax.evaluation.likelihood import Evaluator
from arjax.evaluation.report import kind_of_nats
from arjax.evaluation.splits import split_of
from arjax.evaluation.summaries import Difference, group_by_seed, paired_difference
from arjax.models import Model, make_model
from arjax.models.base import Params
from arjax.models.mixture import mixture_params
from arjax.reporting.reports import NATS_FILE, finished_report
from arjax.training.results import write_nats
from arjax.training.setup import restore_params

#: Relative difference between the nats of one example from two programs that compute the same: rounding.
_TOLERANCE = 1e-4


def nats_of_run(folder: Path, results: Mapping[str, Any], splits: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Returns the nats of each example of some splits under a finished run, from `rows.npz`; (): of the validation
    split, if there is one, and of the scored split. Nats that do not belong to the report `results` are computed anew
    and written.
    """
    refuse((results["kind"] == NO_LIKELIHOOD, f"nats need a likelihood, and the model of {folder} has none"))
    known, wanted = stored_nats(folder, results), splits or tuple(_means(results))
    if missing := [split for split in wanted if split not in known]:
        setup = build(validate_run(load_workdir_config(folder), str(folder)))
        params, _, _ = restore_params(setup, folder)
        evaluator = Evaluator(setup.model, setup.scored, setup.scoring)
        rows = {split: evaluator.rows(params, split) for split in missing}
        known |= {split: of_split["nll"][of_split["sites"] > 0] for split, of_split in rows.items()}
        write_nats(folder, known)
    return {split: known[split].astype(np.float64) for split in wanted}


def stored_nats(folder: Path, results: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the nats in `rows.npz` that belong to the report of a run, float[N] by split; {} if there are none."""
    try:
        stored = read_arrays(folder / NATS_FILE)
    except UserError:
        return {}
    known = {}
    for split, mean in _means(results).items():
        nll_N = stored.get(split, np.zeros(0))
        is_whole = nll_N.ndim == 1 and nll_N.size and nll_N.dtype.kind == "f"
        if is_whole and np.isclose(nll_N.mean(dtype=np.float64), mean, rtol=_TOLERANCE, atol=_TOLERANCE):
            known[split] = nll_N
    return known


def _means(results: Mapping[str, Any]) -> dict[str, float]:
    means = {"validation": results.get("validation_nll_nats"), results["split"]: results.get("nll_nats")}
    return {split: mean for split, mean in means.items() if mean is not None}


#: Examples by which two splits are told apart.
_PROBES = 256


@dataclasses.dataclass(frozen=True)
class Compared:
    """One of the models that are compared, trained under one seed or several."""

    name: str  # the folder of the run, or of its first seed; `model 1`, `model 2`, ... of models without a folder
    runs: tuple[TrainedModel, ...]  # one for each seed
    kind: str  # of the nats: exact, bound or estimate
    nats_SN: np.ndarray

    @property
    def given(self) -> list[str]:
        """The names of the parts of the context, given which the examples are scored."""
        return [name or "a context" for name, _ in self.runs[0].model.context_spec.parts]

    def __str__(self) -> str:
        return self.name if len(self.runs) == 1 else f"{self.name} ({len(self.runs)} seeds)"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A model beside others on the examples of one split."""

    split: str
    source: Source  # the examples of the split
    examples: np.ndarray  # the numbers of those that are scored, int[N]
    first: Compared
    others: tuple[Compared, ...]
    differences: tuple[Difference, ...]  # the nats of the first model less those of each of the others

    @property
    def dataset(self) -> Dataset:
        return self.first.runs[0].dataset

    def most_different(self, num: int = 10, other: int = 0) -> np.ndarray:
        """Returns the examples on which two models differ most, int[num], from the first model's best to its worst."""
        order_N = self.examples[np.argsort(self.differences[other].nats_N, kind="stable")]
        num = min(num, len(order_N))
        return np.concatenate([order_N[: -(-num // 2)], order_N[len(order_N) - num // 2 :]])

    def nats(self, number: int) -> list[float]:
        """The nats of an example under the first model, and under each of the others; means over their seeds."""
        place = int(np.searchsorted(self.examples, number))
        return [float(model.nats_SN[:, place].mean()) for model in (self.first, *self.others)]

    def verdict(self, other: int = 0) -> str:
        """`better`, `worse` or `tie`: what the first model is beside another one."""
        difference = self.differences[other]
        return "tie" if difference.is_tie else "better" if difference.mean < 0 else "worse"

    def rows(self) -> list[dict[str, Any]]:
        """A row for each of the others: names, kinds, means, the difference with its errors, wins and the verdict."""
        rows = []
        for i, (other, difference) in enumerate(zip(self.others, self.differences, strict=True)):
            row: dict[str, Any] = {}
            for name, model in (("first", self.first), ("other", other)):
                row |= {name: str(model), f"{name}_nats": float(model.nats_SN.mean())}
                row |= {f"{name}_kind": model.kind, f"{name}_given": model.given}
            numbers = dataclasses.asdict(difference)
            row |= {"difference": numbers.pop("mean")} | {name: v for name, v in numbers.items() if name != "nats_N"}
            rows.append(row | {"num_examples": len(self.examples), "verdict": self.verdict(i)})
        return rows

    def __repr__(self) -> str:
        data = f"{self.dataset.name} {self.split}, {len(self.examples)} examples"
        return "\n".join([f"Comparison({data})", *(f"  {row_in_words(row)}" for row in self.rows())])


def row_in_words(row: dict[str, Any]) -> str:
    """A line such as `runs/a - runs/b: -1.2034 ± 0.0912 nats (exact), fewer nats on 71.3% and more on 28.7% of ...`."""
    error = f"± {row['stderr']:.4f}"
    if np.isfinite(row["seeds_stderr"]):
        error += f" over examples, ± {row['seeds_stderr']:.4f} over seeds"
    kinds = [row["first_kind"], row["other_kind"]]
    if row["first_given"] != row["other_given"]:  # p(x | label) beside p(x)
        given = [f" given {', '.join(names)}" if names else "" for names in (row["first_given"], row["other_given"])]
        kinds = [kind + names for kind, names in zip(kinds, given, strict=True)]
    return (
        f"{row['first']} - {row['other']}: {row['difference']:+.4f} {error} nats "
        f"({' - '.join(dict.fromkeys(kinds))}), fewer nats on "
        f"{row['wins']:.1%} and more on {row['losses']:.1%} of the examples: {row['verdict']}"
    )


@checked_arguments()
def compare(
    first: str | os.PathLike | TrainedModel,
    *others: str | os.PathLike | TrainedModel,
    split: str = "",
    trust: bool = False,
) -> Comparison:
    """Compares models by the paired differences of their nats on the examples of a split.

        arjax.compare("runs/lstm", "runs/wavenet")
        arjax.compare("runs/lstm-0", "runs/lstm-1", "runs/wavenet-0", "runs/wavenet-1")  # two seeds of each

    The standard error is that of the mean of the differences: it is mostly far below the errors of the two means, which
    include how much the examples differ. Runs whose configs differ in the seed alone are seeds of one model. Models are
    workdirs of runs or trained models; `split` "" is that of the report of the first run; `trust` as for
    `arjax.open_run`.
    """
    runs = [each if isinstance(each, TrainedModel) else open_run(each, trust=trust) for each in (first, *others)]
    refuse((len(runs) < 2, "a comparison needs a second model"))
    groups = _groups(runs)
    split = split or (runs[0].config.evaluate.split if isinstance(runs[0], Run) else "test")
    for name, run in itertools.chain(*groups):
        check_same_examples(runs[0], run, split, name)
    compared = [_compared(group, split) for group in groups]
    source, thinned = runs[0].dataset.splits[split], split_of(_scored(runs[0]), split)
    one, *rest = compared
    numbers = runs[0].dataset.thinned_numbers(split, runs[0].settings.measures.examples)
    if one.nats_SN.shape[1] < len(thinned):  # examples without a scored site have no nats
        grid_shape = runs[0].model.event.grid_shape
        scored = [rows.scored(grid_shape).reshape(len(rows), -1).any(1) for rows in read_in_pieces(thinned)]
        numbers = numbers[np.concatenate(scored)]
    differences = tuple(paired_difference(one.nats_SN, other.nats_SN) for other in rest)
    return Comparison(split, source, numbers, one, tuple(rest), differences)


def _groups(runs: Sequence[TrainedModel]) -> list[list[tuple[str, TrainedModel]]]:
    """The runs with their names, those that differ in their seed alone together; each alone where all of them do."""

    def but_seed(named: tuple[str, TrainedModel]) -> tuple[str, int]:
        name, run = named
        if not isinstance(run, Run):
            return name, 0
        config = run.config.copy_and_resolve_references()
        seed, config.seed = config.seed, 0
        return to_json(config), seed

    named = [(str(run.workdir) if isinstance(run, Run) else f"model {i}", run) for i, run in enumerate(runs, 1)]
    groups = group_by_seed(named, but_seed)
    return groups if len(groups) > 1 else [[one] for one in named]


def _compared(group: Sequence[tuple[str, TrainedModel]], split: str) -> Compared:
    nats = [_nats(run, split, name) for name, run in group]
    for (name, _), nats_N in zip(group, nats, strict=True):
        num = np.count_nonzero(~np.isfinite(nats_N))
        refuse((num, f"{name} has nats that are not finite on {num:,} examples of the {split} split"))
    first = group[0][1]
    dataset = first.dataset
    about = first.settings.measures.num_orders, dataset.end, dataset.score_of_draws is not None
    kind = kind_of_nats(first.model, *about)
    return Compared(group[0][0], tuple(run for _, run in group), kind, np.stack(nats))


def _nats(run: TrainedModel, split: str, name: str) -> np.ndarray:
    """The nats of the examples with a scored site; those of a finished run may lie in its folder."""
    none = run.model.score_kind == NO_LIKELIHOOD
    refuse((none, f"nats are compared, and the model of {name} has no likelihood"))
    if isinstance(run, Run) and run.results is not None:
        stored = load_workdir_config(run.workdir).evaluate.to_dict()
        if stored == run.config.evaluate.to_dict():  # and no options of scores are set anew
            return nats_of_run(run.workdir, run.results, (split,))[split]
    rows = Evaluator(run.model, _scored(run), run.settings.scoring).rows(run.params, split)
    return rows["nll"][rows["sites"] > 0]


def _scored(run: TrainedModel) -> Dataset:
    return run.dataset.thinned(run.settings.measures.examples)


def check_same_examples(first: TrainedModel, other: TrainedModel, split: str, name: str) -> None:
    """Refuses a model that scores other examples than the first one, or in other units."""
    one, two = (split_of(_scored(run), split) for run in (first, other))
    sizes = f"{len(two):,} examples, that of the first model {len(one):,}"
    refuse((len(one) != len(two), f"the {split} split of {name} has {sizes}: models are compared on the same examples"))
    probes = np.unique(np.linspace(0, len(one) - 1, _PROBES).astype(int))
    rows, rows_of_other = (source.__getitems__(probes) for source in (one, two))
    x, y = first.dataset.in_data_units(np.asarray(rows.x)), other.dataset.in_data_units(np.asarray(rows_of_other.x))
    same = first.model.event.unit == other.model.event.unit and np.shape(x) == np.shape(y)
    same = same and np.allclose(x, y, rtol=1e-5, atol=1e-6, equal_nan=True)
    refuse((not same, f"{name} has other examples in its {split} split than the first model: nothing can be paired"))
    grid_shape = first.model.event.grid_shape
    same = np.array_equal(rows.scored(grid_shape), rows_of_other.scored(grid_shape))
    refuse((not same, f"{name} scores other sites of the {split} split than the first model: nothing can be paired"))


def mixture_of_runs(
    workdirs: Sequence[str | Path], weights: str = "fitted", *, trust: bool = False
) -> tuple[Model, Params]:
    """Returns the mixture of finished runs on one data set, and its parameters: a row `Mixture` of a sweep as a model.
    The weights, a name of `arjax.core.scores.WEIGHTS`, follow from the nats of the validation split; runs of weight 0
    are left out. `trust` is as for `arjax.open_run`.
    """
    if not isinstance(weights, str) or weights not in WEIGHTS:
        raise UserError(f"the weights of a mixture cannot be {weights!r}{did_you_mean(weights, WEIGHTS)}")
    if not isinstance(workdirs, Sequence) or isinstance(workdirs, str) or not workdirs:
        raise UserError(f"a mixture needs a list of at least one run, not {workdirs!r}")
    folders, nats_MN = [user_path(workdir) for workdir in workdirs], []
    with trusting(trust):
        for folder in folders:
            results = finished_report(folder)
            if results is None:
                raise UserError(f"{folder} is no finished run: it has no results.json")
            nats = nats_of_run(folder, results)
            refuse(("validation" not in nats, f"{folder} has no validation split to find weights on"))
            nats_MN.append(nats["validation"])
    several = len({len(nats_N) for nats_N in nats_MN}) > 1
    refuse((several, "the runs of a mixture have different validation examples"))
    weights_M = WEIGHTS[weights](np.stack(nats_MN))
    used = [folder for folder, weight in zip(folders, weights_M, strict=True) if weight > 0]
    first, *others = runs = [open_run(folder, trust=trust) for folder in used]
    for other in others:
        check_same_examples(first, other, "validation", str(other.workdir))
        units = [(run.dataset.shift, run.dataset.scale) for run in (first, other)]
        sentence = f"the model of {other.workdir} sees its values in other units than that of {first.workdir}"
        refuse((not all(map(np.array_equal, *units)), sentence))
    parts = {str(k): run.model for k, run in enumerate(runs)}
    model = make_model(runs[0].model.event, kind="mixture", parts=parts, context=runs[0].model.context_spec)
    return model, mixture_params([run.params for run in runs], weights_M[weights_M > 0])
