"""Text: files, one long sequence in windows, strings with their ends, and fragments to be restored."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from arjax.core.arrays import up_to_end
from arjax.core.batch import Batch
from arjax.core.errors import UserError, refuse, say_once
from arjax.core.files import fingerprint_of, user_path
from arjax.core.options import opt, seed_option
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec
from arjax.data import text_rows
from arjax.data.base import DATASETS, Dataset, from_splits
from arjax.data.prepared import read_splits
from arjax.data.sources import SPLITS, ArraySource, Source, check_other_files
from arjax.data.vocabulary import UNITS, Vocabulary, check_known, make_vocabulary, padded
from arjax.data.windows import RandomWindows, cut

#: Parts of one file for train, validation and test.
PARTS = (0.8, 0.1, 0.1)
REMEDY = ": give min_count=2 (rare characters then share one token), tokens=bytes, or other splits"


@DATASETS.register("tiny_shakespeare")
def tiny_shakespeare(*, length: int = 64, eval_stride: int = 0, data_dir: str = "") -> Dataset:
    """A million characters of Shakespeare's plays, 65 different ones (Karpathy 2015).

    Training examples are the windows that start at every character. Evaluation windows score every character of their
    split once; the mask is 0 for characters that are only context.

    Args:
      eval_stride: characters by which an evaluation window moves on; 0 for `length`, without context from the window
        before. A smaller stride gives each character at least `length - eval_stride` of context (except at the
        beginning of the text), lowers the measured nats per character and costs `length / eval_stride` times the work.
    """
    return text_windows("tiny_shakespeare", shakespeare(data_dir), length, eval_stride or length)


def shakespeare(data_dir: str) -> dict[str, str]:
    """Returns the text of each split of `tiny_shakespeare`."""
    splits = read_splits("tiny_shakespeare", data_dir, features=("text",))
    return {split: bytes(rows["text"][0]).decode("utf-8") for split, rows in splits.items()}


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
      tokens: "characters" (the file is UTF-8), or "bytes" of any file.
      eval_stride: as for `tiny_shakespeare`.
      splits: the parts of the file that are train, validation and test.
      validation, test: files of their own; "" for parts of `file`.
      min_count: 0: the vocabulary is all characters of the train split, and other characters are refused. Above 0: the
        characters that train has at least so often; all others share the token U+FFFD and its probability.
    """
    texts, name, fingerprint = read_files("text", file, validation, test, tokens, splits)
    if not validation:
        (whole,) = texts
        first, second = ends_of_parts(splits, len(whole), "characters or bytes")
        texts = [whole[:first], whole[first:second], whole[second:]]
    options: Any = {"tokens": tokens, "min_count": min_count, "fingerprint": fingerprint}
    return text_windows(name, dict(zip(SPLITS, texts, strict=True)), length, eval_stride or length, **options)


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
    """Makes a data set of one text per split, in windows, with the vocabulary of train (`make_vocabulary`)."""
    vocabulary = make_vocabulary(texts["train"], tokens, min_count)
    encoded = {}
    for split, text in texts.items():
        check_known(vocabulary, name, split, text, REMEDY if fingerprint else "")
        encoded[split] = vocabulary.encode(text).astype(vocabulary.dtype)
        if len(encoded[split]) < length:
            size = f"{len(encoded[split])} {tokens}"
            raise UserError(f"the {split} split of {name!r} has {size}, fewer than length={length}")
    event = EventSpec((length,), kind="tokens", num_levels=max(len(vocabulary), 2))
    splits: dict[str, Source] = {"train": RandomWindows(encoded["train"], length)}
    for split in ("validation", "test"):
        places = cut([encoded[split]], length, eval_stride)
        splits[split] = ArraySource(event, Batch(places["x"], mask=places["mask"]))
    rows = text_rows.WindowRows(vocabulary, length, eval_stride)
    return Dataset(name, event, NO_CONTEXT, splits, vocabulary=vocabulary, fingerprint=fingerprint, rows=rows)


