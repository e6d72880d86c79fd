"""The mode `suggest`: continuations of a prompt, as tables."""

from __future__ import annotations

import sys
from typing import Any

from ml_collections import ConfigDict

from arjax.evaluation.prompts import encode_prompt, parse_context
from arjax.evaluation.suggestions import Suggestion, suggest
from arjax.models import AutoregressiveModel
from arjax.reporting.tables import print_table
from arjax.training.reporter import announce
from arjax.training.setup import Setup


def show_suggestions(
    setup: Setup, model: AutoregressiveModel, params: Any, options: ConfigDict, prompt: str, context: str
) -> None:
    """Prints the most probable next characters and continuations of a prompt.

    Args:
      options: `config.suggest`: num, length, beams.

    Raises:
      UserError: as `suggest` and `parse_context`.
    """
    dataset, vocabulary = setup.dataset, setup.dataset.vocabulary
    given = parse_context(dataset.context, context) if context else None
    encode_prompt(dataset, prompt)  # a mistake ends here
    assert vocabulary is not None, "a data set that encodes prompts has a vocabulary"
    announce("compiling, and looking for continuations ...", sys.stderr)
    found = suggest(model, params, dataset, prompt, context=given, **options.to_dict())
    if found.num_dropped:
        read = vocabulary.num_tokens(found.prompt)
        unread = f"the last {read} of the prompt are read, the first {found.num_dropped} are not"
        print(f"windows of this model have {dataset.event.num_sites} {vocabulary.units}: {unread}")
    _print(f"next {vocabulary.units} after {found.prompt!r}", found.next)
    _print(f"continuations, found by a beam search that keeps {options.beams}", found.continuations)


def _print(title: str, found: tuple[Suggestion, ...]) -> None:
    rows = [(repr(each.text) + " ..." * (not each.complete), f"{each.probability:.4f}") for each in found]
    print_table(("text", "probability"), rows, title, right=("probability",))
