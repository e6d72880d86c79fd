"""Suggestions of a keyboard: the most probable next characters after a prompt, and continuations of it."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import numpy as np

from arjax.conditionals.blocks import scores_blocks
from arjax.core.errors import UserError
from arjax.data import Dataset
from arjax.data.vocabulary import Vocabulary
from arjax.evaluation.prompts import encode_prompt, text_of
from arjax.factorization import Factorization
from arjax.models import AutoregressiveModel
from arjax.models.checks import as_context
from arjax.models.queries import evidence_first


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """A continuation of a prompt.

    Attributes:
      text: the characters; `<end>` where a string ends.
      log_prob: log p(these characters | the prompt) in nats, exact.
      complete: whether it ends with a space, a line or the string; else it was cut at the length asked for.
    """

    text: str
    log_prob: float
    complete: bool = True

    @property
    def probability(self) -> float:
        """p(these characters | the prompt)."""
        return math.exp(self.log_prob)


@dataclasses.dataclass(frozen=True)
class Suggestions:
    """Continuations of a prompt, most probable first.

    Attributes:
      prompt: the part of the prompt that was read: all of it, or its last characters where windows are shorter.
      num_dropped: the number of characters before these, which were not read.
      next: single tokens.
      continuations: texts up to and with the first space (or newline) behind another character, or the end.
    """

    prompt: str
    num_dropped: int
    next: tuple[Suggestion, ...]
    continuations: tuple[Suggestion, ...]

    def __str__(self) -> str:
        def lines(title: str, found: tuple[Suggestion, ...]) -> list[str]:
            return [f"{title} after {self.prompt!r}:", *(f"  {s.probability:.4f}  {s.text!r}" for s in found)]

        return "\n".join(lines("next", self.next) + lines("continuations", self.continuations))


def suggest(
    model: AutoregressiveModel,
    params: Any,
    dataset: Dataset,
    prompt: str = "",
    *,
    num: int = 5,
    length: int = 16,
    beams: int = 16,
    context: Any = None,
) -> Suggestions:
    """The most probable next characters after a prompt, and the most probable continuations that beam search finds.

    Every probability is exact: a product of conditionals of the model, in an order that visits the prompt and then the
    sites behind it one after another. Beam search keeps the `beams` most probable beginnings of each length, so it may
    miss a continuation with an improbable beginning (Graves, "Sequence Transduction with Recurrent Neural Networks",
    2012, section 2.4; here without its merging of prefixes).

    Args:
      model: a model of text.
      params: its parameters.
      dataset: has the vocabulary.
      prompt: the characters before. Windows of a long text may begin anywhere: of a prompt that does not fit together
        with `length` further characters, only the last characters are read. The prompt of a string has to fit.
      num: the most suggestions of each kind.
      length: tokens of the longest continuation.
      beams: breadth of the search.
      context: of one example, for a model that has one.

    Raises:
      UserError: the data is no text, a character has no token, the prompt does not fit, numbers below 1, an order that
        cannot visit the prompt first, or conditionals that have no table of probabilities.
    """
    if min(num, length, beams) < 1:
        raise UserError(f"num, length and beams must be at least 1, not {num}, {length} and {beams}")
    vocabulary = text_of(dataset)
    tokens_K, num_dropped, num_further = _read(vocabulary, dataset, prompt, length)
    start, num_sites = len(tokens_K), model.event.num_sites
    sites_TD = np.eye(num_sites, dtype=bool)
    factorization = evidence_first(model, np.arange(num_sites) < start, *sites_TD[start : start + num_further])
    _check_table(model, factorization)
    model = dataclasses.replace(model, factorization=factorization, orders=None)
    table = functools.partial(_next, model, params, as_context(model.context_spec, context, beams, one_for_all=True))
    x_BT = np.zeros((beams, num_sites), np.int32)
    x_BT[:, :start] = tokens_K
    first_V = np.asarray(table(x_BT, start), np.float64)[0]
    best = np.argsort(-first_V, kind="stable")[:num]
    return Suggestions(
        prompt=prompt[num_dropped:] if vocabulary.unit == "char" else vocabulary.decode(tokens_K),
        num_dropped=num_dropped,
        next=tuple(Suggestion(vocabulary.symbols[v], float(first_V[v])) for v in best if v < len(vocabulary)),
        continuations=_search(vocabulary, table, x_BT, start, num_further, num),
    )


def _read(vocabulary: Vocabulary, dataset: Dataset, prompt: str, length: int) -> tuple[np.ndarray, int, int]:
    """The tokens of the prompt that are read, the number of those that are not, and the most tokens that may follow."""
    tokens_K, num_sites = encode_prompt(dataset, prompt), dataset.event.num_sites
    if vocabulary.end is not None:
        if len(tokens_K) >= num_sites:
            raise UserError(
                f"the prompt has {len(tokens_K)} {vocabulary.units}, but no string of {dataset.name!r} has more than "
                f"{num_sites - 1}"
            )
        return tokens_K, 0, min(length, num_sites - len(tokens_K))
    num_further = min(length, (num_sites + 1) // 2)
    num_dropped = max(len(tokens_K) - (num_sites - num_further), 0)
    return tokens_K[num_dropped:], num_dropped, num_further


def _check_table(model: AutoregressiveModel, factorization: Factorization) -> None:
    """Raises `UserError` where a site has no list of the probabilities of its values, given earlier steps alone."""
    head = model.conditional
    try:
        if scores_blocks(head, factorization):
            raise UserError("the sites of a step are scored together")
        jax.eval_shape(head.log_table, jax.ShapeDtypeStruct((head.num_params,), np.float32))
    except UserError as error:
        raise UserError(
            "suggestions need a list of the probabilities of single characters, which this conditional does not have"
        ) from error


@jax.jit
def _next(model: AutoregressiveModel, params: Any, context: Any, x_BT: jax.Array, site: jax.Array) -> jax.Array:
    """log p of each value of a site given the sites of earlier steps, float32[B, V]."""
    features_BTF = model.features(params, x_BT, context=context)
    return model.head(params).log_table(features_BTF[:, site])


def _search(
    vocabulary: Vocabulary, table: Any, x_BT: np.ndarray, start: int, num_further: int, num: int
) -> tuple[Suggestion, ...]:
    """Beam search for the most probable continuations of at most `num_further` tokens."""
    beams, finished = len(x_BT), []
    x_BT, log_p_B = x_BT.copy(), np.where(np.arange(len(x_BT)) == 0, 0.0, -np.inf)
    for site in range(start, start + num_further):
        log_p_BV = log_p_B[:, None] + np.asarray(table(x_BT, site), np.float64)
        log_p_BV[:, len(vocabulary) :] = -np.inf  # an alphabet of one character has a second level
        going = []
        for flat in np.argsort(-log_p_BV, axis=None, kind="stable"):
            b, v = divmod(int(flat), log_p_BV.shape[1])
            tokens, log_p = [*x_BT[b, start:site].tolist(), v], float(log_p_BV[b, v])
            if len(going) == beams or log_p == -np.inf:
                break
            if _is_complete(vocabulary, tokens):
                finished.append(Suggestion(_text(vocabulary, tokens), log_p))
            else:
                going.append((tokens, log_p))
        finished = sorted(finished, key=lambda each: -each.log_prob)[:num]
        # Longer continuations are never more probable.
        if not going or (len(finished) == num and finished[-1].log_prob >= going[0][1]):
            going = []
            break
        x_BT[: len(going), start : site + 1] = [tokens for tokens, _ in going]
        log_p_B = np.full(beams, -np.inf)
        log_p_B[: len(going)] = [log_p for _, log_p in going]
    finished += [Suggestion(_text(vocabulary, tokens), log_p, complete=False) for tokens, log_p in going]
    return tuple(sorted(finished, key=lambda each: -each.log_prob)[:num])


def _is_complete(vocabulary: Vocabulary, tokens: list[int]) -> bool:
    """Whether a continuation ends: with the string, or with a space behind another character."""
    if tokens[-1] == vocabulary.end:
        return True
    spaces = [vocabulary.symbols[token].isspace() for token in tokens]
    return spaces[-1] and not all(spaces)


def _text(vocabulary: Vocabulary, tokens: list[int]) -> str:
    ended = tokens[-1] == vocabulary.end
    return vocabulary.decode(np.array(tokens)) + vocabulary.symbols[tokens[-1]] * ended
