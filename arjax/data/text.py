"""Text as characters."""

from __future__ import annotations

import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import NO_CONTEXT, EventSpec
from arjax.data.base import DATASETS, Dataset
from arjax.data.prepared import read_splits
from arjax.data.sources import ArraySource
from arjax.data.windows import RandomWindows, cut


@DATASETS.register("tiny_shakespeare")
def tiny_shakespeare(*, length: int = 64, eval_stride: int = 0, data_dir: str = "") -> Dataset:
    """A million characters of Shakespeare's plays, 65 different ones (Karpathy 2015).

    Training examples are the windows that start at every character. Evaluation windows score every character of
    their split once; the mask is 0 for those that are there as context.

    Args:
      length: characters of a window.
      eval_stride: characters by which an evaluation window moves on; 0 for `length`, that is without context from
        the window before. A smaller stride gives each character at least `length - eval_stride` of context (except
        at the beginning of the text), lowers the measured likelihood per character and costs `length / eval_stride`
        times the work.
      data_dir: folder of prepared sets that is looked at first.
    """
    rows = read_splits("tiny_shakespeare", "tiny_shakespeare", data_dir, features=("text",))
    texts = {split: row["text"].decode("utf-8") for split, (row,) in rows.items()}
    return characters("tiny_shakespeare", texts, length, eval_stride or length)


def characters(name: str, texts: dict[str, str], length: int, eval_stride: int) -> Dataset:
    """A data set of one text per split; the vocabulary is the sorted characters of the train split.

    Raises:
      UserError: a text is shorter than a window, or has a character that the train split lacks.
    """
    alphabet = sorted(set(texts["train"]))
    token_of = {character: token for token, character in enumerate(alphabet)}
    tokens = {}
    for split, text in texts.items():
        unknown = set(text) - set(alphabet)
        if unknown:
            raise UserError(f"the {split} split of {name!r} has the character {min(unknown)!r}, which train lacks")
        if len(text) < length:
            raise UserError(f"the {split} split of {name!r} has {len(text)} characters, fewer than length={length}")
        tokens[split] = np.array([token_of[character] for character in text], np.int32)
    event = EventSpec((length,), kind="tokens", num_levels=max(len(alphabet), 2))
    splits = {"train": RandomWindows(tokens["train"], length)}
    for split in ("validation", "test"):
        places = cut([tokens[split]], length, eval_stride)
        splits[split] = ArraySource(event, Batch(places["x"], mask=places["mask"]))

    def decode(tokens_T: np.ndarray) -> str:
        return "".join(alphabet[token] for token in np.asarray(tokens_T).ravel())

    return Dataset(name, event, NO_CONTEXT, splits, decode=decode)
