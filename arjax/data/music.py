"""Polyphonic music: sequences of frames, each the set of piano keys that sound."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from arjax.data.base import DATASETS, Batch, Dataset, check_choice, from_arrays
from arjax.data.prepared import read_splits
from arjax.data.windows import cut
from arjax.errors import UserError
from arjax.spec import EventSpec

MUSIC_SETS = ("jsb", "nottingham")
NUM_NOTES = 88


@DATASETS.register("poly_music")
def poly_music(*, set: str = "jsb", max_length: int = 0, transpose: int = 0, data_dir: str = "") -> Dataset:
    """Piano rolls with the splits of Boulanger-Lewandowski et al. 2012; the mask is 0 for frames that only fill up.

    All frames of all splits are scored, the first frame of a piece (which has nothing to go by) like the others.

    Args:
      set: "jsb" (Bach chorales, up to 160 frames) or "nottingham" (folk tunes, up to 1793 frames).
      max_length: frames of an example; 0 for whole pieces, filled up to the longest of all splits. Longer pieces are
        cut into windows: those of train overlap by the frame that the next one starts from, those of validation and
        test by half, as context that is not scored again. A likelihood per frame is then that of a model that sees at
        least half a window, and examples are windows instead of pieces.
      transpose: semitones by which each piece of train is moved up or down at most, by another random interval each
        time it is used; 0 for none. Validation and test are as they are.
      data_dir: folder of prepared sets that is looked at first.
    """
    check_choice("set", set, MUSIC_SETS)
    if max_length < 0 or max_length == 1:
        raise UserError(f"the data set option 'max_length' must be 0, or at least 2 frames, not {max_length}")
    if not 0 <= transpose < NUM_NOTES:
        raise UserError(f"the data set option 'transpose' must be 0 to {NUM_NOTES - 1} semitones, not {transpose}")
    name = f"poly_music/{set}"
    rolls = {split: [row["x"] for row in rows] for split, rows in read_splits(name, name, data_dir).items()}
    longest = max(len(roll) for pieces in rolls.values() for roll in pieces)
    length = min(max_length, longest) if max_length else longest
    arrays = {}
    for split, pieces in rolls.items():
        places = cut(pieces, length, length - 1 if split == "train" else (length + 1) // 2)
        arrays[split] = {"x": places["x"], "mask": places["mask"]}
    dataset = from_arrays(EventSpec((length,), value_shape=(NUM_NOTES,)), name=name, **arrays)
    return dataclasses.replace(dataset, transform=Transposition(transpose)) if transpose else dataset


@dataclasses.dataclass(frozen=True)
class Transposition:
    """Moves each piece of a training batch by a random interval of up to `semitones` up or down.

    A piece in another key is as good a piece. Notes that would leave the keyboard are dropped.
    """

    semitones: int

    def __call__(self, key: Any, batch: Batch, train: bool) -> Batch:
        """The batch with `x` [B, T, 88] moved, when it is for training."""
        if not train:
            return batch
        interval_B1 = jax.random.randint(key, (batch["x"].shape[0], 1), -self.semitones, self.semitones + 1)
        from_BN = jnp.arange(NUM_NOTES) - interval_B1
        moved = jnp.take_along_axis(batch["x"], jnp.clip(from_BN, 0, NUM_NOTES - 1)[:, None], axis=-1)
        exists_BN = (from_BN >= 0) & (from_BN < NUM_NOTES)
        return batch | {"x": jnp.where(exists_BN[:, None], moved, 0)}
