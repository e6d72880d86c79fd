"""Cascades: p(x) = p(c_1) p(c_2 | c_1) ..., from coarse to fine, with a model of any kind for each stage."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.base import CONDITIONAL
from arjax.conditionals.restricted import Limited
from arjax.core.batch import Batch, Score
from arjax.core.errors import UserError, refuse
from arjax.core.scores import weakest
from arjax.core.spec import ContextSpec, EventSpec
from arjax.core.traits import traits
from arjax.models import extras
from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.base import Model, Params, folded, in_types, inherited, key_needed
from arjax.models.checks import as_values
from arjax.models.draws import added_stats, check_draws, check_taken, draw_part, step_keys
from arjax.models.kinds import KINDS, Example, ModelChoice, Recipe
from arjax.networks.beside import Beside
from arjax.samplers import PLAIN_DRAW, Draw, Request, Sampler
from arjax.stages import Stages, make_stages

SHARED = "shared"
#: The part of a context with the limits of the values at each site, the lowest and the highest.
LIMITS = "limits of the stage"


def _small(stages: str, *networks: str, **options: Any) -> ModelChoice:
    sizes: dict[str, dict[str, Any]] = {"made": {"hidden_sizes": (10,)}, "independent": {"width": 4, "num_blocks": 1}}
    named = {str(k): ModelChoice(network=name, network_options=sizes[name]) for k, name in enumerate(networks, 1)}
    parts = {SHARED: named["1"]} if len(networks) == 1 else named
    return ModelChoice("cascade", {"stages": stages, **options}, parts=parts)


@KINDS.register("cascade")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class CascadeModel(Model):
    """Stages from coarse to fine: p(x | c) = prod_k p(c_k | c_<k, c), with a part for each stage, or one for all.

    Exact where the parts are and the stages are a bijection of x (digits, sub-sampled scales, Haar); otherwise a bound,
    see `arjax.stages`. Parts "1", "2", ... are models of any kind, which read the earlier stages at their own sites as
    the part "coarse" of their context, beside the context of the cascade. One part "shared" models all stages that are
    alike, such as digits: it reads the earlier ones and the number of the stage. Where earlier stages exclude values of
    a stage (the differences of Haar, the last digits of a number of levels that is no power), the table of its
    conditional is restricted to the others, so no probability is lost.

    Attributes:
      stages: a call string, such as `digits(base=16)`, `subsampled(levels=2)`, `haar` or `averaged`.
      train_stages: of one part for all, the number of stages of each example that a score in training takes, drawn at
        random; 0: all. The mean over the draws is the whole score.
    """

    event: EventSpec = dataclasses.field(metadata={"static": True})
    stages: str = dataclasses.field(metadata={"static": True})
    parts: tuple[Model, ...]
    train_stages: int = dataclasses.field(metadata={"static": True})

    takes: ClassVar[frozenset[str]] = frozenset(
        {"sampler", "given", "observed", "temperature", "top_k", "top_p", "min_p", "coarse"}
    )
    EXAMPLES = {
        "digits": Example(
            _small("digits(base=2)", "made", "made", "independent"),
            EventSpec((2,), (), "levels", 6),
            ContextSpec("label", 3),
        ),
        "shared": Example(_small("digits(base=3)", "made"), EventSpec((2,), (), "levels", 8)),
        "subsampled": Example(_small("subsampled", "made", "made"), EventSpec((4,), (), "tokens", 3)),
        "haar": Example(_small("haar", "made", "independent", "made"), EventSpec((2, 2), (), "levels", 3)),
        "averaged": Example(_small("averaged", "made", "made"), EventSpec((4,))),
    }

    @classmethod
    def make(cls, recipe: Recipe, *, stages: str = "digits", train_stages: int = 0) -> CascadeModel:
        """Returns the cascade of its parts; the options are the fields."""
        cut = make_stages(stages, recipe.event)
        names = (SHARED,) if SHARED in recipe.choice.parts else tuple(str(k) for k in range(1, len(cut.events) + 1))
        recipe.only(*names)
        wanted = _wanted(cut, recipe.context, names == (SHARED,))

        def examples(k: int) -> Any:
            if recipe.examples is None or names == (SHARED,):
                return None
            return lambda: np.asarray(cut.split(recipe.all_examples())[k])

        num, apart = len(cut.events), "train_stages is for one part 'shared' of all stages: others learn one stage each"
        refuse(
            (train_stages > num, f"train_stages must be from 0 to {num}, the number of stages, not {train_stages}"),
            (train_stages and names != (SHARED,), apart),
        )
        parts = [
            recipe.part(name, *each, examples=examples(k))
            for k, (name, each) in enumerate(zip(names, wanted, strict=True))
        ]
        model = cls(recipe.event, cut.call, tuple(parts), train_stages)
        for k in range(num):
            model.model_of(k)  # refuses a part that cannot be limited
        return model

    @functools.cached_property
    def cut(self) -> Stages:
        return make_stages(self.stages, self.event)

    @property
    def shared(self) -> bool:
        return len(self.parts) == 1

    def _name(self, k: int) -> str:
        """Returns the name of the part that models stage k."""
        return SHARED if self.shared else str(k + 1)

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={part!r}" for name, part in self.named_parts.items())
        return f"CascadeModel({self.stages}; {parts})"

    @property
    def score_kind(self) -> str:
        """The kind of the weakest part; at most a bound where the stages are no bijection."""
        return weakest("exact" if self.cut.exact else "bound", *(part.score_kind for part in self.parts))

    @property
    def traits(self) -> frozenset[str]:
        return inherited(self) | traits(training_loss=any("training_loss" in part.traits for part in self.parts))

    @property
    def context_spec(self) -> ContextSpec:
        """The context of all parts, without the stages that they read."""
        spec, first = self.parts[0].context_spec, self.cut.shared_context if self.shared else ContextSpec()
        of_stages = {name for name, _ in first.parts}
        return spec.only(name for name, _ in spec.parts if name not in of_stages)

    @property
    def named_parts(self) -> dict[str, Model]:
        return {self._name(k): part for k, part in enumerate(self.parts)}

    def _limited(self, k: int) -> bool:
        """Returns whether the values of stage k are limited; with one part for all stages, whether any stage is."""
        return any(map(self.cut.limited, range(len(self.cut.events)))) if self.shared else self.cut.limited(k)

    def model_of(self, k: int) -> Model:
        """Returns the model of stage k, counted from 0, limited where it has to be."""
        part = self.named_parts[self._name(k)]
        if not self._limited(k):
            return part
        try:
            return limited_model(part)
        except UserError as error:
            raise UserError(f"the part {self._name(k)!r} of a cascade of {self.stages}: {error}") from error

    def params_of(self, k: int, params: Params) -> Params:
        """Returns the parameters of the model of stage k from the parameters of the cascade."""
        of_part = params[self._name(k)]
        return limited_params(of_part) if self._limited(k) else of_part

    def stage_context(self, k: int, before: Sequence[jax.Array], num: int) -> dict[str, jax.Array]:
        """Returns the context by which the model of stage k reads the earlier stages of `num` examples."""
        context = self.cut.context_of_shared(k, before, num) if self.shared else self.cut.context(k, before)
        if self._limited(k):
            event = self.cut.events[k]
            zeros = jnp.zeros((num, *event.shape))
            limits = self.cut.limits(k, before, num) or (zeros, zeros + event.num_levels - 1)
            context[LIMITS] = jnp.stack(limits, 1 + len(event.grid_shape)).astype(jnp.float32)
        return context

    def score(self, params: Params, batch: Batch, *, key: jax.Array | None = None, train: bool = False) -> Score:
        """Returns the sum of the scores of the stages, with the terms `stage_1`, ...; in training, where parts have
        losses of their own, minus the sum of the losses, with the name of that loss or "sum_of_losses".
        """
        x, context = in_types(self, batch.x, batch.context)
        parts, num = self.cut.split(x), len(batch)
        masks = [None] * len(parts) if batch.mask is None else self.cut.masks(jnp.asarray(batch.mask) > 0)
        contexts = [{**(context or {}), **self.stage_context(k, parts[:k], num)} for k in range(len(parts))]
        stages = [batch.replace(x=part, context=c, mask=m) for part, c, m in zip(parts, contexts, masks, strict=True)]
        if train and self.train_stages:
            return self._score_of_some(params, stages, key_needed(key, "the stages of a step are drawn"))
        scores = [
            self.model_of(k).score(self.params_of(k, params), stage, key=folded(key, k), train=train)
            for k, stage in enumerate(stages)
        ]
        terms = {f"stage_{k}": -score.log_prob for k, score in enumerate(scores, 1)}
        total_B = sum(terms.values(), jnp.zeros(num))
        if train and "training_loss" in self.traits:
            return Score(-total_B, "none", {_loss_name(scores): total_B})
        return Score(-total_B, self.score_kind, terms)

    def _score_of_some(self, params: Params, stages: Sequence[Batch], key: jax.Array) -> Score:
        """Returns n / m times the score in training of m stages of each example, drawn without replacement."""
        num, examples = len(stages), len(stages[0])
        stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *stages)
        keys = jax.random.split(jax.random.fold_in(key, 2 * num), examples)
        chosen_Bn = jax.vmap(lambda each: jax.random.permutation(each, num))(keys)
        total, take = jnp.zeros(examples), jax.vmap(lambda k, values: values[k], (0, 1))
        for i in range(self.train_stages):
            batch = jax.tree.map(functools.partial(take, chosen_Bn[:, i]), stacked)
            of_draw = jax.random.fold_in(key, i)
            score = self.model_of(0).score(self.params_of(0, params), batch, key=of_draw, train=True)
            total += score.log_prob
        total = total * num / self.train_stages
        if "training_loss" in self.traits:
            return Score(total, "none", {_loss_name([score]): -total})
        return Score(total, self.score_kind)

    def draw_examples(
        self, params: Params, keys: jax.Array, sampler: Sampler, options: Request, coarse: Sequence[Any] = ()
    ) -> Draw:
        """Draws stage by stage. `observed` sites must be whole stages, from the first on, and some sites of the next
        one, so that the draw is exact. `coarse` are given values of the first stages, [B, ...] each.
        """
        num, cut = len(keys), self.cut
        known = self._known(options, coarse)
        parts: list[jax.Array] = []
        stats: dict[str, jax.Array] = {}
        for k in range(len(cut.events)):
            given, observed = known[k]
            if observed is True:
                parts.append(given)
                continue
            context = {**(options.context or {}), **self.stage_context(k, parts, num)}
            of_stage = {"context": context or None, "given": given, "observed": observed, "shared": False}
            arguments = self.params_of(k, params), step_keys(keys, k), sampler, dataclasses.replace(options, **of_stage)
            drawn = draw_part(self.model_of(k), *arguments)
            parts.append(drawn.x)
            added = added_stats(stats, drawn.stats)
            stats = {name: added[name] for name in added if not stats or name in stats}  # those of all stages
        none = jnp.zeros(num, jnp.int32)
        return Draw(cut.join(parts), stats or {"network_calls": none, "steps": none})

    def _known(self, options: Request, coarse: Sequence[Any]) -> list[tuple[Any, Any]]:
        """Returns each stage's values, and where they are known: at all sites (True), bool[*grid], or none (None)."""
        events, both = self.cut.events, len(coarse) and options.observed is not None
        most = len(events) - 1
        refuse(
            (len(coarse) > most, f"coarse holds at most {most} stages, the first ones, not {len(coarse)}"),
            (both, "the known values of a draw are coarse stages or observed sites, not both"),
        )
        if options.observed is None:
            known = [(as_values(event, values, "coarse"), True) for event, values in zip(events, coarse, strict=False)]
            return known + [(None, None)] * (len(events) - len(coarse))
        with jax.ensure_compile_time_eval():
            masks = [np.asarray(mask[0], bool) for mask in self.cut.masks(jnp.asarray(options.observed)[None])]
        parts = self.cut.split(options.given)
        open_since = next((k for k, mask in enumerate(masks) if not mask.all()), len(masks))
        late = next((k for k, mask in enumerate(masks) if k > open_since and mask.any()), None)
        if late is not None:
            raise UserError(
                f"this cascade cannot condition on the observed sites: it draws a site of stage {open_since + 1} "
                f"before an observed one of stage {late + 1}; observe whole stages, from the first on"
            )
        how = [True if mask.all() else mask if mask.any() else None for mask in masks]
        return [(None if each is None else part, each) for part, each in zip(parts, how, strict=True)]


