"""A kind of model that is made of one part: an image and its mirror image have the same probability."""

import dataclasses

import jax
import jax.numpy as jnp

from arjax.core.batch import Score
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.models import KINDS, Example, Model, ModelChoice
from arjax.models.draws import draw_part
from arjax.samplers import Draw


@KINDS.register("symmetric")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Symmetric(Model):
    """The equal mixture of a model and of its mirror image along the last axis of the grid."""

    base: Model

    score_kind = "exact"
    takes = frozenset({"sampler"})
    MADE = ModelChoice(network="made", network_options={"hidden_sizes": (8,)})
    EXAMPLES = {"binary": Example(ModelChoice("symmetric", parts={"base": MADE}), EventSpec((2, 2)))}

    event = property(lambda self: self.base.event)
    context_spec = property(lambda self: self.base.context_spec)
    named_parts = property(lambda self: {"base": self.base})

    @classmethod
    def make(cls, recipe):
        """The part is a model of the same event."""
        recipe.only("base")
        base = recipe.part("base", event=recipe.event)
        if base.score_kind != "exact":
            raise UserError("the kind of model 'symmetric' needs an exact part 'base'")
        return cls(base)

    def mirror(self, x):
        """x, flipped along the last axis of its grid."""
        return jnp.flip(x, len(self.event.grid_shape))

    def score(self, params, batch, *, key=None, train=False):
        """log p(x) in nats, float32[B]."""
        mirrored = dataclasses.replace(batch, x=self.mirror(batch.x))
        one, two = (self.base.score(params["base"], each, key=key, train=train) for each in (batch, mirrored))
        return Score(jnp.logaddexp(one.log_prob, two.log_prob) - jnp.log(2.0), self.score_kind)

    def draw_examples(self, params, keys, sampler, options):
        """A draw of the part for each key, flipped by a fair coin."""
        of_coin, of_base = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        x, stats = draw_part(self.base, params["base"], of_base, sampler, options)
        heads = jax.vmap(jax.random.bernoulli)(of_coin).reshape(-1, *[1] * (x.ndim - 1))
        return Draw(jnp.where(heads, self.mirror(x), x), stats)
