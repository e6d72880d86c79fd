"""Samples of a run: split over the devices of a mesh, with prepared samplers, and under prompts and contexts."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from arjax.core.batch import Batch
from arjax.core.errors import UserError, did_you_mean, refuse
from arjax.core.spec import ContextSpec, EventSpec
from arjax.core.traits import require
from arjax.data import Dataset
from arjax.data.text_rows import class_numbers
from arjax.data.vocabulary import Vocabulary
from arjax.evaluation.splits import spread_examples
from arjax.models import Model
from arjax.models.draws import checked_draw, draw_part, keys_of, prepared
from arjax.models.longer import draw_pieces, of_length
from arjax.parallel.sharding import BATCH_AXES, batch_sharding, on_mesh, replicated
from arjax.samplers import Draw, Request, Resources, Sampler, make_sampler


def text_of(dataset: Dataset) -> Vocabulary:
    """The vocabulary of a data set."""
    if dataset.vocabulary is None or len(dataset.event.grid_shape) != 1:
        raise UserError(f"a prompt is the beginning of a text, and examples of {dataset.name!r} are no text")
    return dataset.vocabulary


def encode_prompt(dataset: Dataset, prompt: str) -> np.ndarray:
    """Returns the tokens of a text, int32[K]."""
    vocabulary, name = text_of(dataset), dataset.name
    if missing := vocabulary.missing(prompt):
        known = f"for which {name!r} has no token; it has those of {vocabulary.shown!r}"
        raise UserError(f"the prompt has the character {missing[0]!r}, {known}")
    return vocabulary.encode(prompt)


def prompt_tokens(dataset: Dataset, prompt: str, length: int = 0) -> np.ndarray:
    """Returns the tokens of the first characters of examples, or of texts of a length: the option `given` of a draw."""
    tokens_K, units, size = encode_prompt(dataset, prompt), text_of(dataset).units, dataset.event.num_sites
    num = len(tokens_K)
    sizes = f"a prompt has 1 to {size - 1} {units}, as examples of {dataset.name!r} have {size}; this one has {num}"
    refuse(
        (length and num >= length, f"a prompt of {num} {units} leaves nothing to draw of a text of {length}"),
        (not length and not 0 < num < size, sizes),
    )
    return tokens_K


@dataclasses.dataclass(frozen=True)
class Conditioning:
    """The prompt and the context of samples."""

    prompt: str = ""  # the first characters of each
    context: str = ""  # `3`, or `name=3,other=1`; "" for those of real examples, where the model has a context

    def options(self, dataset: Dataset, length: int) -> dict[str, Any]:
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
    """Returns the context of one example from the number or the name of its class, or from `name=3,other=1`."""
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
    called, wrong = f"the part {name!r} of the context", not text.strip().isdecimal() or int(text) >= part.num_levels
    refuse(
        (not part.is_class, f"{called} is no class, so --context cannot name it: give it in Python"),
        (wrong, f"{called} is a class from 0 to {part.num_levels - 1}, not {text!r}"),
    )
    return np.int32(int(text))


#: Workdir -> another run, with its `model` and its `params`.
OpenRun = Callable[[str], Any]


def draw_on_mesh(
    model: Model,
    params: Any,
    key: jax.Array,
    num: int,
    mesh: Mesh,
    *,
    sampler: str | Sampler = "cached",
    **options: Any,
) -> Draw:
    """Returns the draw of `num` examples, split over the data axes of a mesh and then whole on every device: that of
    `model.sample`, on any mesh. Example b has the key fold_in(key, b), and `options` are those of a draw. All processes
    of a run call this together. If `num` is no multiple of the size of the axes, further examples are drawn and
    dropped.
    """
    keys, sampler, request, others = _spread(model, params, key, num, mesh, sampler, options)
    with on_mesh(mesh):
        drawn = draw_part(model, params, keys, sampler, request, **others)
    return _cut_to(num, mesh)(drawn)


def pieces_on_mesh(
    model: Model,
    params: Any,
    key: jax.Array,
    num: int,
    mesh: Mesh,
    length: int,
    *,
    sampler: str | Sampler = "cached",
    **options: Any,
) -> Iterator[Draw]:
    """Returns the draw of `draw_on_mesh(..., length=length)` piece by piece, as `draw_in_pieces` of one device."""
    keys, sampler, request, _ = _spread(model, params, key, num, mesh, sampler, {"length": length, **options})
    pieces = draw_pieces(model, params, keys, sampler, request)

    def following() -> Draw | None:
        with on_mesh(mesh):
            return next(pieces, None)

    return map(_cut_to(num, mesh), iter(following, None))


def _spread(
    model: Model, params: Any, key: jax.Array, num: int, mesh: Mesh, sampler: str | Sampler, options: dict[str, Any]
) -> tuple[jax.Array, Sampler, Request, dict[str, Any]]:
    """The arguments of a draw of at least `num` examples, as many as divide over the mesh, on their devices."""
    keys, sampler = keys_of(key, num), make_sampler(sampler)
    request, others = checked_draw(model, params, keys, sampler, options)
    parts = math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    rows = np.minimum(np.arange(-(-num // parts) * parts), num - 1)  # the last example once more
    of_examples = keys, request.given, request.context
    if len(rows) > num:
        of_examples = jax.tree.map(lambda leaf: leaf[rows], of_examples)
    keys, given, context = _split_over(mesh)(of_examples)
    return keys, sampler, dataclasses.replace(request, given=given, context=context), others


@functools.lru_cache(maxsize=16)
def _split_over(mesh: Mesh) -> Callable[[Any], Any]:
    """One function for all draws on a mesh, so that each shape compiles once."""
    return jax.jit(lambda tree: tree, out_shardings=batch_sharding(mesh))


@functools.lru_cache(maxsize=16)
def _cut_to(num: int, mesh: Mesh) -> Callable[[Draw], Draw]:
    """Cuts a draw to its first examples: one function for all pieces, so that each shape compiles once."""
    cut = functools.partial(jax.tree.map, lambda leaf: leaf[:num])
    return jax.jit(cut, out_shardings=replicated(mesh))


def prepare_sampler(
    sampler: str | Sampler, model: Model, params: Any, dataset: Dataset, open_run: OpenRun, length: int = 0
) -> Sampler:
    """Returns a sampler with the arrays that it needs from the data of a run and other runs, for a `length`."""

    def examples(split: str, num: int) -> Batch:
        return spread_examples(dataset, split, num, "this sampler")

    sampler = make_sampler(sampler)
    if not length:
        return prepared(sampler, model, params, Resources(examples, open_run))
    stepwise = require(model, "length", "a draw with a length")

    def opened(workdir: str) -> Any:
        other = open_run(workdir)
        if "unbounded" not in stepwise.network.traits:
            return other  # proposes within windows
        if "unbounded" not in other.model.network.traits:
            raise UserError(
                f"the network of the draft {workdir!r} does not go on behind its window, as that of the model"
            )
        return SimpleNamespace(model=of_length(other.model, length), params=other.params)

    return sampler.prepare(of_length(stepwise, length), params, Resources(examples, opened))


def options_of_run(
    model: Model,
    params: Any,
    dataset: Dataset,
    open_run: OpenRun,
    *,
    sampler: str | Sampler = "cached",
    prompt: str = "",
    length: int = 0,
    **options: Any,
) -> dict[str, Any]:
    """Returns the options of a draw from a run, with its prepared sampler, a prompt and the end of texts."""
    sampler = prepare_sampler(sampler, model, params, dataset, open_run, length)
    given = {"given": prompt_tokens(dataset, prompt, length)} if prompt else {}
    return options | given | {"sampler": sampler, "length": length, "end": dataset.end}
