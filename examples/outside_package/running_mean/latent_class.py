"""A kind of model without a network: latent classes (Lazarsfeld & Henry, "Latent Structure Analysis", 1968).

p(x) = sum_k w_k prod_i p_k(x_i): given a hidden class k, the sites are independent. For binary data these models
are mixtures of Bernoullis (Bishop, "Pattern Recognition and Machine Learning", 2006, section 9.3.3).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.batch import Score
from arjax.core.errors import UserError
from arjax.core.scores import log_mixture
from arjax.core.spec import NO_CONTEXT, EventSpec
from arjax.models import KINDS, Example, Model, ModelChoice
from arjax.models.extras import pictures
from arjax.models.pictures import Tiles
from arjax.samplers import Draw


@KINDS.register("latent_class")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LatentClass(Model):
    """Hidden classes, and sites that are independent given the class. Exact."""

    event: EventSpec = dataclasses.field(metadata={"static": True})
    num_classes: int = dataclasses.field(metadata={"static": True})

    score_kind, context_spec = "exact", NO_CONTEXT
    takes = frozenset({"temperature"})
    EXAMPLES = {"binary": Example(ModelChoice("latent_class", {"num_classes": 3}), EventSpec((2, 2)))}

    @classmethod
    def make(cls, recipe, *, num_classes: int = 10):
        """The keyword arguments are the options of the kind; a `UserError` refuses data that it does not support."""
        recipe.only()
        if not recipe.event.is_discrete or recipe.context:
            raise UserError("the kind of model 'latent_class' needs discrete data without a context")
        return cls(recipe.event, num_classes)

    def init(self, key):
        """log w up to a constant, [K], and log p_k(x_i = v) up to a constant, [K, D, V]."""
        shape = self.num_classes, self.event.num_dims, self.event.num_levels
        return {"weights": jnp.zeros(self.num_classes), "tables": 0.5 * jax.random.normal(key, shape)}

    def score(self, params, batch, *, key=None, train=False):
        """log p(x) in nats, float32[B]."""
        if batch.mask is not None:
            raise UserError("the kind of model 'latent_class' scores whole examples: it has no mask of sites")
        log_p_KDV, x_BD = jax.nn.log_softmax(params["tables"]), batch.x.reshape(len(batch.x), -1).astype(jnp.int32)
        log_p_KB = jnp.take_along_axis(log_p_KDV[:, None], x_BD[None, ..., None], -1)[..., 0].sum(-1)
        return Score(log_mixture(jax.nn.log_softmax(params["weights"]), log_p_KB), self.score_kind)

    def draw_examples(self, params, keys, sampler, options):
        """A class for each key, then all sites at once; a temperature divides both logits."""
        weights, tables = (leaf / options.temperature for leaf in (params["weights"], params["tables"]))

        def one(key):
            of_class, of_sites = jax.random.split(key)
            return jax.random.categorical(of_sites, tables[jax.random.categorical(of_class, weights)])

        x, ones = jax.vmap(one)(keys).reshape(-1, *self.event.shape), jnp.ones(len(keys), jnp.int32)
        return Draw(x.astype(self.event.dtype), {"network_calls": ones, "steps": ones})


@pictures.register(LatentClass)
def class_pictures(model, params, batch, key):
    """The mean of each class, the heaviest class first."""
    mean_KD = (jax.nn.softmax(params["tables"]) * jnp.arange(model.event.num_levels)).sum(-1)
    heaviest_first = np.argsort(-np.asarray(params["weights"]))
    yield "classes", Tiles(np.asarray(mean_KD).reshape(-1, *model.event.shape)[heaviest_first], 10, "Classes")
