"""The first parameters of a run that begins with those of another one, and checks that they mean the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from arjax.core.errors import UserError, say_once
from arjax.core.values import parse_call
from arjax.data import Dataset
from arjax.data.vocabulary import check_same_tokens
from arjax.models import Model, recipe_of
from arjax.models.kinds import arrays_of
from arjax.objectives import Companion
from arjax.parallel.sharding import different_forms, forms_of

#: Last names of the entries of a recipe by which values get their meaning.
_MEANING = ("kind", "num_levels", "value_shape", "name")
#: Entries of a recipe that change the training or the size of the grid, not the meaning of a parameter.
_FREE = ("dtype", "grid_shape", "ordering", "partition", "orders", "graph")


@dataclasses.dataclass(frozen=True)
class Trained:
    """The model of another run, its best parameters on the mesh, their step, and the data that it was trained on."""

    model: Model
    params: Any
    step: int
    dataset: Dataset

    @property
    def companion(self) -> Companion:
        return Companion(self.model, self.params)


def check_start(
    model: Model, data: Dataset | None, params: Any, other: Trained, workdir: str, entries: tuple[str, ...] = ()
) -> None:
    """Refuses parameters of a run that cannot start this model, and says on stderr how a run that can differs from it.
    `data` is None for a part, which has other values; `params` are shapes; `entries` are those that are read, () for
    all.
    """
    named = f"train.init_from={workdir}"
    if problem := different_forms(forms_of(other.params), forms_of(params)):
        raise UserError(f"the parameters of {named} do not fit this model; {problem}")
    if data is not None:
        check_same_tokens(data.vocabulary, other.dataset.vocabulary, named)
    different = list(_differences(model, other.model, entries))
    if refused := [each for each, last in different if last in _MEANING]:
        raise UserError(f"the parameters of {named} do not fit this model; {'; '.join(refused[:3])}")
    differences = [each for each, _ in different]
    if _has_other_order(model, other.model, entries):
        differences.insert(0, "it was trained in another order")
    if data is not None and not _scaled_alike(data, other.dataset):
        differences.append("its data are standardised by other means and scales")
    if differences:
        say_once(f"the first parameters, of {named}, have another meaning there: {'; '.join(differences)}")


def sources_of_parts(text: str, model: Model) -> dict[str, str]:
    """The workdirs that give the parameters of parts, by name; {} where one run is named for the whole model."""
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


def part_of_run(name: str, params: Any, other: Trained) -> Trained:
    """Returns a run as one of its part `name`: the run may be the part itself, with `params`, or have it."""
    itself = forms_of(params).keys() == forms_of(other.params).keys()
    if itself or name not in other.model.named_parts:
        return other
    return dataclasses.replace(other, model=other.model.named_parts[name], params=other.params[name])


def entries_that_fit(model: Model, needed: Sequence[str], params: Any, other: Trained, workdir: str) -> tuple[str, ...]:
    """The entries that are read from another run: those needed, and all others of the same form and meaning."""
    fits = list(needed)
    for name in params.keys() - set(needed):
        alike = forms_of(params[name]) == forms_of(other.params.get(name, {}))
        if alike and not list(_differences(model, other.model, (name,))):
            fits.append(name)
    if left := sorted(params.keys() - set(fits)):
        say_once(f"train.init_from={workdir} has no {', '.join(left)} of this form, which will begin anew")
    return tuple(fits)


def _differences(here: Model, there: Model, entries: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Entries of the recipes of two models that differ, in words, and the last of their names."""
    try:
        ours, theirs = (dict(_leaves(recipe_of(model).as_json())) for model in (here, there))
    except UserError:  # a model that was put together by hand: only its parameters are compared
        return
    for name in sorted(ours.keys() | theirs.keys()):
        if entries and name.split(".")[1:2] not in [[entry] for entry in entries]:
            continue
        last = name.rpartition(".")[2]
        if ours.get(name) != theirs.get(name) and last not in _FREE and "dropout" not in last:
            yield f"{name} was {theirs.get(name)!r} there and is {ours.get(name)!r} here", last


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The values in nested objects by dotted names; some call strings as objects."""
    if name.rpartition(".")[2] in ("conditional", "quantizer") and value:
        call, options = parse_call(value)
        value = {"name": call, **options}
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(part, Mapping) for part in value):
        for i, part in enumerate(value):
            yield from _leaves(part, f"{name}.{i}")
    else:
        yield name, value


def _has_other_order(here: Any, there: Model, entries: tuple[str, ...] = ()) -> bool:
    """Whether the orders, blocks or graphs differ, and the other model was not trained on this order as well."""
    ours, theirs = dict(arrays_of(here)), dict(arrays_of(there))
    if entries:
        kept = tuple(f"{entry}/" for entry in entries)
        ours, theirs = ({name: a for name, a in arrays.items() if name.startswith(kept)} for arrays in (ours, theirs))
    order = here.factorization if "conditionals" in here.traits and here.orders is None else None
    if order is not None and there.orders is not None and there.orders.has(order):
        return False
    if any(ours[name].shape != theirs[name].shape for name in ours.keys() & theirs.keys() if name.endswith("order")):
        return False  # of longer sequences, say
    return ours.keys() != theirs.keys() or any(not np.array_equal(ours[name], theirs[name]) for name in ours)


def _scaled_alike(here: Dataset, there: Dataset) -> bool:
    pairs = (here.scale, there.scale), (here.shift, there.shift)
    return all(
        a is b if a is None or b is None else np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-3)
        for a, b in pairs
    )
