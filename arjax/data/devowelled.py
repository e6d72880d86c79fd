"""A transduction task on real text: restore the vowels and spaces of a fragment of Shakespeare."""

from __future__ import annotations

from arjax.core.arrays import up_to_end
from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.data.base import DATASETS, Dataset, from_splits
from arjax.data.text import shakespeare
from arjax.data.vocabulary import Vocabulary, check_known, padded

REMOVED = frozenset("aeiouAEIOU ")
END = "\n"  # ends a target; also pads the sites after it, which are not scored


@DATASETS.register("devowelled_shakespeare")
def devowelled_shakespeare(*, words: int = 3, max_length: int = 24, data_dir: str = "") -> Dataset:
    """From `wndrngbrk.` to `wandering bark.`: fragments of the lines of tiny Shakespeare, given their consonants.

    The context is the sequence of characters of a fragment that are neither vowels nor spaces (-1 after its end), the
    example the whole fragment and a character that ends it. Train has a fragment from every word on, validation and
    test are cut into fragments that do not overlap. The names of speakers (lines ending in a colon) are left out.

    Args:
      words: of a fragment; the last fragment of a line may be shorter.
      max_length: characters; longer fragments are left out (6 in a thousand of those of 3 words and 24 characters).
    """
    cut = {split: fragments(text, words, overlap=split == "train") for split, text in shakespeare(data_dir).items()}
    found = {split: [each for each in own if len(each) <= max_length] for split, own in cut.items()}
    return restoration("devowelled_shakespeare", found, max_length)


def fragments(text: str, words: int, overlap: bool) -> list[str]:
    """Runs of so many words within a line, from every word on or, without overlap, one after the other."""
    lines = [line.split(" ") for line in text.split("\n") if line and not line.endswith(":")]

    def starts(size: int) -> range:
        return range(max(size - words, 0) + 1) if overlap else range(0, size, words)

    return [" ".join(line[i : i + words]) for line in lines for i in starts(len(line))]


def restoration(name: str, found: dict[str, list[str]], max_length: int) -> Dataset:
    """Fragments per split as a data set; the context of each is the fragment without vowels and spaces.

    Raises `UserError` where a split has no fragment, or a character that the train split lacks.
    """
    alphabet = sorted({END}.union(*found["train"]))
    end = alphabet.index(END)
    vocabulary = Vocabulary(tuple(alphabet), end=end)
    event = EventSpec((max_length + 1,), kind="tokens", num_levels=len(alphabet))
    context = ContextSpec("sequence", len(alphabet), max_length)
    arrays = {}
    for split, texts in found.items():
        if not texts:
            raise UserError(f"the {split} split of {name!r} has no fragment of at most {max_length} characters")
        check_known(vocabulary, name, split, "".join(texts))
        kept = ["".join(c for c in text if c not in REMOVED) for text in texts]
        x_NT = padded(vocabulary, texts, max_length + 1, end)
        arrays[split] = {
            "x": x_NT,
            "mask": up_to_end(x_NT, end),
            "context": padded(vocabulary, kept, max_length, -1),
        }
    return from_splits(event, arrays, context=context, name=name, vocabulary=vocabulary)
