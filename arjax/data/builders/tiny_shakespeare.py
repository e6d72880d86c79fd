"""Builder of tiny Shakespeare: 40,000 lines of his plays as one text, whose last tenth is validation and test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from arjax.core.errors import UserError
from arjax.data.builders import OwnBuilder

FILES = {"": ("input.txt",)}
URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/{file}"
SIZES = {"": (1, 1, 1)}


class TinyShakespeare(OwnBuilder):
    """The text of each split, cut as the builder of tensorflow-datasets cuts it: 90 / 5 / 5 percent of the characters.

    That builder needs TensorFlow, and this one does not; what they write is read alike.
    """

    HOMEPAGE = "https://github.com/karpathy/char-rnn"
    CITATION = """\
@misc{karpathy2015charrnn,
  title={char-rnn},
  author={Karpathy, Andrej},
  year={2015}
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = "The file data/tinyshakespeare/input.txt of github.com/karpathy/char-rnn."

    def _info(self) -> tfds.core.DatasetInfo:
        return self._described(text=tfds.features.Text())

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        path = Path(dl_manager.manual_dir) / FILES[""][0]
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not a text in UTF-8: {error}") from error
        train = int(len(text) * 0.9)
        validation = train + int((len(text) - train) * 0.5)
        parts = {"train": text[:train], "validation": text[train:validation], "test": text[validation:]}
        return {split: self._generate_examples(split, part) for split, part in parts.items()}

    def _generate_examples(self, split: str, text: str) -> Iterator[tuple[str, dict]]:
        yield split, {"text": text}
