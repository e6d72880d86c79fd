"""A lossless coder of any model whose steps have tables of probabilities: `compress` and `decompress`."""

from arjax.coding.coder import Coded, compress, decompress

__all__ = ["Coded", "compress", "decompress"]
