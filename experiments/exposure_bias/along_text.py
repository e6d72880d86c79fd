"""How samples leave the data along a long text: nats per site of a run's own texts, and of the data, under a judge.

    python experiments/exposure_bias/along_text.py runs/any runs/larger --length=2000 --num=100

Draws texts of any length from the first run, and takes as many texts of the same length from the data. The second run,
the judge, scores each site of them: whole texts where its network goes on behind its window, else in windows that
overlap by half, so that each site is scored given at least half a window before it. Writes the picture and prints the
nats of both kinds of texts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import arjax
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import refuse
from arjax.core.traits import require
from arjax.data import Dataset
from arjax.data.sources import read_all
from arjax.data.vocabulary import check_same_tokens
from arjax.data.windows import RandomWindows, window_starts
from arjax.evaluation.exposure import Z
from arjax.evaluation.splits import split_of
from arjax.evaluation.summaries import stderr_of
from arjax.models import AutoregressiveModel
from arjax.models.draws import keys_of
from arjax.models.longer import of_length
from arjax.reporting.figures import ACCENT, INK, label_axes, new_figure, save_figure

#: Parts of a text whose nats are told apart, at most.
PARTS = 40


def texts_of_data(dataset: Dataset, split: str, num: int, length: int) -> np.ndarray:
    """Returns at most `num` pieces of the text of a split, evenly spread, int32[N, length]; none if it is shorter."""
    source = split_of(dataset, split)
    if isinstance(source, RandomWindows):
        text = np.asarray(source.arrays.x)
    else:
        rows = read_all(source)  # each element of the text is scored in one window
        text = np.asarray(rows.x)[slice(None) if rows.mask is None else np.asarray(rows.mask) > 0].ravel()
    pieces = len(text) // length
    starts = np.arange(min(num, pieces)) * pieces // max(min(num, pieces), 1) * length
    return text[starts[:, None] + np.arange(length)].astype(np.int32)


def site_nats(model: AutoregressiveModel, params: Any, x: np.ndarray, batch_size: int) -> np.ndarray:
    """Returns -log p of each site of texts [N, L] of any length given the sites before it, float64[N, L]."""
    num, length = x.shape
    model = of_length(model, length)
    size = model.event.num_sites
    padded = np.pad(x, [(0, 0), (0, max(size - length, 0))])
    nats_NL = np.zeros(padded.shape)
    for first in range(0, num, batch_size):
        rows = slice(first, first + batch_size)
        for start, skip in zip(*window_starts(padded.shape[1], size, max(size // 2, 1)), strict=True):
            log_prob = np.asarray(_log_prob_per_site(model, params, padded[rows, start : start + size]), np.float64)
            nats_NL[rows, start + skip : start + size] = -log_prob[:, skip:]
    return nats_NL[:, :length]


@jax.jit
def _log_prob_per_site(model: AutoregressiveModel, params: Any, x: jax.Array) -> jax.Array:
    return model.log_prob_per_site(params, jnp.asarray(x))


def along_text(nats_NL: np.ndarray) -> np.ndarray:
    """Returns the middle of each of at most `PARTS` parts of texts, the mean nats of a site there, and its standard
    error, float64[3, P]; neighbours of a text depend on one another, texts do not.
    """
    length = nats_NL.shape[1]
    starts = np.arange(0, length, -(-length // PARTS))
    sizes_P = np.diff([*starts, length])
    parts_NP = np.add.reduceat(nats_NL, starts, axis=1) / sizes_P
    return np.stack([starts + (sizes_P + 1) / 2, parts_NP.mean(0), stderr_of(parts_NP)])


def main(argv: Sequence[str] | None = None) -> int:
    """Draws, scores and draws the picture; returns the exit code."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="workdir of the run whose texts are judged")
    parser.add_argument("judge", help="workdir of the run that scores them")
    parser.add_argument("--length", type=int, default=1000, help="sites of each text")
    parser.add_argument("--num", type=int, default=100, help="texts of each kind")
    parser.add_argument("--batch_size", type=int, default=32, help="texts at once")
    parser.add_argument("--split", default="test", help="split of the data")
    parser.add_argument("--out", type=Path, default=Path("along_text.png"), help="the picture")
    flags = parser.parse_args(argv)
    run, judge = arjax.open_run(flags.run), arjax.open_run(flags.judge)
    model, reader = (require(each.model, "length", "a text of any length") for each in (run, judge))
    check_same_tokens(run.dataset.vocabulary, judge.dataset.vocabulary, "the judge")
    refuse((run.dataset.vocabulary is None or run.dataset.end is not None, "this is for texts without an end"))
    keys = keys_of(jax.random.key(0), flags.num)
    drawn = [
        model.draw(run.params, keys[n : n + flags.batch_size], length=flags.length).x
        for n in range(0, flags.num, flags.batch_size)
    ]
    data = texts_of_data(run.dataset, flags.split, flags.num, flags.length)
    figure = new_figure(6.4, 3.4)
    axis = figure.subplots()
    for name, color, x in (("samples", ACCENT, np.concatenate(drawn)), ("data", INK, data)):
        if len(x):
            nats_NL = site_nats(reader, judge.params, np.asarray(x), flags.batch_size)
            places, mean, stderr = along_text(nats_NL)
            axis.fill_between(places, mean - Z * stderr, mean + Z * stderr, color=color, alpha=0.22, linewidth=0)
            axis.plot(places, mean, color=color, linewidth=1.4, label=name)
            print(f"{name}: {nats_NL.mean():.4f} ± {stderr_of(nats_NL.mean(1)):.4f} nats per site under the judge")
    label_axes(axis, "place in the text", "nats per site under the judge", "Samples under the judge")
    axis.legend(frameon=False, fontsize=9)
    save_figure(figure, flags.out)
    print(flags.out)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("along_text", lambda: main(sys.argv[1:])))
