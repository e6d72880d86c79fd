"""Samples of a run as files: images, text, sound and tables."""

from __future__ import annotations

import csv
import os
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np

from arjax.core.files import writing
from arjax.core.pictures import as_images
from arjax.reporting.figures import has_matplotlib
from arjax.reporting.plots import sample_grid


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
    """Writes samples in every format that suits them.

    Args:
      folder: the folder of the files; made when missing, in an existing folder.
      samples: [N, *grid, *value], always written as `samples.npy`.
      grid_shape: the grid; further axes are those of the value.
      real: real examples of the same shape, drawn beside the samples.
      to_text: turns one example into text, for `samples.txt`.
      to_wave: turns one example into a waveform in [-1, 1], for `sample_00.wav`, ...; needs `sample_rate` in Hz.
      sample_rate: 0 for data that is no sound.
      to_cells: turns the samples of a table into rows of cells, the names of its columns first, for `samples.csv`.

    Returns:
      The files written. The image is left out when matplotlib is not installed.

    Raises:
      UserError: the disk refuses.
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
        sample_grid(written[-1], images, None if real is None else as_images(real, grid_shape), max_value)
    return written


def write_wave(path: str | os.PathLike, waveform: np.ndarray, sample_rate: int) -> None:
    """Writes a waveform [T] in [-1, 1] as a 16-bit mono file."""
    pcm = np.round(np.clip(waveform, -1.0, 1.0) * 32767).astype("<i2")
    with wave.open(os.fspath(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(pcm.tobytes())
