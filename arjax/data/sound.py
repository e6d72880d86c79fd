"""Speech and polyphonic music."""

from __future__ import annotations

import numpy as np

from arjax.core.errors import refuse, say_once
from arjax.core.options import opt
from arjax.core.spec import EventSpec
from arjax.data.base import DATASETS, Dataset, context_option, from_splits, label_context
from arjax.data.prepared import read_splits
from arjax.data.windows import cut

SAMPLE_RATE = 8000
_MU = 255
_FULL_SCALE = 32768.0


@DATASETS.register("spoken_digits")
def spoken_digits(
    *,
    length: int = opt(4096, least=0),
    bits: int = opt(8, choices=(8, 16)),
    whole: bool = False,
    context: str = context_option(),
    data_dir: str = "",
) -> Dataset:
    """Spoken digits at 8 kHz with 256 mu-law levels or 65,536 levels, 2000 / 250 / 250 recordings of five speakers.

    Source: Free Spoken Digit Dataset 1.0.9 (Jackson et al.). Recordings 0 to 4 of each digit and speaker are the
    official test split; recordings 5 to 9 are ours for validation, the others for training.

    Args:
      length: samples of an example; 0 for whole recordings, filled up to the longest (18262 samples). Longer recordings
        are cut into windows like the pieces of `poly_music`; shorter ones are filled up. The mask is 0 for padding and
        for context that another window scores: every sample is scored once.
      bits: 8 for mu-law levels, which are finer near silence; 16 for the samples as they were recorded.
      whole: only windows of `length` samples that lie side by side, for models without masks, such as chains; the rest
        of a recording is left out. Its scores do not compare with those of all samples.
    """
    spec = label_context(context, 10)
    refuse(
        (length == 1, f"the data set option 'length' must be 0, or at least 2 samples, not {length}"),
        (whole and not length, "the data set option whole=True needs length, the samples of a window"),
    )
    encode, sound = CODES[bits]
    recordings = read_splits("spoken_digits", data_dir, features=("audio", "label"))
    levels = {split: [encode(audio) for audio in rows["audio"]] for split, rows in recordings.items()}
    arrays = _windows(levels, "length", length, "recording", "samples", whole)
    for split, windows in arrays.items():
        owner = windows.pop("owner")
        if spec:
            windows["context"] = np.array(recordings[split]["label"], np.int32)[owner]
    event = EventSpec(arrays["train"]["x"].shape[1:], kind="levels", num_levels=2**bits)
    return from_splits(event, arrays, context=spec, name="spoken_digits", sound=(sound, SAMPLE_RATE))


def _windows(
    sequences: dict[str, list[np.ndarray]], option: str, length: int, noun: str, units: str, whole: bool = False
) -> dict[str, dict[str, np.ndarray]]:
    """Returns windows of the sequences of each split (see `cut`), of a length up to that of the longest one, for which
    0 stands. Train windows overlap by the element that the next one starts from, others by half; with `whole`, they lie
    side by side without padding.
    """
    longest = max(len(sequence) for of_split in sequences.values() for sequence in of_split)
    if length > longest:
        say_once(f"no {noun} is longer than {longest} {units}: the data set option {option}={length} is cut to it")
    length, arrays = min(length or longest, longest), {}
    for split, of_split in sequences.items():
        arrays[split] = cut(
            of_split, length, length if whole else length - 1 if split == "train" else (length + 1) // 2
        )
        if whole:
            complete = arrays[split].pop("mask").all(1)
            arrays[split] = {name: windows[complete] for name, windows in arrays[split].items()}
    return arrays


def mu_law_encode(audio: np.ndarray) -> np.ndarray:
    """Returns int16[...] as 256 levels uint8[...], finer near silence (WaveNet, van den Oord et al. 2016, sec. 2.2)."""
    x = audio / _FULL_SCALE
    y = np.sign(x) * np.log1p(_MU * np.abs(x)) / np.log1p(_MU)
    return np.floor((y + 1) / 2 * _MU + 0.5).astype(np.uint8)


def waveform(levels: np.ndarray) -> np.ndarray:
    """Returns levels as numbers in [-1, 1]."""
    return mu_law_decode(levels) / _FULL_SCALE


def mu_law_decode(levels: np.ndarray) -> np.ndarray:
    """Returns the inverse of `mu_law_encode` up to its rounding, int16[...]."""
    y = 2 * levels.astype(np.float64) / _MU - 1
    x = np.sign(y) * np.expm1(np.abs(y) * np.log1p(_MU)) / _MU
    return np.clip(np.round(x * _FULL_SCALE), -32768, 32767).astype(np.int16)


def linear_encode(audio: np.ndarray) -> np.ndarray:
    """Returns 16-bit samples int16[...] as 65,536 levels uint16[...]; silence is 32,768."""
    return (np.asarray(audio, np.int32) + 2**15).astype(np.uint16)


def linear_waveform(levels: np.ndarray) -> np.ndarray:
    """Returns the levels of `linear_encode` as numbers in [-1, 1)."""
    return levels.astype(np.float64) / 2**15 - 1


#: By the bits of a sample: samples -> levels, and levels -> a waveform in [-1, 1].
CODES = {8: (mu_law_encode, waveform), 16: (linear_encode, linear_waveform)}


@DATASETS.register("poly_music")
def poly_music(
    *, set: str = opt("jsb", choices=("jsb", "nottingham")), max_length: int = 0, data_dir: str = ""
) -> Dataset:
    """Piano rolls with the splits of Boulanger-Lewandowski et al. 2012; the mask is 0 for padding. The authors have
    transposed the pieces to C major and C minor. All frames of all splits are scored.

    Args:
      set: "jsb" (Bach chorales, up to 160 frames) or "nottingham" (folk tunes, up to 1793 frames).
      max_length: frames of an example; 0 for whole pieces, filled up to the longest of all splits. Longer pieces are
        cut into windows: those of train overlap by the frame that the next one starts from, those of validation and
        test by half, as context that is not scored again.
    """
    refuse((max_length == 1, f"the data set option 'max_length' must be 0, or at least 2 frames, not {max_length}"))
    name = f"poly_music/{set}"
    rolls = {split: list(rows["x"]) for split, rows in read_splits(name, data_dir).items()}
    arrays = _windows(rolls, "max_length", max_length, "piece", "frames")
    for windows in arrays.values():
        del windows["owner"]
    return from_splits(EventSpec(arrays["train"]["x"].shape[1:2], value_shape=(88,)), arrays, name=name)
