"""Builder of spoken digits: 2500 recordings of five speakers at 8 kHz (Free Spoken Digit Dataset 1.0.9)."""

from __future__ import annotations

import re
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from arjax.core.errors import UserError
from arjax.data.builders import OwnBuilder
from arjax.data.sound import SAMPLE_RATE

# Recordings 0 to 4 of each digit and speaker are the official test split; 5 to 9 are ours for validation.
SIZES = {"": (2000, 250, 250)}
FILES = {"": ("recordings",)}
URL = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/v1.0.9.tar.gz"
_NAME = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")


def read_wav(path: Path) -> np.ndarray:
    """The samples of a 16-bit mono recording at 8 kHz, int16[T]."""
    try:
        with wave.open(str(path)) as file:
            layout = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            samples = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise UserError(f"{path} is not a wav file, or damaged") from error
    if layout != (1, 2, SAMPLE_RATE) or not samples:
        raise UserError(f"{path} must be mono, 16 bit, {SAMPLE_RATE} Hz, and not empty")
    return np.frombuffer(samples, np.dtype("<i2")).astype(np.int16)


class SpokenDigits(OwnBuilder):
    """One recording, int16[T], with its digit and speaker, from files named `{digit}_{speaker}_{index}.wav`."""

    HOMEPAGE = "https://github.com/Jakobovski/free-spoken-digit-dataset"
    CITATION = """\
@misc{jackson2016fsdd,
  title={Free Spoken Digit Dataset},
  author={Jackson, Zohar and Souza, C{\\'e}sar and Flaks, Jason and Pan, Yuxin and Nicolas, Hereman and Thite, Adhish},
  year={2016}
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = "The folder recordings of github.com/Jakobovski/free-spoken-digit-dataset 1.0.9."

    def _info(self) -> tfds.core.DatasetInfo:
        audio, label = tfds.features.Tensor(shape=(None,), dtype=np.int16), tfds.features.ClassLabel(num_classes=10)
        return self._described(audio=audio, label=label, speaker=tfds.features.Text())

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        paths: dict[str, list[Path]] = {"train": [], "validation": [], "test": []}
        for path in sorted((Path(dl_manager.manual_dir) / "recordings").glob("*.wav")):
            match = _NAME.fullmatch(path.name)
            if not match:
                raise UserError(f"{path} must be named digit_speaker_index.wav")
            index = int(match[3])
            paths["test" if index < 5 else "validation" if index < 10 else "train"].append(path)
        if empty := [split for split, files in paths.items() if not files]:
            raise UserError(f"{dl_manager.manual_dir}/recordings has no recording of the {empty[0]} split")
        return {split: self._generate_examples(files) for split, files in paths.items()}

    def _generate_examples(self, paths: list[Path]) -> Iterator[tuple[str, dict]]:
        for path in paths:
            digit, speaker, _ = path.stem.split("_")
            yield path.stem, {"audio": read_wav(path), "label": int(digit), "speaker": speaker}
