"""Shows a trained model: samples, uncertainty along the order, and the loss during training."""

from __future__ import annotations

import collections
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from arjax.api.pictures import model_pictures
from arjax.api.trained_model import as_history
from arjax.core.files import read_json_object, write_json, write_text
from arjax.core.options import defaults
from arjax.evaluation.sampling import UNCONDITIONED, Conditioning, draw_on_mesh, options_of_run, pieces_on_mesh, text_of
from arjax.models.longer import join_pieces
from arjax.parallel.distributed import from_process_0
from arjax.reporting.figures import has_matplotlib, save_figure
from arjax.reporting.plots import EXPOSURE, loss_figure
from arjax.reporting.samples import FOLDER, OPTIONS, folder_of_samples, numbered_folder, write_samples
from arjax.reporting.writers import read_metrics
from arjax.samplers import Draw, Request
from arjax.samplers.request import DrawOptions
from arjax.training.reporter import announce, record_picture
from arjax.training.setup import Setup, restore_params

#: The means of the counts of a sampler over the samples, such as calls of the network and accepted proposals.
WORK = "work"


def show_run(setup: Setup, config: ConfigDict, workdir: str | os.PathLike) -> None:
    """Writes `samples/` of a finished run (earlier ones are kept, see `arjax.reporting.samples`), and plots of its
    factorization, its uncertainty along the order and its loss; prints a note if matplotlib is missing.
    """
    workdir = Path(workdir)
    params, best_step, _ = restore_params(setup, workdir)
    written = show_own_samples(setup, params, config.sample, workdir, best_step)
    for path in written:
        if path.suffix == ".png":
            record_picture(setup, workdir, best_step, path)
    of_exposure = workdir / f"{EXPOSURE}.png"
    if config.evaluate.exposure and of_exposure.exists():
        written.append(of_exposure)
        record_picture(setup, workdir, best_step, of_exposure)
    if jax.process_count() == 1:
        key = jax.random.key(setup.seed)
        for name, picture in model_pictures(setup.model, params, setup.dataset, key, setup.scoring):
            written.append(workdir / name)
            write_text(written[-1], picture) if isinstance(picture, str) else save_figure(picture, written[-1])
    if jax.process_count() == 1 and has_matplotlib():
        history = as_history(read_metrics(workdir))
        if "train/bits_per_dim" in history:
            written.append(workdir / "loss.png")
            save_figure(loss_figure(history), written[-1])
    if jax.process_index() == 0:
        if written:
            print("wrote " + ", ".join(str(path) for path in written if path.suffix != ".wav"))
        if not has_matplotlib():
            print("no pictures: they need matplotlib (pip install 'arjax[plots]')", file=sys.stderr)


def show_own_samples(setup: Setup, params: Any, options: ConfigDict, workdir: Path, best_step: int) -> list[Path]:
    """Writes the samples of the run itself in `samples/`, unless they are there; returns the files written."""
    final = workdir / FOLDER
    known = read_json_object(final / OPTIONS) or {}
    if from_process_0(known | {WORK: None} == sample_options(setup, options, best_step) | {WORK: None}):
        return []
    announce(f"drawing {options.num} samples ...")
    if jax.process_index() > 0:
        return show_samples(setup, params, options, final, best_step)
    with folder_of_samples(workdir) as folder:
        written = show_samples(setup, params, options, folder, best_step)
    return [final / path.name for path in written]


def show_more_samples(
    setup: Setup, params: Any, options: ConfigDict, workdir: Path, best_step: int, conditioning: Conditioning
) -> list[Path]:
    """Writes further samples in a new folder `samples-1/`, `samples-2/`, ...; returns the files written. For texts of
    another length, the first one is printed as it is drawn.
    """
    if jax.process_index() > 0:
        return show_samples(setup, params, options, workdir, best_step, conditioning)
    shows = bool(options.length) and setup.dataset.vocabulary is not None and jax.process_count() == 1
    with numbered_folder(workdir) as folder:
        first = "; the text of the first one" if shows else ""
        announce(f"compiling, and drawing {options.num} samples ...{first}", sys.stderr)
        return show_samples(setup, params, options, folder, best_step, conditioning, shows)


