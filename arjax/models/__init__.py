"""Models: joints built from networks and conditionals."""

from arjax.models.autoregressive import AutoregressiveModel

__all__ = ["AutoregressiveModel"]
