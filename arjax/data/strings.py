"""Strings of different lengths, one a line, each with an end that is part of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from arjax.core.arrays import up_to_end
from arjax.core.errors import UserError, say_once
from arjax.core.options import opt, seed_option
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec
from arjax.data.base import DATASETS, Dataset, from_splits
from arjax.data.sources import SPLITS
from arjax.data.text import PARTS, REMEDY, ends_of_parts, read_files
from arjax.data.text_rows import StringRows, class_numbers, labelled_lines, lines_of, sorted_classes
from arjax.data.vocabulary import UNITS, check_known, make_vocabulary, padded


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
    less the mass of strings that are too long. In other orders it is given the padding, and so a part of the length.
    The end counts as one character in numbers per character, as the newline does in the file. Lines without a
    character are left out.

    Args:
      file: one string a line; with `labels`, a csv file with a header, or one with tabs whose name ends in .tsv.
      tokens: "characters" (the file is UTF-8), or "bytes" of any file.
      max_length: tokens of a string without its end; longer ones are left out of all splits. 0: of the longest one.
      splits: the parts of the lines that are train, validation and test, after a shuffle. A string that stands in the
        file twice may be in two splits.
      split_seed: of the shuffle.
      validation: a file of its own, likewise `test`; "" for parts of `file`.
      min_count: as for `text`.
      labels: the column of labels, on which the model is then conditioned; "": there are none. The classes are the
        labels of the train split, sorted.
      column: the column of strings beside it.
    """
    texts, name, fingerprint = read_files("strings", file, validation, test, tokens, splits)
    if split_seed and validation:
        say_once(f"split_seed={split_seed} of strings has no effect: each split is a file of its own")
    paths = [path for path in (file, validation, test) if path]
    if labels:
        parts = [labelled_lines(text, path, labels, column) for text, path in zip(texts, paths, strict=True)]
    else:
        parts = [lines_of(text) for text in texts]
        if column != "text":
            say_once(f"column={column!r} of strings has no effect without labels: each line is a string")
    if not validation:
        (lines,) = parts
        first, second = ends_of_parts(splits, len(lines), "strings")
        order = np.random.default_rng(split_seed).permutation(len(lines))
        parts = [[lines[i] for i in rows] for rows in np.split(order, [first, second])]
    found = dict(zip(SPLITS, parts, strict=True))
    own = {split: [line.text for line in lines] for split, lines in found.items()}
    named = {split: [str(line.label) for line in lines] for split, lines in found.items()} if labels else None
    same = {"tokens": tokens, "fingerprint": fingerprint}
    dataset = ended_strings(name, own, max_length, labels=named, min_count=min_count, **same)
    assert isinstance(dataset.rows, StringRows), "strings are read as strings"
    rows = dataclasses.replace(dataset.rows, labels=labels, column=column if labels else "", classes=dataset.classes)
    return dataclasses.replace(dataset, rows=rows)


def ended_strings(
    name: str,
    found: dict[str, list[str]],
    max_length: int = 0,
    *,
    tokens: str = "characters",
    min_count: int = 0,
    fingerprint: str = "",
    labels: dict[str, list[str]] | None = None,
) -> Dataset:
    """A data set of strings per split; the vocabulary is that of the train split and an end, see `make_vocabulary`.

    With `labels`, one for each string, these are its context. Raises `UserError` where a split has no string of at most
    `max_length` tokens, or a character or a label that train lacks.
    """
    vocabulary = make_vocabulary("".join(found["train"]), tokens, min_count, end=True)
    sizes = {split: np.array([vocabulary.num_tokens(s) for s in texts]) for split, texts in found.items()}
    longest = max_length or max((int(size.max()) for size in sizes.values() if size.size), default=1)
    assert vocabulary.end is not None
    classes = () if labels is None else _classes(name, labels["train"])
    arrays: dict[str, dict[str, np.ndarray]] = {}
    for split, all_texts in found.items():
        kept = np.flatnonzero(sizes[split] <= longest)
        texts = [all_texts[n] for n in kept]
        if 0 < len(texts) < len(all_texts):
            left_out = f"{len(all_texts) - len(texts)} of {len(all_texts)} strings"
            say_once(f"{left_out} of the {split} split of {name!r} are longer than max_length={longest}, and left out")
        if not texts:
            raise UserError(f"the {split} split of {name!r} has no string of at most {longest} {tokens}")
        check_known(vocabulary, name, split, "".join(texts), REMEDY)
        x_NT = padded(vocabulary, texts, longest + 1, vocabulary.end)
        arrays[split] = {"x": x_NT, "mask": up_to_end(x_NT, vocabulary.end)}
        if labels is not None:
            own = [labels[split][n] for n in kept]
            arrays[split]["context"] = class_numbers(own, classes, f"the {split} split of {name!r}: the label ")
    event = EventSpec((longest + 1,), kind="tokens", num_levels=len(vocabulary))
    context = ContextSpec("label", len(classes)) if classes else NO_CONTEXT
    rows = StringRows(vocabulary, longest + 1)
    more: dict[str, Any] = {"vocabulary": vocabulary, "fingerprint": fingerprint, "classes": classes, "rows": rows}
    return from_splits(event, arrays, context=context, name=name, **more)


def _classes(name: str, labels: list[str]) -> tuple[str, ...]:
    """The classes of the labels of the train split; raises `UserError` where these say nothing."""
    classes = sorted_classes(labels)
    if len(classes) == 1 or len(classes) == len(labels) > 2:
        found = "one label in all rows" if len(classes) == 1 else "another label in each row"
        raise UserError(f"the train split of {name!r} has {found}: leave the option labels out")
    return classes