def sample_options(setup: Setup, options: ConfigDict, best_step: int) -> dict[str, Any]:
    """Returns all inputs of samples but the model, and whether they do not follow its distribution."""
    about = {} if setup.sampler.exact else {"distribution": "not that of the model"}
    return options.to_dict() | {"seed": setup.seed, "best_step": best_step} | about


def show_samples(
    setup: Setup,
    params: Any,
    options: ConfigDict,
    folder: Path,
    best_step: int,
    conditioning: Conditioning = UNCONDITIONED,
    shows_text: bool = False,
) -> list[Path]:
    """Draws samples beside real examples, under the same contexts if there are any; returns the files written.
    `options` is `config.sample`. If `conditioning` has a context, or the samples another length, real examples are left
    out. With `shows_text`, the first sample is printed as it is drawn.
    """
    real = setup.dataset.first_examples(options.num)
    of_draw = {"context": real.context} | conditioning.options(setup.dataset, options.length)
    draw = _draw(setup, params, options, of_draw, shows_text)
    drawn = np.asarray(draw.x)
    if jax.process_index() != 0:
        return []
    announce(work_in_words(draw.stats), sys.stderr)
    event, dataset = setup.model.event, setup.dataset
    to_wave, rate = dataset.sound or (None, 0)
    written = write_samples(
        folder,
        dataset.in_data_units(drawn),
        (options.length,) if options.length else event.grid_shape,
        real=None if conditioning.context or options.length else dataset.in_data_units(np.asarray(real.x)),
        max_value=event.top,
        to_text=dataset.decode,
        to_wave=to_wave,
        sample_rate=rate,
        to_cells=dataset.to_cells,
    )
    # last: it marks the other files as complete
    counts = {name: np.asarray(values) for name, values in draw.stats.items() if name != "member"}
    work = {name: float(each.mean()) for name, each in counts.items() if each.ndim == 1 and each.dtype.kind == "i"}
    write_json(folder / OPTIONS, sample_options(setup, options, best_step) | conditioning.about() | {WORK: work})
    return written


def _draw(setup: Setup, params: Any, options: ConfigDict, of_draw: dict[str, Any], shows_text: bool) -> Draw:
    model, dataset = setup.model, setup.dataset
    of_draw |= {name: options[name] for name in defaults(DrawOptions)}
    of_draw = options_of_run(model, params, dataset, setup.open_run, sampler=setup.sampler, **of_draw)
    arguments = model, params, jax.random.key(setup.seed), options.num, setup.mesh
    if not shows_text:
        return draw_on_mesh(*arguments, **of_draw)
    draws = []

    def first_of_each() -> Iterator[np.ndarray]:
        for piece in pieces_on_mesh(*arguments, **of_draw):
            draws.append(piece)
            yield np.asarray(piece.x[0])

    pieces = first_of_each()
    for text in text_of(dataset).decode_pieces(pieces):
        print(text, end="", flush=True)
    print(flush=True)
    collections.deque(pieces, maxlen=0)  # the others may go on behind the end of the first one
    return join_pieces(draws, Request(length=options.length, end=dataset.end))


def work_in_words(stats: Mapping[str, Any]) -> str:
    """The statistics of a draw in one line: `64 steps in 13.6 calls of the network (19 at most)`."""
    steps, calls = (np.asarray(stats[name]) for name in ("steps", "network_calls"))
    line = f"{steps.mean():.4g} steps in {calls.mean():.4g} calls of the network ({calls.max()} at most)"
    if "accepted" in stats:
        line += f", {np.asarray(stats['accepted']).mean():.4g} proposals accepted"
    return line
