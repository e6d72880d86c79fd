"""Fragments of text without vowels and spaces: every word once in evaluation, nothing of the answer in the mask."""

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.data.text import fragments, restoration

TEXT = "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n"


def test_evaluation_has_every_word_once_and_training_every_run():
    assert fragments(TEXT, 3, overlap=False) == ["Before we proceed", "any further, hear", "me speak.", "Speak, speak."]
    assert fragments(TEXT, 3, overlap=True)[:2] == ["Before we proceed", "we proceed any"]
    assert fragments(TEXT, 3, overlap=True)[-2:] == ["hear me speak.", "Speak, speak."]


def test_examples_and_contexts():
    found = {"train": ["to be", "I"], "validation": ["bet"], "test": ["Ito"]}
    dataset = restoration("toy", found, 6)
    assert dataset.event.grid_shape == (7,) and dataset.context.parts[0][1].shape == (6,)
    batch = dataset.splits["train"].__getitems__(np.arange(2))
    assert [dataset.decode(row) for row in batch.x] == ["to be", "I"]
    t, b = sorted("\n tobeI").index("t"), sorted("\n tobeI").index("b")
    np.testing.assert_array_equal(batch.context["sequence"], [[t, b, -1, -1, -1, -1], [-1] * 6])
    np.testing.assert_array_equal(batch.mask, [[1] * 6 + [0], [1] * 2 + [0] * 5])  # the end is scored
    ends = batch.x[np.arange(2), batch.mask.sum(1).astype(int) - 1]
    np.testing.assert_array_equal(ends, 0)  # "\n" is the first character


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({"train": ["ab"], "validation": []}, "validation split of 'toy' has no fragment of at most 6 characters"),
        ({"train": ["ab"], "validation": ["ac"]}, "validation split of 'toy' has the character 'c', which train lacks"),
    ],
)
def test_splits_that_cannot_be_used(found, sentence):
    with pytest.raises(UserError, match=sentence):
        restoration("toy", found, 6)