def _loss_name(scores: Sequence[Score]) -> str:
    """Returns the name of the loss that all scores are, or "sum_of_losses"."""
    names = {tuple(score.terms) if score.kind == "none" else () for score in scores}
    (only, *others) = names
    return "sum_of_losses" if others else only[0]


@extras.model_in_words.register(CascadeModel)
def _(model: CascadeModel) -> str:
    return f"cascade of {model.stages}: {'; '.join(map(extras.model_in_words, model.parts))}"


@check_draws.register(CascadeModel)
def _(model: CascadeModel, sampler: Sampler, options: Request = PLAIN_DRAW) -> None:
    check_taken(model, options)
    refuse((sampler.has_arrays, "a cascade draws with one sampler for all stages: take one without a draft of its own"))
    plain = dataclasses.replace(options, given=None, observed=None)
    for k in range(len(model.cut.events)):
        check_draws(model.model_of(k), sampler, plain)


def _wanted(cut: Stages, context: ContextSpec, shared: bool) -> list[tuple[EventSpec, ContextSpec]]:
    """Returns the event and the context of each part."""
    contexts = [cut.shared_context] if shared else cut.contexts
    specs = []
    for event, spec in zip(cut.events, contexts, strict=False):
        whole = context
        for name, part in spec.parts:
            taken = name in dict(context.parts)
            refuse((taken, f"a cascade adds the part {name!r} to the context, and one of this name is there"))
            whole = whole.with_part(name, part, local=name in spec.local)
        specs.append((event, whole))
    return specs


def limited_model(part: Any) -> AutoregressiveModel:
    """Returns the model with values that are limited by the part `LIMITS` of its context, [B, *grid, 2, *value]."""
    lists = f"with a conditional that lists the probabilities of all values, not {type(part).__name__}"
    needs = "the earlier stages limit its values, so it has to be of the kind autoregressive"
    refuse(("conditionals" not in part.traits, f"{needs}, {lists}"))
    event = part.event
    limits = EventSpec(event.grid_shape, (2, *event.value_shape), "real")
    spec = part.context_spec.with_part(LIMITS, limits)
    network = Beside.of(part.network, LIMITS, spec, 2 * event.value_size)
    return dataclasses.replace(part, network=network, conditional=Limited(part.conditional))


def limited_params(params: Params) -> Params:
    """Returns the parameters of a `limited_model` from the parameters of the model."""
    network = {name: leaf for name, leaf in params.items() if name != CONDITIONAL}
    of_conditional = {CONDITIONAL: params[CONDITIONAL]} if CONDITIONAL in params else {}
    return ({"inner": network} if network else {}) | of_conditional
