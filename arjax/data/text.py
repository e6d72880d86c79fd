"""Text as one long sequence, in windows of characters or bytes."""

from __future__ import annotations

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import NO_CONTEXT, EventSpec
from arjax.data.base import DATASETS, Dataset
from arjax.data.own_text import PARTS, REMEDY, SPLITS, ends_of_parts, read_files
from arjax.data.prepared import read_splits
from arjax.data.sources import ArraySource, Source
from arjax.data.vocabulary import check_known, make_vocabulary
from arjax.data.windows import RandomWindows, cut


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
      data_dir: folder of prepared sets that is searched first.
    """
    rows = read_splits("tiny_shakespeare", "tiny_shakespeare", data_dir, features=("text",))
    texts = {split: row["text"].decode("utf-8") for split, (row,) in rows.items()}
    return text_windows("tiny_shakespeare", texts, length, eval_stride or length)


@DATASETS.register("text")
def text(
    *,
    file: str = "",
    tokens: str = "characters",
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

    Raises:
      UserError: no file, no UTF-8, too short a text, or a character that train lacks.
    """
    own = read_files("text", file, validation, test, tokens, splits)
    texts = own.texts
    if not validation:
        first, second = ends_of_parts(splits, len(texts[0]))
        texts = texts[0][:first], texts[0][first:second], texts[0][second:]
    parts = dict(zip(SPLITS, texts, strict=True))
    windows = f"text/{own.name}", parts, length, eval_stride or length
    return text_windows(*windows, tokens=tokens, min_count=min_count, fingerprint=own.fingerprint)


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

    Raises:
      UserError: a text is shorter than a window, or has a character that the train split lacks.
    """
    vocabulary = make_vocabulary(texts["train"], tokens, min_count)
    encoded = {}
    for split, text in texts.items():
        check_known(vocabulary, name, split, text, REMEDY if fingerprint else "")
        encoded[split] = vocabulary.encode(text).astype(vocabulary.dtype)
        if len(encoded[split]) < length:
            raise UserError(f"the {split} split of {name!r} has {len(text)} {tokens}, fewer than length={length}")
    event = EventSpec((length,), kind="tokens", num_levels=max(len(vocabulary), 2))
    splits: dict[str, Source] = {"train": RandomWindows(encoded["train"], length)}
    for split in ("validation", "test"):
        places = cut([encoded[split]], length, eval_stride)
        splits[split] = ArraySource(event, Batch(places["x"], mask=places["mask"]))
    return Dataset(name, event, NO_CONTEXT, splits, vocabulary=vocabulary, fingerprint=fingerprint)
