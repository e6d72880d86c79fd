"""Prompts and contexts of samples: beginnings of text, and classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from arjax.core.errors import UserError, did_you_mean, refuse
from arjax.core.spec import ContextSpec, EventSpec
from arjax.data import Dataset
from arjax.data.text_rows import class_numbers
from arjax.data.vocabulary import Vocabulary


def text_of(dataset: Dataset) -> Vocabulary:
    """The vocabulary of a data set."""
    if dataset.vocabulary is None or len(dataset.event.grid_shape) != 1:
        raise UserError(f"a prompt is the beginning of a text, and examples of {dataset.name!r} are no text")
    return dataset.vocabulary


def encode_prompt(dataset: Dataset, prompt: str) -> np.ndarray:
    """Returns the tokens of a text, int32[K]."""
    vocabulary = text_of(dataset)
    if missing := vocabulary.missing(prompt):
        raise UserError(
            f"the prompt has the character {missing[0]!r}, for which {dataset.name!r} has no token; it has those of "
            f"{vocabulary.shown!r}"
        )
    return vocabulary.encode(prompt)


def prompt_tokens(dataset: Dataset, prompt: str, length: int = 0) -> np.ndarray:
    """Returns the tokens of the first characters of examples, or of texts of a length: the option `given` of a draw."""
    tokens_K, units, size = encode_prompt(dataset, prompt), text_of(dataset).units, dataset.event.num_sites
    num = len(tokens_K)
    refuse(
        (length and num >= length, f"a prompt of {num} {units} leaves nothing to draw of a text of {length}"),
        (
            not length and not 0 < num < size,
            f"a prompt has 1 to {size - 1} {units}, as examples of {dataset.name!r} have {size}; this one has {num}",
        ),
    )
    return tokens_K


@dataclasses.dataclass(frozen=True)
class Conditioning:
    """The prompt and the context of samples."""

    prompt: str = ""  # the first characters of each
    context: str = ""  # `3`, or `name=3,other=1`; "" for those of real examples, where the model has a context

    def options(self, dataset: Dataset, length: int) -> dict[str, Any]:
        """Returns the options of a draw."""
        options: dict[str, Any] = {"given": prompt_tokens(dataset, self.prompt, length)} if self.prompt else {}
        if self.context:
            options["context"] = parse_context(dataset.context, self.context, dataset.classes)
        return options

    def about(self) -> dict[str, str]:
        """The entries of the file beside the samples; empty without a prompt and a context."""
        return {name: text for name, text in dataclasses.asdict(self).items() if text}


#: Samples as the run itself draws them.
UNCONDITIONED = Conditioning()


def parse_context(spec: ContextSpec, text: str, classes: Sequence[str] = ()) -> dict[str, np.int32]:
    """The context of one example from the number of its class, or from `name=3,other=1` for several parts; from the
    name of its class where `classes` have names.
    """
    parts = dict(spec.parts)
    if not parts:
        raise UserError("this model has no context, so --context cannot be given")
    if classes:
        return {next(iter(parts)): class_numbers([text], classes, "--context=")[0]}
    pairs = [item.rpartition("=") for item in text.split(",")]
    names = [name.strip() or ("" if len(parts) > 1 else next(iter(parts))) for name, _, _ in pairs]
    if sorted(names) != sorted(parts):
        wanted = ",".join(f"{name}=..." for name in parts)
        unknown = next((name for name in names if name and name not in parts), "")
        hint = did_you_mean(unknown, parts) if unknown else ""
        raise UserError(f"--context={text} does not fit{hint}: the context of this model is --context={wanted}")
    return {name: _class_of(name, parts[name], value) for name, (_, _, value) in zip(names, pairs, strict=True)}


def _class_of(name: str, part: EventSpec, text: str) -> np.int32:
    """One class of a part of the context, int32[]."""
    if not part.is_class:
        raise UserError(f"the part {name!r} of the context is no class, so --context cannot name it: give it in Python")
    if not text.strip().isdecimal() or int(text) >= part.num_levels:
        raise UserError(f"the part {name!r} of the context is a class from 0 to {part.num_levels - 1}, not {text!r}")
    return np.int32(int(text))
