"""Grids of runs: every combination of some values of config fields."""

from __future__ import annotations

import collections
import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from arjax.core.errors import UserError, did_you_mean
from arjax.sweep.derived import Mean, mean_of
from arjax.sweep.runs import WORKDIR, Run, as_text

#: Longest value in the name of a folder; longer ones are cut.
_LONGEST = 60


def grid(
    config: str,
    values: Mapping[str, Iterable[Any]],
    name: str = "",
    mean_over: str = "",
    overrides: Mapping[str, Any] | None = None,
    **about: Any,
) -> list[Run | Mean]:
    """One run for every combination of values, in the sequence of nested loops over the fields.

    A field in braces in `config` is an argument of the config file, `configs/digits.py:network={network}`;
    every other one is a config field that is set.

    Args:
      config: config file with its argument.
      values: of each field, `{"model.ordering": ["raster", "spiral"], "seed": range(3)}`.
      name: of a run, with fields in braces by their whole name or its last part: `{ordering}-{seed}`. Characters that
        no folder may have are replaced. "": the values, in the sequence of the fields.
      mean_over: a field such as "seed": runs that differ in it alone have one row, their `Mean`, and none of their own.
      overrides: config fields to set in all runs.
      **about: further fields of `Run`, such as `model`, `metric` or `published`; texts may hold fields in braces.

    Raises:
      UserError: a field without values or with one twice, an unknown field in braces, or two runs with the same name.
    """
    choices = {field: _choices(field, of_field) for field, of_field in values.items()}
    if mean_over and mean_over not in choices:
        raise UserError(f"the grid has no field {mean_over!r} to average over{did_you_mean(mean_over, choices)}")
    template = name or "-".join(f"{{{field}}}" for field in choices)
    slugs = {field: _slugs(texts) for field, texts in choices.items()}
    runs: dict[str, Run] = {}
    groups: dict[str, list[Run]] = {}
    for texts in itertools.product(*choices.values()):
        point = dict(zip(choices, texts, strict=True))
        parts = {field: slugs[field][text] for field, text in point.items()}
        file, fields = placed(config, point)
        words: dict[str, Any] = {"listed": False} if mean_over else {}
        words |= {key: filled(value, point) if isinstance(value, str) else value for key, value in about.items()}
        run = Run(filled(template, parts), file, {**(overrides or {}), **fields}, **words)
        if run.name in runs:
            fields_of_name = ", ".join(choices)
            raise UserError(f"two runs of the grid are named {run.name!r}: put more of {fields_of_name} in its name")
        runs[run.name] = run
        groups.setdefault(filled(template, parts | {mean_over: "mean"}), []).append(run)
    return [*runs.values(), *(mean_of(row, group) for row, group in groups.items() if mean_over)]


def placed(config: str, point: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The config file with its argument, and the fields to set: those without braces in `config`."""
    in_file = {field for field in point if f"{{{field}}}" in config}
    fields = {field: value for field, value in point.items() if field not in in_file}
    return filled(config, {field: as_text(point[field]) for field in in_file}), fields


def filled(text: str, point: Mapping[str, str]) -> str:
    """The text with values in place of the fields in braces; raises `UserError` for a field that the grid lacks."""
    known = {field.rpartition(".")[2]: field for field in reversed(list(point))} | {field: field for field in point}

    def value(match: re.Match) -> str:
        if match[0] == WORKDIR and match[1] not in known:
            return WORKDIR
        if match[1] not in known:
            raise UserError(f"{text!r} names the field {match[1]!r}{did_you_mean(match[1], known)}, not in the grid")
        return point[known[match[1]]]

    return re.sub(r"{(\w[\w.]*)}", value, text)


def _choices(field: str, values: Iterable[Any]) -> list[str]:
    """The values of a field as on a command line."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise UserError(f"field {field!r} of the grid needs a list of values, not {values!r}")
    texts = [as_text(value) for value in values]
    if not texts:
        raise UserError(f"field {field!r} of the grid has no values")
    if len(set(texts)) < len(texts):
        raise UserError(f"field {field!r} of the grid has the same value twice: {', '.join(texts)}")
    return texts


def _slugs(texts: Sequence[str]) -> dict[str, str]:
    """The values of a field as parts of a folder's name, each another: `random(seed=3)` -> `random-seed=3`."""
    slugs = {text: _slug(text) for text in texts}
    num = collections.Counter(slugs.values())
    return {text: slug if num[slug] == 1 else _hashed(slug, text) for text, slug in slugs.items()}


def _slug(text: str) -> str:
    text = re.sub(r"(?<!\w)-(?=[\d.])", "minus", text)
    slug = re.sub(r"[^\w.+=-]+", "-", text).strip("-.+=")
    return slug if 0 < len(slug) <= _LONGEST else _hashed(slug[:_LONGEST], text)


def _hashed(slug: str, text: str) -> str:
    return f"{slug}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".lstrip("-")
