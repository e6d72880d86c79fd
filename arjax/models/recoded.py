"""Recoded data: one model of all parts of an example, which lie one behind another on a longer grid."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.batch import Array, Batch, Score
from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models.base import Model, Params
from arjax.models.cascade import StagedModel
from arjax.models.checks import check_params
from arjax.models.kinds import KINDS, Example, ModelChoice, Recipe
from arjax.samplers import PLAIN_DRAW, Draw, DrawOptions, Resources, Sampler
from arjax.stages import Stages, make_stages

#: The name of the part.
MODEL = "model"


@KINDS.register("recoded")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class RecodedModel(StagedModel):
    """Digits as sites: one model, the part `model`, of all digits of all sites. p(x | c) = p(its digits | c), exact.

    The n parts of an example that the stages cut it into lie one behind another along the first axis: a grid (H, W)
    becomes (n H, W). In raster order the model draws all first digits, then all second ones; the ordering `interleaved`
    has all digits of a site in a row. Every network, order and conditional works, as for data that come as digits.

    For stages that are a bijection, with parts that are alike and not limited: digits of a power of the base, or
    sub-sampled scales that are `apart`.

    Attributes:
      event: shape and kind of x.
      stages: the call string of the stages.
      model: of the parts on the longer grid.
    """

    event: EventSpec = dataclasses.field(metadata={"static": True})
    stages: str = dataclasses.field(metadata={"static": True})
    model: Model

    EXAMPLES = {
        "digits": Example(
            ModelChoice(
                "recoded",
                {"stages": "digits(base=2)"},
                parts={MODEL: ModelChoice(options={"ordering": "interleaved"}, network="made")},
            ),
            EventSpec((3,), (), "levels", 4),
            ContextSpec("label", 3),
        )
    }

    @classmethod
    def make(cls, recipe: Recipe, *, stages: str = "digits") -> RecodedModel:
        """The model of the part `model`. `stages`: a call string, such as `digits(base=16)`."""
        recipe.only(MODEL)
        cut = make_stages(stages, recipe.event)
        _check_alike(cut)

        def examples() -> np.ndarray:
            return np.asarray(_stack(cut, jnp.asarray(recipe.all_examples())))

        stacked = None if recipe.examples is None else examples
        return cls(recipe.event, cut.call, recipe.part(MODEL, stacked_event(cut), examples=stacked))

    def __repr__(self) -> str:
        return f"RecodedModel({self.stages}; {self.model!r})"

    def in_words(self) -> str:
        return f"{self.stages} by {self.model.in_words()}"

    @property
    def kind(self) -> str:
        return self.model.kind

    @property
    def own_loss(self) -> str:
        return self.model.own_loss

    @property
    def context_spec(self) -> ContextSpec:
        return self.model.context_spec

    @property
    def named_parts(self) -> dict[str, Model]:
        return {MODEL: self.model}

    def init(self, key: jax.Array) -> Params:
        return {MODEL: self.model.init(key)}

    def recoded(self, batch: Batch) -> Batch:
        """The batch that the model scores."""
        checked = self.checked_batch(batch.x, batch.context, batch.mask)
        mask = None if checked.mask is None else jnp.concatenate(self.cut.masks(checked.mask), 1)
        return batch.replace(x=_stack(self.cut, checked.x), mask=mask)

    def score(self, params: Params, batch: Batch, *, key: jax.Array | None = None, train: bool = False) -> Score:
        check_params(self.param_shapes, params)
        return self.model.score(params[MODEL], self.recoded(batch), key=key, train=train)

    def train_score(self, params: Params, batch: Batch, *, key: jax.Array | None = None) -> Score:
        check_params(self.param_shapes, params)
        return self.model.train_score(params[MODEL], self.recoded(batch), key=key)

    def check_draws(self, sampler: Sampler, options: DrawOptions = PLAIN_DRAW) -> None:
        self.refuse(options)
        if sampler.has_arrays:
            raise UserError("recoded data are drawn by a sampler without a draft of its own")
        self.model.check_draws(sampler, dataclasses.replace(options, given=None, observed=None))

    def prepare_sampler(self, sampler: Sampler, params: Params, resources: Resources) -> Sampler:
        self.check_draws(sampler)
        return self.model.prepare_sampler(sampler, params[MODEL], resources)

    def draw_examples(self, params: Params, keys: jax.Array, sampler: Sampler, options: DrawOptions) -> Draw:
        """The digits by the sampler, joined; an observed site is one with all its digits."""
        if options.observed is not None and options.given is not None:
            given, masks = self.split_known(len(keys), options)
            options = dataclasses.replace(options, given=jnp.concatenate(given, 1), observed=np.concatenate(masks))
        drawn = self.model.draw(params[MODEL], keys, options, sampler=sampler)
        return Draw(self.cut.join(jnp.split(drawn.x, len(self.cut.events), axis=1)), drawn.stats)


def stacked_event(cut: Stages) -> EventSpec:
    """The event of all parts, one behind another along the first axis."""
    first = cut.events[0]
    grid = (len(cut.events) * first.grid_shape[0], *first.grid_shape[1:])
    return dataclasses.replace(first, grid_shape=grid)


def _stack(cut: Stages, x: Array) -> jax.Array:
    return jnp.concatenate(cut.split(x), 1)


def _check_alike(cut: Any) -> None:
    """Raises `UserError` unless the parts can lie on one grid, each with all values of its event."""
    if not cut.exact or any(event != cut.events[0] for event in cut.events):
        raise UserError(f"recoded data have parts that are alike, and those of {cut.name!r} are not: take a cascade")
    if any(map(cut.limited, range(len(cut.events)))):
        raise UserError(
            f"recoded data need a number of values that is a power of the base, and {cut.event.num_levels} is none of "
            f"{cut.events[0].num_levels}: take a cascade, which leaves out the values that are missing"
        )
