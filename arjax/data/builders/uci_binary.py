"""Builder of six binary data sets of the UCI repository, as the MADE and NADE papers split them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from arjax.core.errors import UserError
from arjax.core.files import read_arrays
from arjax.data.builders import OwnBuilder

# Dimensions, then rows of train, validation and test (Germain et al. 2015, appendix; NIPS is NIPS-0-12).
SHAPES = {
    "adult": (123, 5000, 1414, 26147),
    "connect4": (126, 16000, 4000, 47557),
    "dna": (180, 1400, 600, 1186),
    "mushrooms": (112, 2000, 500, 5624),
    "nips": (500, 400, 100, 1240),
    "ocr_letters": (128, 32152, 10000, 10000),
}
SIZES = {name: shape[1:] for name, shape in SHAPES.items()}
FILES = {name: (f"{name}.npz",) for name in SHAPES}
URL = "https://raw.githubusercontent.com/mgermain/MADE/master/datasets/{file}"
_KEYS = {"train": "train_data", "validation": "valid_data", "test": "test_data"}


class UciBinary(OwnBuilder):
    """Rows of 0/1 in one file per set, with the keys `train_data`, `valid_data` and `test_data`."""

    HOMEPAGE = "https://github.com/mgermain/MADE"
    CITATION = """\
@inproceedings{germain2015made,
  title={MADE: Masked Autoencoder for Distribution Estimation},
  author={Germain, Mathieu and Gregor, Karol and Murray, Iain and Larochelle, Hugo},
  booktitle={ICML}, year={2015}
}"""
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=name, description=f"{name}: {shape[0]} binary dimensions")
        for name, shape in SHAPES.items()
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = "The .npz files of the folder datasets of github.com/mgermain/MADE."

    def _info(self) -> tfds.core.DatasetInfo:
        shape = SHAPES[self.builder_config.name][:1]
        return self._described(x=tfds.features.Tensor(shape=shape, dtype=np.uint8))

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        name = self.builder_config.name
        path, dims = Path(dl_manager.manual_dir) / FILES[name][0], SHAPES[name][0]
        arrays = read_arrays(path, tuple(_KEYS.values()))
        for key, x in arrays.items():
            if x.ndim != 2 or x.shape[1] != dims or not len(x) or not np.isin(x, (0, 1)).all():
                raise UserError(f"{path} must hold rows of {dims} values 0 or 1; {key} of shape {x.shape} does not")
        return {split: self._generate_examples(arrays[key]) for split, key in _KEYS.items()}

    def _generate_examples(self, x_ND: np.ndarray) -> Iterator[tuple[int, dict]]:
        for row, x_D in enumerate(x_ND):
            yield row, {"x": x_D.astype(np.uint8)}
