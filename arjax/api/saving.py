"""A model in a file."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from arjax.core.errors import UserError
from arjax.core.files import PACKAGE, user_path
from arjax.data import Dataset
from arjax.data.columns import column_as_json
from arjax.data.rows import Rows
from arjax.data.table import TableRows
from arjax.data.text_rows import StringRows, WindowRows
from arjax.interop.model_file import SavedModel, save_model
from arjax.models import Model


def save(
    path: str | os.PathLike,
    model: Model,
    params: Any,
    dataset: Dataset,
    results: Mapping[str, Any] | None,
    about: Mapping[str, Any],
) -> Path:
    """Writes a model to `path`; `about` has further facts: the number of orders, the config or the options."""
    if not (path := user_path(path)).name:
        raise UserError(f"a model cannot be saved as {str(path)!r}: name a file such as 'model.safetensors'")
    examples = {split: len(source) for split, source in dataset.splits.items()}
    vocabulary = None if dataset.vocabulary is None else dataclasses.asdict(dataset.vocabulary)
    data: dict[str, Any] = {"name": dataset.name, "examples": examples, "vocabulary": vocabulary}
    data |= {"classes": list(dataset.classes), "rows": rows_as_json(dataset.rows)}
    about = {"data": data, "results": None if results is None else dict(results), **about, "commit": commit()}
    params = jax.tree.map(np.asarray, params)
    return save_model(path, SavedModel(model, params, dataset.shift, dataset.scale, about))


def rows_as_json(rows: Rows | None) -> dict[str, Any] | None:
    """Returns how rows become examples, without what the file has elsewhere; None for rows of other packages."""
    if isinstance(rows, TableRows):
        columns = [column_as_json(column) for column in rows.columns]
        form = {"missing": list(rows.missing), "delimiter": rows.delimiter, "header": rows.header}
        return {"kind": "table", "columns": columns, **form}
    if isinstance(rows, StringRows):
        return {"kind": "strings", "labels": rows.labels, "column": rows.column}
    return {"kind": "text", "stride": rows.stride} if isinstance(rows, WindowRows) else None


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
