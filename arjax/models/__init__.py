"""Models: joints built from networks and conditionals."""

from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.base import Model
from arjax.models.make import make_model
from arjax.models.nested import Nested  # registers a conditional

__all__ = ["AutoregressiveModel", "Model", "Nested", "make_model"]
