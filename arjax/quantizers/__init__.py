"""Quantizers: real vectors as tokens of finitely many codes, and back.

A quantizer is one frozen dataclass in one file, registered by name. It knows arrays and `EventSpec`, and no networks:
the kind of model `tokens` puts an encoder before it and a decoder behind it.
"""

from arjax.quantizers import residual, scalar, vq  # noqa: F401  (they register themselves)
from arjax.quantizers.base import QUANTIZERS, Assigned, Quantizer, make_quantizer

__all__ = ["QUANTIZERS", "Assigned", "Quantizer", "make_quantizer"]
