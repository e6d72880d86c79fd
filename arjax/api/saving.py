"""A model in a file, and the model card beside it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from arjax.core import __version__
from arjax.core.errors import UserError
from arjax.core.files import PACKAGE, reading, user_path, write_text
from arjax.core.scores import SAMPLE_SCORE
from arjax.data import Dataset
from arjax.data.columns import column_as_json
from arjax.data.rows import Rows
from arjax.data.table import TableRows
from arjax.data.text_rows import StringRows, WindowRows
from arjax.interop.model_file import SavedModel, save_model
from arjax.models import Model
from arjax.reporting.reports import describe_scores, with_stderr

#: The beginning of the line of a card that loads its model.
_LOADED = "arjax.load("


def save(
    path: str | os.PathLike,
    model: Model,
    params: Any,
    dataset: Dataset,
    results: Mapping[str, Any] | None,
    about: Mapping[str, Any],
) -> Path:
    """Writes a model to `path`, and a model card beside it, of the same name with the ending `.md`. `about` has further
    facts: the number of orders, the config or the options.
    """
    path = user_path(path)
    card = _card_of(path)
    examples = {split: len(source) for split, source in dataset.splits.items()}
    vocabulary = None if dataset.vocabulary is None else dataclasses.asdict(dataset.vocabulary)
    data: dict[str, Any] = {"name": dataset.name, "examples": examples, "vocabulary": vocabulary}
    data |= {"classes": list(dataset.classes), "rows": rows_as_json(dataset.rows)}
    about = {"data": data, "results": None if results is None else dict(results), **about, "commit": commit()}
    params = jax.tree.map(np.asarray, params)
    path = save_model(path, SavedModel(model, params, dataset.shift, dataset.scale, about))
    write_text(card, model_card(path.name, repr(model), about, is_scaled=dataset.scale is not None))
    return path


def rows_as_json(rows: Rows | None) -> dict[str, Any] | None:
    """Returns how rows become examples, without what the file has elsewhere; None for rows of other packages."""
    if isinstance(rows, TableRows):
        columns = [column_as_json(column) for column in rows.columns]
        form = {"missing": list(rows.missing), "delimiter": rows.delimiter, "header": rows.header}
        return {"kind": "table", "columns": columns, **form}
    if isinstance(rows, StringRows):
        return {"kind": "strings", "labels": rows.labels, "column": rows.column}
    return {"kind": "text", "stride": rows.stride} if isinstance(rows, WindowRows) else None


def _card_of(path: Path) -> Path:
    """The path of the model card beside a file: `model.md` for `model.safetensors`, `model.v1.md` for `model.v1`."""
    if path.suffix.lower() == ".md" or not path.name:
        raise UserError(f"a model cannot be saved as {str(path)!r}: name a file such as 'model.safetensors'")
    card = path.with_suffix(".md") if path.suffix == ".safetensors" else path.with_name(f"{path.name}.md")
    if card.is_file():
        with reading(card):
            text = card.read_text(encoding="utf-8", errors="replace")
        if _LOADED not in text:
            raise UserError(f"{card} is there and no model card: choose another name for the model")
    return card


def model_card(name: str, model: str, about: Mapping[str, Any], *, is_scaled: bool = False) -> str:
    """A page about a model file: the model, its data, its scores with their kind and standard error, and how to load
    it, with a line that turns samples into the units of the data if these `is_scaled`.
    """
    examples = ", ".join(f"{split} {num:,}" for split, num in about["data"]["examples"].items())
    made_by = f"arjax {__version__}" + (f", commit {about['commit']}" if about["commit"] else "")
    rows = [("model", f"`{model}`"), ("data", f"{about['data']['name']} ({examples})"), ("saved by", made_by)]
    results = about["results"]
    if results is not None:
        rows += scores(results)
    table = "\n".join(["| | |", "|--|--|", *(f"| {key} | {value} |" for key, value in rows)])
    card = f"# {Path(name).stem}\n\n{table}\n\n```python\nimport arjax\n\nmodel = {_LOADED}{name!r})\n"
    scored = "" if results is not None and SAMPLE_SCORE in results else "nats = -model.log_prob(samples)\n"
    in_units = "in_data_units = model.in_data_units(samples)\n" if is_scaled else ""
    card += f"samples = model.sample(16)\n{in_units}{scored}```\n"
    for title in ("config", "options"):
        if title in about:
            card += f"\n## {title.capitalize()}\n\n```json\n{json.dumps(about[title], indent=2)}\n```\n"
    return card


def scores(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The scores of a report as rows of a card."""
    scored = f"{results['split']}, {results['num_examples']:,} examples"
    if SAMPLE_SCORE in results:
        rows = [(scored, f"{describe_scores(results)} (of kind {results['kind']})")]
    else:
        unit = results.get("unit", "nats").replace("nats", "nats per example", 1)
        rows = [(scored, f"{with_stderr(results['nll_nats'], results['nll_stderr'], unit)} ({results['kind']})")]
        if "density" not in unit:  # the bits of one depend on the units of the data
            rows.append(("", f"{results['bits_per_dim']:.4f} bits per dimension"))
    if results.get("validation_nll_nats") is not None:
        rows.append(("validation", f"{results['validation_nll_nats']:.4f} nats per example"))
    of_training = f"{results['best_step']:,} of {results['step']:,}, seed {results['seed']}"
    return [*rows, ("parameters of step", of_training)]


def commit() -> str:
    """The commit of the checkout that arjax is imported from, "" where it is installed otherwise."""
    root = PACKAGE.parent
    if not (root / ".git").exists():
        return ""
    try:
        command = ["git", "-C", str(root), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or a checkout that git does not trust
        return ""
