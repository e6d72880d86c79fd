"""`results.json`: what a finished run has to say."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from arjax.values import read_json_object

FILE_NAME = "results.json"


def read_results(workdir: str | os.PathLike) -> dict[str, Any] | None:
    """The results of a workdir, or None when there are none (or no whole ones, which cannot happen by a kill)."""
    results = read_json_object(Path(workdir) / FILE_NAME)  # edited by hand or damaged, they are computed again
    return results if results is not None and {"step", "split"} <= results.keys() else None


def write_results(workdir: str | os.PathLike, results: Mapping[str, Any]) -> None:
    """Writes the results, atomically, by the first process."""
    if jax.process_index() == 0:
        path = Path(workdir) / FILE_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        replacement = path.with_suffix(".tmp")
        replacement.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        replacement.replace(path)


def device_name() -> str:
    """The devices of the run, such as `8 x NVIDIA H100` or `CPU, 2 cores`."""
    kind = jax.devices()[0].device_kind
    return f"CPU, {os.cpu_count()} cores" if kind == "cpu" else f"{jax.device_count()} x {kind}"
