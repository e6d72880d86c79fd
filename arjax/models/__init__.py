"""Models: joints built from networks and conditionals, and from other models."""

from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.base import Model
from arjax.models.kinds import MODEL_KINDS, Choice, make_any_model
from arjax.models.latent import LatentModel
from arjax.models.make import make_model
from arjax.models.nested import Nested  # registers a conditional

__all__ = [
    "MODEL_KINDS",
    "AutoregressiveModel",
    "Choice",
    "LatentModel",
    "Model",
    "Nested",
    "make_any_model",
    "make_model",
]
