"""A lossless coder of any model whose steps have tables of probabilities: `compress` and `decompress`."""

from arjax.coding.coder import Coded, CodingOptions, Restored, compress, decompress

__all__ = ["Coded", "CodingOptions", "Restored", "compress", "decompress"]
