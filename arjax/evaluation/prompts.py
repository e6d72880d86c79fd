"""Prompts: the first characters of a text, observed."""

from __future__ import annotations

from typing import Any

import numpy as np

from arjax.core.errors import UserError
from arjax.data import Dataset
from arjax.data.vocabulary import Vocabulary


def text_of(dataset: Dataset) -> Vocabulary:
    """What the tokens of a data set stand for; raises `UserError` where its examples are no text."""
    if dataset.vocabulary is None or len(dataset.event.grid_shape) != 1:
        raise UserError(f"a prompt is the beginning of a text, and examples of {dataset.name!r} are no text")
    return dataset.vocabulary


def encode_prompt(dataset: Dataset, prompt: str) -> np.ndarray:
    """The tokens of a prompt, int32[K]; raises `UserError` where the data is no text or lacks one of its characters."""
    vocabulary = text_of(dataset)
    if missing := vocabulary.missing(prompt):
        raise UserError(
            f"the prompt has the character {missing[0]!r}, for which {dataset.name!r} has no token; it has those of "
            f"{vocabulary.shown!r}"
        )
    return vocabulary.encode(prompt)


def prompt_options(dataset: Dataset, prompt: str) -> dict[str, Any]:
    """The options `given` and `observed` of `model.draw` that clamp the first characters of every example.

    Raises:
      UserError: the data is no text, the prompt is empty, leaves nothing to draw or has a character without a token.
    """
    tokens_K, length = encode_prompt(dataset, prompt), dataset.event.num_sites
    if not 0 < len(tokens_K) < length:
        raise UserError(
            f"a prompt has 1 to {length - 1} {dataset.vocabulary.units}, as examples of {dataset.name!r} have "
            f"{length}; this one has {len(tokens_K)}"
        )
    given_T = np.zeros(length, np.int32)
    given_T[: len(tokens_K)] = tokens_K
    return {"given": given_T, "observed": np.arange(length) < len(tokens_K)}
