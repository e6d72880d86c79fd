"""Samples of a run as files: images, text, sound and tables, in `samples/`, `samples-1/`, `samples-2/`, ..."""

from __future__ import annotations

import contextlib
import csv
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from arjax.core.files import writing
from arjax.models.pictures import as_images
from arjax.reporting.figures import has_matplotlib, save_figure
from arjax.reporting.plots import sample_figure

FOLDER, OPTIONS = "samples", "options.json"


def write_samples(
    folder: str | os.PathLike,
    samples: np.ndarray,
    grid_shape: tuple[int, ...],
    *,
    real: np.ndarray | None = None,
    max_value: float | None = None,
    to_text: Callable[[np.ndarray], str] | None = None,
    to_wave: Callable[[np.ndarray], np.ndarray] | None = None,
    sample_rate: int = 0,
    to_cells: Callable[[np.ndarray], list[list[str]]] | None = None,
) -> list[Path]:
    """Writes samples [N, *grid, *value] in every format that suits them, and returns the files; images need matplotlib.

    Args:
      real: real examples of the same shape, drawn beside the samples.
      to_text: turns one example into text, for `samples.txt`.
      to_wave: turns one example into a waveform in [-1, 1], for `sample_00.wav`, ...; needs `sample_rate` in Hz.
      to_cells: turns the samples of a table into rows of cells, the names of its columns first, for `samples.csv`.
    """
    folder = Path(folder)
    written = [folder / "samples.npy"]
    with writing(folder):
        folder.mkdir(exist_ok=True)
        np.save(written[0], samples)
        if to_text is not None:
            texts = [f"--- sample {i + 1} ---\n{to_text(sample)}\n" for i, sample in enumerate(samples)]
            written.append(folder / "samples.txt")
            written[-1].write_text("\n".join(texts), encoding="utf-8")
        if to_cells is not None:
            written.append(folder / "samples.csv")
            with written[-1].open("w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows(to_cells(samples))
        if to_wave is not None and sample_rate:
            for i, sample in enumerate(samples):
                written.append(folder / f"sample_{i:02d}.wav")
                write_wave(written[-1], to_wave(sample), sample_rate)
    images = as_images(samples, grid_shape)
    if images is not None and has_matplotlib():
        written.append(folder / "samples.png")
        beside = None if real is None else as_images(real, grid_shape)
        save_figure(sample_figure(images, beside, max_value), written[-1])
    return written


def write_wave(path: str | os.PathLike, waveform: np.ndarray, sample_rate: int) -> None:
    """Writes a waveform [T] in [-1, 1] as a 16-bit mono file."""
    from scipy.io import wavfile  # takes long to import

    pcm = np.round(np.clip(waveform, -1.0, 1.0) * 32767).astype("<i2")
    wavfile.write(path, sample_rate, pcm)


@contextlib.contextmanager
def numbered_folder(workdir: str | os.PathLike) -> Iterator[Path]:
    """A new folder `samples-1`, `samples-2`, ...; removed again when the body fails."""
    with contextlib.ExitStack() as undo:
        folder = _next_folder(Path(workdir))
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder
        undo.pop_all()


@contextlib.contextmanager
def folder_of_samples(workdir: str | os.PathLike) -> Iterator[Path]:
    """A folder that becomes `samples` when the body has ended, in place of earlier ones, which get the next number."""
    final, partial = Path(workdir) / FOLDER, Path(workdir) / f"partial-{FOLDER}"
    with contextlib.ExitStack() as undo:
        with writing(partial):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
        undo.callback(shutil.rmtree, partial, ignore_errors=True)
        yield partial
        with writing(final):
            if final.exists():
                final.rename(_next_folder(final.parent))
            partial.rename(final)


def _next_folder(workdir: Path) -> Path:
    """Makes the folder with the first number that is free; two processes never get the same one."""
    with writing(workdir / f"{FOLDER}-1"):
        for number in itertools.count(1):
            with contextlib.suppress(FileExistsError):
                folder = workdir / f"{FOLDER}-{number}"
                folder.mkdir()
                return folder
    raise AssertionError("numbers do not end")