def read_files(
    dataset: str, file: str, validation: str, test: str, tokens: str, splits: tuple
) -> tuple[list[str], str, str]:
    """Returns the text of one file, to be cut into splits, or of three; the name of the data; and their digest."""
    both = "validation and test are two files, or one file is cut into all splits: give both or neither"
    uncut = "splits cuts one file: leave it out where validation and test are files of their own"
    refuse(
        (not file, f"the data set {dataset!r} needs a text file: give its path, config.dataset.file=my.txt"),
        (bool(validation) != bool(test), both),
        (validation and tuple(splits) != PARTS, uncut),
    )
    paths = [file, validation, test] if validation else [file]
    files = [text_rows.read_text(path, tokens) for path in paths]
    check_other_files({split: [user_path(path)] for split, path in zip(SPLITS, paths, strict=False)})
    return [each.text for each in files], f"{dataset}/{Path(file).stem}", fingerprint_of(each.digest for each in files)


def ends_of_parts(splits: tuple, num: int, of: str) -> tuple[int, int]:
    """Returns the ends of train and validation in `num` elements, named `of`, that are cut into parts `splits`."""
    if len(splits) != 3 or not all(0 < part < 1 for part in splits) or not math.isclose(sum(splits), 1, abs_tol=1e-6):
        raise UserError(f"splits must be three parts above 0 that add up to 1, such as {PARTS}, not {tuple(splits)!r}")
    first, second = round(splits[0] * num), round((splits[0] + splits[1]) * num)
    if not 0 < first < second < num:
        raise UserError(f"{num} {of} are too few for train, validation and test, the parts {tuple(splits)!r}")
    return first, second


@DATASETS.register("strings")
def strings(
    *,
    file: str = "",
    tokens: str = opt("characters", choices=UNITS),
    max_length: int = 0,
    splits: tuple = PARTS,
    split_seed: int = seed_option(),
    validation: str = "",
    test: str = "",
    min_count: int = 0,
    labels: str = "",
    column: str = "text",
) -> Dataset:
    """The lines of a file of yours, or a column with labels: names, words, SMILES, DNA, commands.

    An example is a string and a token that ends it; the padding after that is not scored. So the likelihood is that of
    a whole string of any length: under a model that visits the sites in raster order it sums over all strings to one,
    less the mass of strings that are too long. Other orders see the padding, and so a part of the length. The end
    counts as one character in numbers per character, as the newline does in the file. Lines without a character are
    left out.

    Args:
      file: one string a line; with `labels`, a csv file with a header, or one with tabs whose name ends in .tsv.
      tokens: "characters" (the file is UTF-8), or "bytes" of any file.
      max_length: tokens of a string without its end; longer ones are left out of all splits. 0: of the longest one.
      splits: the parts of the lines that are train, validation and test, after a shuffle. A string that stands in the
        file twice may be in two splits.
      validation: a file of its own, likewise `test`; "" for parts of `file`.
      min_count: as for `text`.
      labels: the column of labels to condition on; "": there are none. The classes are the labels of the train split,
        sorted.
      column: the column of strings beside it.
    """
    texts, name, fingerprint = read_files("strings", file, validation, test, tokens, splits)
    if split_seed and validation:
        say_once(f"split_seed={split_seed} of strings has no effect: each split is a file of its own")
    paths = [path for path in (file, validation, test) if path]
    if labels:
        parts = [text_rows.labelled_lines(text, path, labels, column) for text, path in zip(texts, paths, strict=True)]
    else:
        parts = [text_rows.lines_of(text) for text in texts]
        if column != "text":
            say_once(f"column={column!r} of strings has no effect without labels: each line is a string")
    if not validation:
        (lines,) = parts
        first, second = ends_of_parts(splits, len(lines), "strings")
        order = np.random.default_rng(split_seed).permutation(len(lines))
        parts = [[lines[i] for i in rows] for rows in np.split(order, [first, second])]
    options: Any = {"tokens": tokens, "min_count": min_count, "fingerprint": fingerprint}
    if labels:
        classes = [[str(line.label) for line in lines] for lines in parts]
        options |= {"labels": dict(zip(SPLITS, classes, strict=True)), "columns": (labels, column)}
    strings = [[line.text for line in lines] for lines in parts]
    return ended_strings(name, dict(zip(SPLITS, strings, strict=True)), max_length, **options)


