"""Polyphonic music: sequences of frames, each the set of piano keys that sound."""

from __future__ import annotations

from arjax.core.errors import UserError
from arjax.core.options import opt
from arjax.core.output import say_once
from arjax.core.spec import EventSpec
from arjax.data.base import DATASETS, Dataset, from_splits
from arjax.data.prepared import read_splits
from arjax.data.windows import cut


@DATASETS.register("poly_music")
def poly_music(
    *, set: str = opt("jsb", choices=("jsb", "nottingham")), max_length: int = 0, data_dir: str = ""
) -> Dataset:
    """Piano rolls with the splits of Boulanger-Lewandowski et al. 2012; the mask is 0 for padding.

    The authors have transposed the pieces to C major and C minor: augmentation by transposition does not help.

    All frames of all splits are scored, including the first frame of a piece.

    Args:
      set: "jsb" (Bach chorales, up to 160 frames) or "nottingham" (folk tunes, up to 1793 frames).
      max_length: frames of an example; 0 for whole pieces, filled up to the longest of all splits. Longer pieces are
        cut into windows: those of train overlap by the frame that the next one starts from, those of validation and
        test by half, as context that is not scored again. A likelihood per frame is then that of a model with a
        context of at least half a window, and examples are windows instead of pieces.
    """
    if max_length == 1:
        raise UserError(f"the data set option 'max_length' must be 0, or at least 2 frames, not {max_length}")
    name = f"poly_music/{set}"
    rolls = {split: [row["x"] for row in rows] for split, rows in read_splits(name, name, data_dir).items()}
    longest = max(len(roll) for pieces in rolls.values() for roll in pieces)
    if max_length > longest:
        say_once(f"no piece is longer than {longest} frames: the data set option max_length={max_length} is cut to it")
    length = min(max_length, longest) if max_length else longest
    arrays = {}
    for split, pieces in rolls.items():
        places = cut(pieces, length, length - 1 if split == "train" else (length + 1) // 2)
        arrays[split] = {"x": places["x"], "mask": places["mask"]}
    return from_splits(EventSpec((length,), value_shape=(88,)), arrays, name=name)
