"""Splits in files of their own, which must not be the same ones, and rows that two splits share."""

from __future__ import annotations

import filecmp
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.output import say_once


def check_other_files(files: Mapping[str, Sequence[Path]]) -> None:
    """Raises `UserError` where two splits have the same files, by their places or by their contents.

    Parameters that are chosen on the rows of the training, or scored on those that chose them, look better than they
    are.

    Args:
      files: the files of each split, which can be read, in the same sequence.
    """
    for (one, own), (other, theirs) in itertools.combinations(files.items(), 2):
        if len(own) == len(theirs) and all(map(_is_same, own, theirs)):
            raise UserError(
                f"the {other} split has the same contents as the {one} split ({str(theirs[0])!r}, {str(own[0])!r}): "
                "give it rows of its own, or leave it out"
            )


def _is_same(own: Path, other: Path) -> bool:
    return own.samefile(other) or filecmp.cmp(own, other, shallow=False)


def tell_same_arrays(splits: Mapping[str, Batch]) -> None:
    """Says on stderr where two splits in memory are the same arrays."""
    for (one, own), (other, theirs) in itertools.combinations(splits.items(), 2):
        if _are_equal(own, theirs):
            say_once(f"the {other} examples are the {one} examples: their scores say nothing about other examples")


def _are_equal(own: Any, other: Any) -> bool:
    structures: list[Any] = [jax.tree.structure(own), jax.tree.structure(other)]
    if structures[0] != structures[1]:
        return False
    pairs = zip(jax.tree.leaves(own), jax.tree.leaves(other), strict=True)
    return all(a is b or (a.shape == b.shape and np.array_equal(a, b)) for a, b in pairs)


def tell_shared_rows(rows: Mapping[str, Sequence[Sequence[str]]]) -> None:
    """Says on stderr how many rows of a split stand in the train split, too."""
    train = set(map(tuple, rows["train"]))
    for split, own in rows.items():
        shared = sum(tuple(row) in train for row in own) if split != "train" else 0
        if shared:
            say_once(f"{shared} of the {len(own)} {split} rows stand among the train rows, too")
