"""The parameters of another run as the first ones of this run: what must be the same there, and what is said.

Parameters of another model may have the right shapes and another meaning.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from arjax.core.errors import UserError
from arjax.core.output import say_once
from arjax.data import Dataset
from arjax.data.vocabulary import check_same_tokens
from arjax.interop.description import describe
from arjax.models import Model
from arjax.models.autoregressive import has_conditionals
from arjax.parallel.sharding import forms_of

#: Last names of the parts of a description by which values get their meaning.
_MEANING = ("kind", "num_levels", "value_shape", "name")
#: Parts of a description that change the training or the size of the grid, not the meaning of a parameter.
_FREE = ("dtype", "arrays", "grid_shape")


def check_start(
    model: Model, data: Dataset | None, params: Any, other: Any, workdir: str, entries: tuple[str, ...] = ()
) -> None:
    """Says on stderr how a run differs that gives its parameters to a model, where they may still be meant.

    Args:
      model: the model of this run, or a part of it.
      data: its data set; None for a part, which has values of its own.
      params: shapes and types of its parameters.
      other: the other run, see `Trained`.
      workdir: its folder.
      entries: of the parameters that are read, named as the parts of the model; (): all.

    Raises:
      UserError: parameters of other names, shapes or types; values of other kinds, levels or tokens, or another family
        of conditionals.
    """
    check_fits(params, other.params, workdir)
    named = f"train.init_from={workdir}"
    if data is not None:
        check_same_tokens(data.vocabulary, other.dataset.vocabulary, named)
    different = list(_differences(model, other.model, entries))
    refused = [each for each, last in different if last in _MEANING]
    if refused:
        raise UserError(f"the parameters of {named} do not fit this model; {'; '.join(refused[:3])}")
    told = [each for each, _ in different]
    if _has_other_order(model, other.model, entries):
        told.insert(0, "it was trained in another order")
    if data is not None and not _scaled_alike(data, other.dataset):
        told.append("its data are standardised by other means and scales")
    if told:
        say_once(f"the first parameters, of {named}, have another meaning there: {'; '.join(told)}")


def sources_of_parts(text: str, model: Model) -> dict[str, str]:
    """The workdirs of the runs that give the parameters of parts, by the names of these; none where `train.init_from`
    names one run for the whole model. Raises `UserError` where only some pieces of the text name a part, or one twice.
    """
    pieces = [piece.strip().partition("=") for piece in text.split(",")]
    named = [(name.strip(), workdir.strip()) for name, equals, workdir in pieces if equals]
    if not any(name in model.named_parts for name, _ in named):
        return {}
    sources = dict(named)
    if len(sources) < len(pieces) or not all(sources.values()) or sources.keys() - model.named_parts.keys():
        raise UserError(
            f"train.init_from={text!r} must name a run for each of some parts once, such as 1=runs/a,2=runs/b; the "
            f"parts of this model are {', '.join(model.named_parts)}"
        )
    return sources


def part_of_run(name: str, params: Any, other: Any) -> Any:
    """The run, see `Trained`, as one of the part of that name: of a model that is the part itself, with `params`, or of
    one that has such a part.
    """
    itself = forms_of(params).keys() == forms_of(other.params).keys()
    if itself or name not in other.model.named_parts:
        return other
    return dataclasses.replace(other, model=other.model.named_parts[name], params=other.params[name])


def entries_that_fit(model: Model, needed: tuple[str, ...], params: Any, other: Any, workdir: str) -> tuple[str, ...]:
    """The entries of the parameters that are read from another run: those that are needed, and all others of the same
    shapes and meaning. Says on stderr which ones begin anew.
    """
    fits = list(needed)
    for name in params.keys() - set(needed):
        alike = forms_of(params[name]) == forms_of(other.params.get(name, {}))
        if alike and not list(_differences(model, other.model, (name,))):
            fits.append(name)
    if left := sorted(params.keys() - set(fits)):
        say_once(f"train.init_from={workdir} has no {', '.join(left)} of this form, which will begin anew")
    return tuple(fits)


def _differences(here: Model, there: Model, entries: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Parts of the descriptions of two models that differ, in words, and the last of their names."""
    try:
        (own, _), (other, _) = describe(here), describe(there)
    except UserError:  # a part of a user that is not registered: only its parameters are compared
        return
    own, other = dict(_leaves(own)), dict(_leaves(other))
    for name in sorted(own.keys() | other.keys()):
        if entries and not name.startswith(tuple(f"fields.{entry}." for entry in entries)):
            continue
        last = name.rpartition(".")[2]
        if own.get(name) != other.get(name) and last not in _FREE and "dropout" not in last:
            yield f"{name} was {other.get(name)!r} there and is {own.get(name)!r} here", last


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The values in nested objects by dotted names."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(part, Mapping) for part in value):
        for i, part in enumerate(value):
            yield from _leaves(part, f"{name}.{i}")
    else:
        yield name, value


def _has_other_order(here: Model, there: Model, entries: tuple[str, ...] = ()) -> bool:
    """Whether two models on one grid have different orders, blocks or graphs, and the other one was not trained on
    the order of this one among several.
    """
    try:
        (_, own), (_, other) = describe(here), describe(there)
    except UserError:
        return False
    if entries:
        kept = tuple(f"model/{entry}/" for entry in entries)
        own, other = ({name: a for name, a in arrays.items() if name.startswith(kept)} for arrays in (own, other))
    own_order = here.factorization if has_conditionals(here) and here.orders is None else None
    if own_order is not None and there.orders is not None and there.orders.has(own_order):
        return False
    if any(own[name].shape != other[name].shape for name in own.keys() & other.keys() if name.endswith("order")):
        return False  # of longer sequences, say
    return own.keys() != other.keys() or any(not np.array_equal(own[name], other[name]) for name in own)


def _scaled_alike(here: Dataset, there: Dataset) -> bool:
    """Whether real data were standardised alike, or not at all."""
    for own, other in ((here.scale, there.scale), (here.shift, there.shift)):
        if own is None or other is None:
            alike = own is other
        else:
            alike = np.shape(own) == np.shape(other) and np.allclose(own, other, rtol=1e-3)
        if not alike:
            return False
    return True


def check_fits(wanted: Any, found: Any, workdir: str) -> None:
    """Raises `UserError` unless the parameters of a run have the expected names, shapes and types."""
    here, there = forms_of(wanted), forms_of(found)
    other = [name for name in here if name in there and here[name] != there[name]]
    problems = {
        "missing there": [name for name in here if name not in there],
        "left over": [name for name in there if name not in here],
        "of another shape": [f"{name} ({there[name]} there, {here[name]} here)" for name in other],
    }
    told = [f"{kind}: {', '.join(n[:3])}{', ...' if len(n) > 3 else ''}" for kind, n in problems.items() if n]
    if told:
        raise UserError(f"the parameters of train.init_from={workdir} do not fit this model; {'; '.join(told)}")
