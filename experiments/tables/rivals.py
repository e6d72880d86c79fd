"""Generators of tables by others on the splits of `study.py`: CTGAN, TVAE and a Gaussian copula.

    python experiments/tables/rivals.py --data=adult --minutes=15 --workdir=runs/tables

Fits each generator to the train rows, draws as many rows, keeps them in the workdir, and writes the measures of the
draws to results.csv, by the functions that measure the draws of arjax. CTGAN and TVAE (Xu et al., "Modeling Tabular
Data using Conditional GAN", 2019) come with the package ctgan.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import metrics
import numpy as np
import study
from scipy.special import ndtr, ndtri

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError

#: The epochs of CTGAN and TVAE by default, which are also the most here.
EPOCHS = 300


def copula(train: metrics.Table, num: int, minutes: float) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Draws of a Gaussian copula: each column has the distribution of its train rows, and the normal scores of all
    columns have the correlations of those of the train rows.

    The normal score of a number is that of its rank, equal numbers in random order. A word has an interval of [0, 1] as
    long as the word is frequent, from the most frequent one on, and the score of a uniform number in this interval.
    """
    rng = np.random.default_rng(0)
    made = [_scores(values, rng) for values in train.values()]
    z_NC = ndtri(np.stack([u_N for u_N, _ in made], 1))
    correlations = np.corrcoef(z_NC, rowvar=False)
    u_NC = ndtr(rng.multivariate_normal(np.zeros(len(made)), correlations, num))
    return {name: back(u_N) for name, (_, back), u_N in zip(train, made, u_NC.T, strict=True)}, {}


def _scores(values: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Uniform scores of the values of a column, inside (0, 1), and the function from scores back to values."""
    num = len(values)
    if values.dtype != object:
        ranks = np.empty(num)
        ranks[np.lexsort((rng.random(num), values))] = np.arange(num)
        rising = np.sort(values)
        return (ranks + 0.5) / num, lambda u: rising[np.minimum((u * num).astype(int), num - 1)]
    words, place, counts = np.unique(values.astype(str), return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    ends = np.cumsum(counts[order]) / num
    at = np.argsort(order)[place]  # the interval of each row
    u = ends[at] - rng.uniform(1e-6, 1 - 1e-6, num) * counts[order][at] / num
    by_frequency = words[order].astype(object)
    return u, lambda u: by_frequency[np.minimum(np.searchsorted(ends, u), len(ends) - 1)]


def of_ctgan(kind: str) -> Callable[..., tuple[dict[str, np.ndarray], dict[str, float]]]:
    """A generator of the package ctgan with its defaults, `CTGAN` or `TVAE`: for the default epochs, or as many as fit
    the minutes of processor time.
    """

    def draws(train: metrics.Table, num: int, minutes: float) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        try:
            import ctgan
            import pandas
            import torch
        except ImportError as error:
            raise UserError("CTGAN and TVAE need the package ctgan: pip install ctgan") from error
        torch.manual_seed(0)
        np.random.seed(0)
        start, epochs = time.process_time(), Epochs(minutes)
        model = getattr(ctgan, kind)(epochs=EPOCHS, enable_gpu=False)
        with mock.patch(f"ctgan.synthesizers.{kind.lower()}.tqdm", epochs):
            model.fit(pandas.DataFrame(dict(train)), [n for n, values in train.items() if values.dtype == object])
        facts = {"epochs": epochs.done, "minutes": (time.process_time() - start) / 60}
        drawn = model.sample(num)
        return {name: drawn[name].to_numpy(values.dtype) for name, values in train.items()}, facts

    return draws


class Epochs:
    """Stands for the progress bar over the epochs of a training, and ends it when its minutes of processor time are
    over.

    Attributes:
      done: the number of epochs so far.
    """

    def __init__(self, minutes: float):
        self.minutes, self.done = minutes, 0

    def __call__(self, numbers: Iterable[int], **options: Any) -> Iterator[int]:
        start = time.process_time()
        for number in numbers:
            if self.done and time.process_time() - start >= 60 * self.minutes:
                return
            self.done += 1
            yield number


RIVALS = {"copula": copula, "ctgan": of_ctgan("CTGAN"), "tvae": of_ctgan("TVAE")}


def as_in(drawn: metrics.Table, train: metrics.Table) -> dict[str, np.ndarray]:
    """Draws in the form of the train rows: numbers within their range and with as many decimals, as sdv makes them."""
    found = {}
    for name, values in train.items():
        found[name] = drawn[name]
        if values.dtype != object:
            decimals = next((d for d in range(7) if np.allclose(values, values.round(d), 0, 1e-9)), None)
            inside = np.clip(drawn[name], values.min(), values.max())
            found[name] = inside if decimals is None else inside.round(decimals)
    return found


def drawn_by(
    rival: str, data: str, train: metrics.Table, minutes: float, folder: Path
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """The draws in the folder, made where there are none, and facts of the fit."""
    path = folder / f"{data}-{rival}.npz"
    if not path.is_file():
        drawn, facts = RIVALS[rival](train, metrics.size_of(train), minutes)
        columns = {f"column {c}": as_text(drawn[name]) for c, name in enumerate(train)}
        np.savez_compressed(path, **columns, **{f"fact {name}": np.float64(fact) for name, fact in facts.items()})
    stored = np.load(path)
    drawn = {name: stored[f"column {c}"].astype(values.dtype) for c, (name, values) in enumerate(train.items())}
    facts = {key.removeprefix("fact "): float(stored[key]) for key in stored if key.startswith("fact ")}
    return as_in(drawn, train), facts


def as_text(values: np.ndarray) -> np.ndarray:
    """Words as an array that npz files hold without pickle."""
    return values.astype(str) if values.dtype == object else values


def main() -> int:
    """Reads the flags, fits, measures, writes."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=tuple(study.DATA), default="adult")
    parser.add_argument("--models", default=",".join(RIVALS), help=f"of {', '.join(RIVALS)} [all]")
    parser.add_argument("--minutes", type=float, default=15.0, help="of processor time for each fit, at most [15]")
    parser.add_argument("--workdir", type=Path, default=Path("runs/tables"))
    flags = parser.parse_args()
    flags.workdir.mkdir(parents=True, exist_ok=True)
    rivals = study.names_of(flags.models, tuple(RIVALS), "models")
    train, test = map(study.filled, study.DATA[flags.data].rows())
    for rival in rivals:
        drawn, facts = drawn_by(rival, flags.data, train, flags.minutes, flags.workdir)
        study.keep(flags.data, "draws", rival, facts | study.of_draws(flags.data, train, test, drawn))
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("rivals", main))
