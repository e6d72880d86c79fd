"""Models: joints built from networks and conditionals."""

from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.base import Model
from arjax.models.flow import FlowModel
from arjax.models.make import make_model
from arjax.models.make_flow import make_flow
from arjax.models.mixture import MixtureModel
from arjax.models.nested import Nested  # registers a conditional

__all__ = [
    "AutoregressiveModel",
    "FlowModel",
    "MixtureModel",
    "Model",
    "Nested",
    "make_flow",
    "make_model",
]
