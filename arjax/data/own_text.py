"""Text files of users: reading them, and cutting them into splits."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from pathlib import Path

from arjax.core.errors import UserError
from arjax.core.files import user_path
from arjax.data.base import check_choice
from arjax.data.split_files import check_other_files
from arjax.data.vocabulary import UNITS

SPLITS = ("train", "validation", "test")
#: Parts of one file for train, validation and test.
PARTS = (0.8, 0.1, 0.1)
REMEDY = ": give min_count=2 (rare characters then share one token), tokens=bytes, or other splits"


@dataclasses.dataclass(frozen=True)
class OwnText:
    """The texts in the files of a user.

    Attributes:
      texts: one text, or one for each split.
      name: the first file without its suffix.
      fingerprint: digest of the contents of all files.
    """

    texts: tuple[str, ...]
    name: str
    fingerprint: str


def read_files(dataset: str, file: str, validation: str, test: str, tokens: str, splits: tuple) -> OwnText:
    """The text of one file, to be cut into splits, or the texts of three.

    Characters are read as UTF-8, with every kind of line ending as a newline. Bytes that are no UTF-8 pass as
    surrogates (PEP 383), which a vocabulary of bytes writes back as they were.

    Raises:
      UserError: no file, one that cannot be read or is no UTF-8, two splits of the same contents, or options that do
        not go together.
    """
    check_choice("tokens", tokens, tuple(UNITS))
    if not file:
        raise UserError(f"the data set {dataset!r} needs a text file: give its path, config.dataset.file=my.txt")
    if bool(validation) != bool(test):
        raise UserError("validation and test are two files, or one file is cut into all splits: give both or neither")
    if validation and tuple(splits) != PARTS:
        raise UserError("splits cuts one file: leave it out where validation and test are files of their own")
    paths = [file, validation, test] if validation else [file]
    contents = [_read(path) for path in paths]
    check_other_files({split: [user_path(path)] for split, path in zip(SPLITS, paths, strict=False)})
    digest = hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()
    texts = tuple(_as_text(content, path, tokens) for content, path in zip(contents, paths, strict=True))
    return OwnText(texts, Path(file).stem, digest[:16])


def ends_of_parts(splits: tuple, num: int) -> tuple[int, int]:
    """The ends of train and validation in `num` elements that are cut into the parts `splits`.

    Raises:
      UserError: these are not three parts above 0 that add up to 1, or one of them would be empty.
    """
    if len(splits) != 3 or not all(0 < part < 1 for part in splits) or not math.isclose(sum(splits), 1, abs_tol=1e-6):
        raise UserError(f"splits must be three parts above 0 that add up to 1, such as {PARTS}, not {tuple(splits)!r}")
    first, second = round(splits[0] * num), round((splits[0] + splits[1]) * num)
    if not 0 < first < second < num:
        raise UserError(f"{num} of them are too few to cut them into the parts {tuple(splits)!r}")
    return first, second


def _read(path: str) -> bytes:
    try:
        return user_path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the text file {path!r}: {error.strerror or error}") from error


def _as_text(content: bytes, path: str, tokens: str) -> str:
    if tokens == "bytes":
        return content.decode("utf-8", "surrogateescape")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise UserError(
            f"the file {path!r} is no UTF-8 text (byte {error.start}): convert it, or take tokens=bytes"
        ) from error
