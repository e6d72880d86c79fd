"""Speculative sampling: a draft proposes several steps, and the model verifies them in one call."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from arjax.core.errors import refuse, say_once
from arjax.core.options import opt
from arjax.networks.base import chunk_of
from arjax.samplers.base import SAMPLERS, Draw, Sampler, Steps, per_example
from arjax.samplers.drafts.base import Draft, Place, Proposal, Target, has_probabilities, log_table, make_draft
from arjax.samplers.loops import num_calls

#: `(steps, keys[S], canvas, t, features [k, M, F], proposal) -> (values [k, M, v], how many proposals are right)`
Accept = Callable[[Steps, jax.Array, jax.Array, jax.Array, jax.Array, Proposal], tuple[jax.Array, jax.Array]]


class Window(NamedTuple):
    """One example in the loop."""

    canvas: jax.Array  # [1, *grid, *value], in which all steps before t are committed
    t: jax.Array  # the next step
    carry: Any  # of the network before step t
    drafted: Any  # the state of the draft
    calls: jax.Array  # of the network, so far
    accepted: jax.Array  # proposals that were right: steps committed beside the one that each verifying call adds


def tell_window(owner: str, window: int, usual: int, num_steps: int) -> None:
    """Says on stderr that a window other than the usual one is longer than the steps of the model."""
    if window > num_steps and window != usual:
        say_once(f"the window of {owner}, {window}, is longer than the {num_steps} steps of the model, and cut to them")


def draw_in_windows(
    model: Any, params: Any, steps: Steps, canvas: jax.Array, context: Any, window: int, draft: Draft, accept: Accept
) -> Draw:
    """Draws by windows: a draft proposes the values of the next W - 1 steps, the network reads W steps in one call, and
    the first n of them are committed, 1 <= n <= W: those whose proposals are right, and one more. Every example has its
    own step t, so none waits for another. The canvas has guesses at unobserved sites, where the draft reads them.
    """
    network, num_steps, num = model.network, model.factorization.num_steps, len(canvas)
    target, window = Target.of(model, params, steps, draft), min(window, num_steps)
    with_log_q = accept is accept_by_rejection
    keys_BS, each = jnp.swapaxes(steps.keys_SB, 0, 1), over_examples(num)
    # Proposals that are only like the values to be drawn have noise of their own.
    proposing_BS = jax.vmap(jax.vmap(lambda key: jax.random.fold_in(key, 1)))(keys_BS) if with_log_q else keys_BS
    canvas, context = jax.tree.map(lambda leaf: leaf[:, None], (canvas, context))
    chunk = chunk_of(network) if chunk_of(network) > 1 else window
    first = _begin(target, draft, canvas, context, min(chunk, num_steps))

    body = each(functools.partial(_round, target, draft, accept, window, with_log_q))

    def loop(state: tuple[Window, jax.Array]) -> tuple[Window, jax.Array]:
        return body((keys_BS, proposing_BS), context, state[0]), state[1] + 1

    def going(state: tuple[Window, jax.Array], end: int) -> jax.Array:
        t_B = state[0].t
        return (t_B < num_steps).any() & ((t_B <= end) | (t_B == num_steps)).all()

    last, rounds = first, jnp.int32(0)
    grows = "grows" in network.traits and not draft.target_calls
    for end in target.form.ends if grows else [num_steps]:
        if grows:
            grown = lambda carry, past, end=end: target.form.loop_carry(carry, end + window, past)  # noqa: E731
            last = last._replace(carry=each(grown)(first.carry, None if last is first else last.carry))
        last, rounds = jax.lax.while_loop(functools.partial(going, end=end), loop, (last, rounds))
    x = last.canvas[:, 0]
    stats = {"network_calls": last.calls, "accepted": last.accepted, "batch_rounds": per_example(x, rounds)}
    return Draw(x, stats)


def _begin(target: Target, draft: Draft, canvas: jax.Array, context: Any, chunk: int) -> Window:
    """Returns the examples [B, 1, ...] before the first window: the prompt is read, `chunk` steps in one call."""
    steps, num = target.steps, len(canvas)
    prompt = steps.prompt()

    def read(canvas_1: jax.Array, context_1: Any) -> tuple[Any, Any]:
        carry = target.form.read_prompt(canvas_1, context_1, prompt, chunk)
        return carry, draft.begin(target, canvas_1, context_1, prompt)

    if steps.shared:
        one = read(*jax.tree.map(lambda leaf: leaf[0], (canvas, context)))
        carry, drafted = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num, *jnp.shape(leaf))), one)
    else:
        carry, drafted = over_examples(num)(read)(canvas, context)
    zeros = jnp.zeros(num, jnp.int32)
    return Window(canvas, zeros + prompt, carry, drafted, zeros + num_calls(carry, prompt, chunk), zeros)


def _round(
    target: Target,
    draft: Draft,
    accept: Accept,
    window: int,
    with_log_q: bool,
    keys: tuple[jax.Array, jax.Array],
    context: Any,
    state: Window,
) -> Window:
    """One call of the network for one example: n steps more, none where the example is finished."""
    (model, form, steps, _), (canvas, t, carry, drafted, calls, accepted) = target, state
    factorization, going = model.factorization, t < model.factorization.num_steps
    keys_S, proposing_S = keys
    place = Place(canvas, context, carry, t)
    after, proposal = draft.propose(target, drafted, place, window - 1, proposing_S, with_log_q)
    canvas = steps.place(canvas, t, proposal.values)
    carries, features = form.extend(carry, canvas, t, window, context)
    values, right = accept(steps, keys_S, canvas, t, features[0], proposal)
    n = jnp.where(going, jnp.minimum(right + 1, factorization.num_steps - t), 0)
    canvas, next_t = steps.place(canvas, t, values), t + n
    if steps.ends:
        ended = steps.ends.ended(canvas.reshape(1, -1), next_t)[0]
        next_t = jnp.where(ended, factorization.num_steps, next_t)
    return Window(
        canvas=canvas,
        t=next_t,
        carry=form.keep(carries, n),
        drafted=draft.keep(target, drafted, after, place._replace(canvas=canvas), n, window),
        calls=calls + jnp.where(going, 1 + draft.target_calls, 0),
        accepted=accepted + jnp.maximum(n - 1, 0),
    )


def over_examples(num: int) -> Callable[[Callable], Callable]:
    """Maps over all examples; for one without a batch axis, which would turn writes in place into scatters."""
    if num > 1:
        return jax.vmap

    def only(function: Callable) -> Callable:
        def mapped(*args: Any) -> Any:
            result = function(*jax.tree.map(lambda leaf: leaf[0], args))
            return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], result)

        return mapped

    return only


def leading(right_k: jax.Array) -> jax.Array:
    """Returns how many entries at the beginning of bool[k] are True."""
    return jnp.cumprod(right_k.astype(jnp.int32)).sum()


def accept_by_keys(
    steps: Steps, keys_S: jax.Array, canvas: jax.Array, t: jax.Array, features: jax.Array, proposal: Proposal
) -> tuple[jax.Array, jax.Array]:
    """Returns the values of the naive sampler under the same keys; a proposal is right where it is that value."""
    values = steps.window_values(keys_S, canvas, t, features)
    return values, leading(steps.same(t, values[:-1], proposal.values))


#: The window where none is given.
USUAL = 8
#: Parts of the noise of a step under the coupling by rejection; 1 is that of the proposal.
ACCEPT, REDRAW = 2, 3


@SAMPLERS.register("speculative")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Speculative(Sampler):
    """Draws from the model by verifying the proposals of a draft, several steps in one call (Leviathan, Kalman &
    Matias, "Fast Inference from Transformers via Speculative Decoding", 2023, algorithm 1).

    Options: `draft`: "counts(order=3)", n-grams of the training split; "self", for networks that predict from any set
    of observed sites; or the folder of another run. `window` W: steps that are verified in one call, of which W - 1 are
    proposed. `coupling`: "keys", draft and model share the noise of each step, and the values are those of the naive
    sampler; "rejection", a proposal is accepted with probability min(1, p / q), else the value is drawn from the
    positive part of p - q: other values of the same distribution, and more accepted proposals.
    """

    draft: str = opt("counts(order=3)")
    window: int = opt(USUAL, least=2)
    coupling: str = opt("keys", choices=("keys", "rejection"))
    source: Draft | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self):
        if self.source is None:
            object.__setattr__(self, "source", make_draft(self.draft))

    def check(self, model):
        tell_window("speculative", self.window, USUAL, model.factorization.num_steps)
        by_rejection = self.coupling == "rejection"
        unlisted = by_rejection and not has_probabilities(model.conditional, model.factorization)
        needs = "speculative(coupling='rejection') needs a list of the probabilities of each value"
        refuse((unlisted, f"{needs}, which this model lacks: take coupling='keys'"))
        self.source.check(model, by_rejection)

    def opened(self, model, open_run):
        return dataclasses.replace(self, source=self.source.opened(model, open_run, self.coupling == "rejection"))

    def draw(self, model, params, steps, canvas, context):
        accept = accept_by_keys if self.coupling == "keys" else accept_by_rejection
        return draw_in_windows(model, params, steps, canvas, context, self.window, self.source, accept)


def accept_by_rejection(
    steps: Steps, keys_S: jax.Array, canvas: jax.Array, t: jax.Array, features: jax.Array, proposal: Proposal
) -> tuple[jax.Array, jax.Array]:
    """Each scalar of a proposal stays with probability min(1, p / q), else it is drawn from max(p - q, 0) normalised; a
    step is right if all its scalars stay, and the step behind the proposals is drawn from p. Whether a step is examined
    does not depend on its noise, so the noise may be used again when the step is proposed again.
    """
    log_p = log_table(steps.head, features, steps.temperature)  # [W, M, *value, V]
    log_q = proposal.log_q
    assert log_q is not None
    last = steps.factorization.num_steps - 1
    keys = keys_S[jnp.minimum(t + jnp.arange(len(log_p)), last)]
    shape = log_p.shape[:-1]
    proposed = proposal.values.reshape(shape[0] - 1, *shape[1:]).astype(jnp.int32)

    def one(key: jax.Array, log_p: jax.Array, log_q: jax.Array, value: jax.Array) -> jax.Array:
        ratio = jnp.take_along_axis(log_p - log_q, value[..., None], -1)[..., 0]
        uniform = jax.random.uniform(jax.random.fold_in(key, ACCEPT), value.shape)
        stays = uniform < jnp.exp(jnp.minimum(ratio, 0.0))
        rest = jnp.maximum(jnp.exp(log_p) - jnp.exp(log_q), 0.0)
        # Rounding may leave nothing of p - q where p = q: then any draw from p does.
        rest = jnp.where(rest.sum(-1, keepdims=True) > 0, rest, jnp.exp(log_p))
        redrawn = jax.random.categorical(jax.random.fold_in(key, REDRAW), jnp.log(rest)).astype(jnp.int32)
        return jnp.where(stays, value, redrawn)  # never the proposal: there p < q

    values = jax.vmap(one)(keys[:-1], log_p[:-1], log_q, proposed)
    behind = jax.random.categorical(jax.random.fold_in(keys[-1], REDRAW), log_p[-1]).astype(jnp.int32)
    values = jnp.concatenate([values, behind[None]]).reshape(shape[0], shape[1], -1)
    return values.astype(canvas.dtype), leading(steps.same(t, values[:-1], proposal.values))
