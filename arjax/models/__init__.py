"""Models: joints built from networks and conditionals."""

from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.make import make_model

__all__ = ["AutoregressiveModel", "make_model"]
