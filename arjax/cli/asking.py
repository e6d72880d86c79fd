"""Prompts and contexts on the command line, and the mode `suggest`."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from arjax.core.errors import UserError
from arjax.core.registry import did_you_mean
from arjax.core.spec import ContextSpec
from arjax.data import Dataset
from arjax.evaluation.prompts import encode_prompt, prompt_options
from arjax.evaluation.suggestions import Suggestion, suggest
from arjax.reporting.tables import print_table
from arjax.training.reporter import announce
from arjax.training.setup import Setup


@dataclasses.dataclass(frozen=True)
class Asked:
    """What samples are to begin with and to be conditioned on.

    Attributes:
      prompt: the first characters of each; "" for none.
      context: `3`, or `name=3,other=1`; "" for those of real examples, where the model has a context.
    """

    prompt: str = ""
    context: str = ""

    def options(self, dataset: Dataset) -> dict[str, Any]:
        """The options of `model.draw` that are asked for; raises `UserError` where they do not fit the data."""
        options = prompt_options(dataset, self.prompt) if self.prompt else {}
        return options | ({"context": parse_context(dataset.context, self.context)} if self.context else {})

    def about(self) -> dict[str, str]:
        """What is written beside the samples: nothing where nothing is asked for."""
        return {name: text for name, text in dataclasses.asdict(self).items() if text}


#: Samples as the run itself draws them.
NOTHING = Asked()


def parse_context(spec: ContextSpec, text: str) -> dict[str, np.ndarray]:
    """The context of one example from the number of its class, or from `name=3,other=1` for several parts.

    Raises:
      UserError: no context, parts that are missing, unknown, given twice or no classes, or a number out of range.
    """
    parts = dict(spec.parts)
    if not parts:
        raise UserError("this model has no context, so --context cannot be given")
    pairs = [item.rpartition("=") for item in text.split(",")]
    names = [name.strip() or ("" if len(parts) > 1 else next(iter(parts))) for name, _, _ in pairs]
    if sorted(names) != sorted(parts):
        wanted = ",".join(f"{name}=..." for name in parts)
        unknown = next((name for name in names if name and name not in parts), "")
        hint = did_you_mean(unknown, parts) if unknown else ""
        raise UserError(f"--context={text} does not fit{hint}: the context of this model is --context={wanted}")
    return {name: _class_of(name, parts[name], value) for name, (_, _, value) in zip(names, pairs, strict=True)}


def _class_of(name: str, part: Any, text: str) -> np.ndarray:
    """One class of a part of the context, int32[]."""
    if part.shape or not part.is_discrete:
        raise UserError(f"the part {name!r} of the context is no class, so --context cannot name it: give it in Python")
    if not text.strip().isdecimal() or int(text) >= part.num_levels:
        raise UserError(f"the part {name!r} of the context is a class from 0 to {part.num_levels - 1}, not {text!r}")
    return np.int32(int(text))


def show_suggestions(setup: Setup, params: Any, options: ConfigDict, prompt: str, context: str) -> None:
    """Prints the most probable next characters and continuations of a prompt.

    Args:
      setup: the run.
      params: its parameters.
      options: `config.suggest`: num, length, beams.
      prompt: the characters before.
      context: as in `Asked`.

    Raises:
      UserError: as `suggest` and `parse_context`.
    """
    dataset = setup.dataset
    given = parse_context(dataset.context, context) if context else None
    encode_prompt(dataset, prompt)  # a mistake ends here
    announce("compiling, and looking for continuations ...", sys.stderr)
    found = suggest(setup.model, params, dataset, prompt, context=given, **options.to_dict())
    if found.num_dropped:
        read = dataset.vocabulary.num_tokens(found.prompt)
        unread = f"the last {read} of the prompt are read, the first {found.num_dropped} are not"
        print(f"windows of this model have {dataset.event.num_sites} {dataset.vocabulary.units}: {unread}")
    _print(f"next {dataset.vocabulary.units} after {found.prompt!r}", found.next)
    _print(f"continuations, found by a beam search that keeps {options.beams}", found.continuations)


def _print(title: str, found: tuple[Suggestion, ...]) -> None:
    rows = [(repr(each.text) + " ..." * (not each.complete), f"{each.probability:.4f}") for each in found]
    print_table(("text", "probability"), rows, title, right=("probability",))
