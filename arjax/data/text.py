"""Text files, and text as one long sequence, in windows of characters or bytes."""

from __future__ import annotations

import math
from pathlib import Path

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.files import fingerprint_of, user_path
from arjax.core.options import opt
from arjax.core.spec import NO_CONTEXT, EventSpec
from arjax.data.base import DATASETS, Dataset
from arjax.data.prepared import read_splits
from arjax.data.sources import SPLITS, ArraySource, Source, check_other_files
from arjax.data.text_rows import WindowRows, read_text
from arjax.data.vocabulary import UNITS, check_known, make_vocabulary
from arjax.data.windows import RandomWindows, cut

#: Parts of one file for train, validation and test.
PARTS = (0.8, 0.1, 0.1)
REMEDY = ": give min_count=2 (rare characters then share one token), tokens=bytes, or other splits"


@DATASETS.register("tiny_shakespeare")
def tiny_shakespeare(*, length: int = 64, eval_stride: int = 0, data_dir: str = "") -> Dataset:
    """A million characters of Shakespeare's plays, 65 different ones (Karpathy 2015).

    Training examples are the windows that start at every character. Evaluation windows score every character of
    their split once; the mask is 0 for characters that are only context.

    Args:
      length: characters of a window.
      eval_stride: characters by which an evaluation window moves on; 0 for `length`, that is without context from
        the window before. A smaller stride gives each character at least `length - eval_stride` of context (except
        at the beginning of the text), lowers the measured likelihood per character and costs `length / eval_stride`
        times the work.
    """
    return text_windows("tiny_shakespeare", shakespeare(data_dir), length, eval_stride or length)


def shakespeare(data_dir: str) -> dict[str, str]:
    """The text of each split of `tiny_shakespeare`."""
    rows = read_splits("tiny_shakespeare", "tiny_shakespeare", data_dir, features=("text",))
    return {split: row["text"].decode("utf-8") for split, (row,) in rows.items()}


@DATASETS.register("text")
def text(
    *,
    file: str = "",
    tokens: str = opt("characters", choices=UNITS),
    length: int = 64,
    eval_stride: int = 0,
    splits: tuple = PARTS,
    validation: str = "",
    test: str = "",
    min_count: int = 0,
) -> Dataset:
    """A text file of yours, cut into windows like `tiny_shakespeare`.

    The file is cut into splits without a shuffle: train comes first, then validation, then test.

    Args:
      file: the text.
      tokens: "characters" (the file is UTF-8), or "bytes" of any file.
      length: tokens of a window.
      eval_stride: as for `tiny_shakespeare`.
      splits: the parts of the file that are train, validation and test.
      validation: a file of its own, likewise `test`; "" for parts of `file`.
      min_count: 0: the vocabulary is all characters of the train split, and a character of another split that it lacks
        is refused. Above 0: the characters that train has at least so often; all others are one token, U+FFFD. Its
        probability is that of the whole set of these characters.
    """
    texts, name, fingerprint = read_files("text", file, validation, test, tokens, splits)
    if not validation:
        (whole,) = texts
        first, second = ends_of_parts(splits, len(whole), "characters or bytes")
        texts = [whole[:first], whole[first:second], whole[second:]]
    windows = name, dict(zip(SPLITS, texts, strict=True)), length, eval_stride or length
    return text_windows(*windows, tokens=tokens, min_count=min_count, fingerprint=fingerprint)


def text_windows(
    name: str,
    texts: dict[str, str],
    length: int,
    eval_stride: int,
    *,
    tokens: str = "characters",
    min_count: int = 0,
    fingerprint: str = "",
) -> Dataset:
    """A data set of one text per split, in windows; the vocabulary is that of the train split, see `make_vocabulary`.

    Raises `UserError` where a text is shorter than a window, or has a character that the train split lacks.
    """
    vocabulary = make_vocabulary(texts["train"], tokens, min_count)
    encoded = {}
    for split, text in texts.items():
        check_known(vocabulary, name, split, text, REMEDY if fingerprint else "")
        encoded[split] = vocabulary.encode(text).astype(vocabulary.dtype)
        if len(encoded[split]) < length:
            found = f"{len(encoded[split])} {tokens}"
            raise UserError(f"the {split} split of {name!r} has {found}, fewer than length={length}")
    event = EventSpec((length,), kind="tokens", num_levels=max(len(vocabulary), 2))
    splits: dict[str, Source] = {"train": RandomWindows(encoded["train"], length)}
    for split in ("validation", "test"):
        places = cut([encoded[split]], length, eval_stride)
        splits[split] = ArraySource(event, Batch(places["x"], mask=places["mask"]))
    rows = WindowRows(vocabulary, length, eval_stride)
    return Dataset(name, event, NO_CONTEXT, splits, vocabulary=vocabulary, fingerprint=fingerprint, rows=rows)


def read_files(
    dataset: str, file: str, validation: str, test: str, tokens: str, splits: tuple
) -> tuple[list[str], str, str]:
    """The text of one file, to be cut into splits, or the texts of three; the name of the data; and a digest of them.

    Raises `UserError` as `read_text`, for two splits of the same contents, and for options that do not go together.
    """
    if not file:
        raise UserError(f"the data set {dataset!r} needs a text file: give its path, config.dataset.file=my.txt")
    if bool(validation) != bool(test):
        raise UserError("validation and test are two files, or one file is cut into all splits: give both or neither")
    if validation and tuple(splits) != PARTS:
        raise UserError("splits cuts one file: leave it out where validation and test are files of their own")
    paths = [file, validation, test] if validation else [file]
    files = [read_text(path, tokens) for path in paths]
    check_other_files({split: [user_path(path)] for split, path in zip(SPLITS, paths, strict=False)})
    fingerprint = fingerprint_of(each.digest for each in files)
    return [each.text for each in files], f"{dataset}/{Path(file).stem}", fingerprint


def ends_of_parts(splits: tuple, num: int, of: str) -> tuple[int, int]:
    """The ends of train and validation in `num` elements (`of` is their name) that are cut into the parts `splits`.

    Raises `UserError` unless these are three parts above 0 that add up to 1, and none of them would be empty.
    """
    if len(splits) != 3 or not all(0 < part < 1 for part in splits) or not math.isclose(sum(splits), 1, abs_tol=1e-6):
        raise UserError(f"splits must be three parts above 0 that add up to 1, such as {PARTS}, not {tuple(splits)!r}")
    first, second = round(splits[0] * num), round((splits[0] + splits[1]) * num)
    if not 0 < first < second < num:
        raise UserError(f"{num} {of} are too few for train, validation and test, the parts {tuple(splits)!r}")
    return first, second
