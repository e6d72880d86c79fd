"""Suggestions of a keyboard: the most probable next characters after a prompt, and continuations of it."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.blocks import scores_blocks
from arjax.core.errors import UserError, refuse, say_once
from arjax.core.options import opt, typed_fields
from arjax.core.programs import call_if_it_fits
from arjax.data import Dataset
from arjax.data.vocabulary import Vocabulary
from arjax.evaluation.sampling import encode_prompt, text_of
from arjax.models import AutoregressiveModel
from arjax.models.checks import as_context
from arjax.models.queries import evidence_first
from arjax.samplers.beam import Beams, BeamSearch

#: The largest number of suggestions, and of beginnings that a search for them keeps.
MOST = 100_000


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """A continuation of a prompt.

    Attributes:
      text: the characters; `<end>` where a string ends.
      log_prob: log p(these characters | the prompt) in nats, exact.
      complete: whether it ends with a space, a newline or the end of the string; else `length` has cut it.
    """

    text: str
    log_prob: float
    complete: bool = True

    @property
    def probability(self) -> float:
        return math.exp(self.log_prob)


@dataclasses.dataclass(frozen=True)
class Suggestions:
    """Continuations of a prompt, most probable first.

    Attributes:
      prompt: the part of the prompt that was read: all of it, or its last characters where windows are shorter.
      num_dropped: the number of characters before it.
      continuations: texts up to and with the first space (or newline) behind another character, or the end.
    """

    prompt: str
    num_dropped: int
    next: tuple[Suggestion, ...]
    continuations: tuple[Suggestion, ...]

    def __str__(self) -> str:
        def lines(title: str, suggestions: tuple[Suggestion, ...]) -> list[str]:
            return [f"{title} after {self.prompt!r}:", *(f"  {s.probability:.4f}  {s.text!r}" for s in suggestions)]

        return "\n".join(lines("next", self.next) + lines("continuations", self.continuations))


@dataclasses.dataclass(frozen=True)
class SuggestOptions:
    """The section `suggest` of a config: continuations of a text."""

    num: int = opt(5, most=MOST, about="next characters, and continuations")
    length: int = opt(16, most=MOST, about="tokens of the longest continuation")
    beams: int = opt(16, most=MOST, about="breadth of the search: beginnings of each length that are kept")


def suggest(
    model: AutoregressiveModel, params: Any, dataset: Dataset, prompt: str = "", *, context: Any = None, **options: Any
) -> Suggestions:
    """Returns the most probable next characters after a prompt, and the continuations that beam search finds.

    Every probability is exact: a product of conditionals of the model, in an order that visits the prompt and then the
    sites behind it one after another. Beam search keeps the `beams` most probable beginnings of each length, so it may
    miss a continuation with an improbable beginning (Graves, "Sequence Transduction with Recurrent Neural Networks",
    2012, section 2.4; here without its merging of prefixes). Windows of a long text may begin anywhere: only the last
    characters of the prompt are read if it does not fit together with `length` further ones. The prompt of a string has
    to fit. `context` is that of one example, and `options` are fields of `SuggestOptions`.
    """
    asked = SuggestOptions(**typed_fields(SuggestOptions, options))
    num, length, beams = asked.num, asked.length, asked.beams
    vocabulary = text_of(dataset)
    tokens_K, num_dropped, num_further = _read(vocabulary, dataset, prompt, length)
    start, num_sites = len(tokens_K), model.event.num_sites
    sites_TD = np.eye(num_sites, dtype=bool)
    factorization = evidence_first(model, np.arange(num_sites) < start, *sites_TD[start : start + num_further])
    unlisted = scores_blocks(model.conditional, factorization) or not model.conditional.has_table
    needs = "suggestions need a list of the probabilities of single characters"
    refuse((unlisted, f"{needs}, which this conditional does not have"))
    model = dataclasses.replace(model, factorization=factorization, orders=None)
    context = as_context(model.context_spec, context, beams, one_for_all=True)
    x_BT = np.zeros((beams, num_sites), np.int32)
    x_BT[:, :start] = tokens_K
    arguments = model, params, context, x_BT, start
    first_V = np.asarray(call_if_it_fits("the arrays of this search", _next, *arguments), np.float64)[0]
    best = np.argsort(-first_V, kind="stable")[:num]
    return Suggestions(
        prompt=prompt[num_dropped:] if vocabulary.unit == "char" else vocabulary.decode(tokens_K),
        num_dropped=num_dropped,
        next=tuple(Suggestion(vocabulary.symbols[v], float(first_V[v])) for v in best if v < len(vocabulary)),
        continuations=_search(vocabulary, arguments, num_further, num),
    )


def _read(vocabulary: Vocabulary, dataset: Dataset, prompt: str, length: int) -> tuple[np.ndarray, int, int]:
    """Returns the tokens of the prompt that are read, the number of the others, and the most tokens that may follow."""
    tokens_K, num_sites = encode_prompt(dataset, prompt), dataset.event.num_sites
    if vocabulary.end is not None:
        if len(tokens_K) >= num_sites:
            raise UserError(
                f"the prompt has {len(tokens_K)} {vocabulary.units}, but no string of {dataset.name!r} has more than "
                f"{num_sites - 1}"
            )
        return tokens_K, 0, min(length, num_sites - len(tokens_K))
    num_further = min(length, (num_sites + 1) // 2)
    if length > num_further:
        say_once(f"continuations have at most {num_further} {vocabulary.units}, half of a window, not {length}")
    num_dropped = max(len(tokens_K) - (num_sites - num_further), 0)
    return tokens_K[num_dropped:], num_dropped, num_further


@jax.jit
def _next(model: AutoregressiveModel, params: Any, context: Any, x_BT: jax.Array, site: jax.Array) -> jax.Array:
    """log p of each value of a site given the sites of earlier steps, float32[B, V]."""
    features_BTF = model.features(params, x_BT, context=context)
    return model.head(params).log_table(features_BTF[:, site])


def _search(vocabulary: Vocabulary, arguments: tuple[Any, ...], num_further: int, num: int) -> tuple[Suggestion, ...]:
    """The best continuations that beam search finds; the arguments are those of `_next`."""
    model, *_, start = arguments
    symbols, num_values = vocabulary.symbols, model.event.num_levels
    known_V = np.arange(num_values) < len(vocabulary)  # an alphabet of one character has a second level
    space_V = np.array([known and symbols[v].isspace() for v, known in enumerate(known_V)])
    end_V = np.arange(num_values) == (-1 if vocabulary.end is None else vocabulary.end)
    kinds, stop = (known_V, space_V, end_V), start + num_further
    complete, going = call_if_it_fits("the arrays of this search", _beams, *arguments, stop, kinds, num=num)
    suggestions = []
    for beams, whole in ((complete, True), (going, False)):
        for x_T, log_prob in zip(np.asarray(beams.x[0]), np.asarray(beams.log_prob[0], np.float64), strict=True):
            tokens_T = x_T[start:stop]
            is_space_T = space_V[tokens_T]
            ends_T = end_V[tokens_T] | (is_space_T & (np.cumsum(~is_space_T) > 0))
            size = int(ends_T.argmax()) + 1 if ends_T.any() else num_further
            if log_prob > -np.inf:
                last = tokens_T[size - 1]
                text = vocabulary.decode(tokens_T[:size]) + symbols[last] * int(last == vocabulary.end)
                suggestions.append(Suggestion(text, float(log_prob), whole))
    return tuple(sorted(suggestions, key=lambda each: -each.log_prob)[:num])


@functools.partial(jax.jit, static_argnames="num")
def _beams(
    model: AutoregressiveModel,
    params: Any,
    context: Any,
    x_BT: jax.Array,
    start: jax.Array,
    stop: jax.Array,
    kinds: tuple[jax.Array, jax.Array, jax.Array],
    num: int,
) -> tuple[Beams, Beams]:
    """Returns the `num` best complete continuations of the first of B equal rows, and the B best ones of full length.
    `kinds` are bool[V]: which values are tokens, which of them are spaces, and the end.
    """
    known_V, space_V, end_V = kinds

    def advance(carry: Any, x_1BT: jax.Array, site: jax.Array) -> tuple[Any, jax.Array]:
        return carry, jnp.where(known_V, _next(model, params, context, x_1BT[0], site), -jnp.inf)[None]

    def completes(x_T: jax.Array, site: jax.Array) -> jax.Array:
        before_T = (jnp.arange(len(x_T)) >= start) & (jnp.arange(len(x_T)) < site)
        return end_V | (space_V & (before_T & ~space_V[x_T]).any())

    search = BeamSearch(advance, jnp.arange(x_BT.shape[1]), start, stop, completes, num)
    state = search((), x_BT[:1], len(x_BT))
    return state.complete, state.going