def ended_strings(
    name: str,
    strings: dict[str, list[str]],
    max_length: int = 0,
    *,
    tokens: str = "characters",
    min_count: int = 0,
    fingerprint: str = "",
    labels: dict[str, list[str]] | None = None,
    columns: tuple[str, str] = ("", ""),
) -> Dataset:
    """Makes a data set of strings per split; the vocabulary is that of the train split and an end, see
    `make_vocabulary`. `labels`, one for each string, are its context; `columns` name those of labels and of strings in
    its files.
    """
    vocabulary = make_vocabulary("".join(strings["train"]), tokens, min_count, end=True)
    sizes = {split: np.array([vocabulary.num_tokens(s) for s in texts]) for split, texts in strings.items()}
    longest = max_length or max((int(size.max()) for size in sizes.values() if size.size), default=1)
    assert vocabulary.end is not None
    classes = () if labels is None else text_rows.sorted_classes(labels["train"])
    if labels is not None and (len(classes) == 1 or len(classes) == len(labels["train"]) > 2):
        what = "one label in all rows" if len(classes) == 1 else "another label in each row"
        raise UserError(f"the train split of {name!r} has {what}: leave the option labels out")
    arrays: dict[str, dict[str, np.ndarray]] = {}
    for split, all_texts in strings.items():
        kept = np.flatnonzero(sizes[split] <= longest)
        texts = [all_texts[n] for n in kept]
        if 0 < len(texts) < len(all_texts):
            left_out = f"{len(all_texts) - len(texts)} of {len(all_texts)} strings"
            say_once(f"{left_out} of the {split} split of {name!r} are longer than max_length={longest}, and left out")
        refuse((not texts, f"the {split} split of {name!r} has no string of at most {longest} {tokens}"))
        check_known(vocabulary, name, split, "".join(texts), REMEDY)
        x_NT = padded(vocabulary, texts, longest + 1, vocabulary.end)
        arrays[split] = {"x": x_NT, "mask": up_to_end(x_NT, vocabulary.end)}
        if labels is not None:
            labels_N = [labels[split][n] for n in kept]
            arrays[split]["context"] = text_rows.class_numbers(
                labels_N, classes, f"the {split} split of {name!r}: the label "
            )
    event = EventSpec((longest + 1,), kind="tokens", num_levels=len(vocabulary))
    context = ContextSpec("label", len(classes)) if classes else NO_CONTEXT
    rows = text_rows.StringRows(vocabulary, longest + 1, *columns, classes)
    more: dict[str, Any] = {"vocabulary": vocabulary, "fingerprint": fingerprint, "classes": classes, "rows": rows}
    return from_splits(event, arrays, context=context, name=name, **more)


REMOVED = str.maketrans("", "", "aeiouAEIOU ")
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
    texts = {split: fragments(text, words, overlap=split == "train") for split, text in shakespeare(data_dir).items()}
    short = {split: [text for text in of_split if len(text) <= max_length] for split, of_split in texts.items()}
    return restoration("devowelled_shakespeare", short, max_length)


def fragments(text: str, words: int, overlap: bool) -> list[str]:
    """Returns runs of `words` words within a line, from every word on or, without overlap, one after the other."""
    lines = [line.split(" ") for line in text.split("\n") if line and not line.endswith(":")]

    def starts(size: int) -> range:
        return range(max(size - words, 0) + 1) if overlap else range(0, size, words)

    return [" ".join(line[i : i + words]) for line in lines for i in starts(len(line))]


def restoration(name: str, fragments: dict[str, list[str]], max_length: int) -> Dataset:
    """Makes a data set of fragments per split; the context of each is the fragment without vowels and spaces."""
    alphabet = tuple(sorted({END}.union(*fragments["train"])))
    end = alphabet.index(END)
    vocabulary = Vocabulary(alphabet, end=end)
    event = EventSpec((max_length + 1,), kind="tokens", num_levels=len(alphabet))
    context = ContextSpec("sequence", len(alphabet), max_length)
    arrays = {}
    for split, texts in fragments.items():
        refuse((not texts, f"the {split} split of {name!r} has no fragment of at most {max_length} characters"))
        check_known(vocabulary, name, split, "".join(texts))
        kept = padded(vocabulary, [text.translate(REMOVED) for text in texts], max_length, -1)
        x_NT = padded(vocabulary, texts, max_length + 1, end)
        arrays[split] = {"x": x_NT, "mask": up_to_end(x_NT, end), "context": kept}
    return from_splits(event, arrays, context=context, name=name, vocabulary=vocabulary)
