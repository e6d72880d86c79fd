"""How data are compressed, as one value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from arjax.core.arguments import check_names
from arjax.core.errors import UserError
from arjax.data.vocabulary import Vocabulary

#: Rows side by side, at most.
MOST_STREAMS = 2**16


@dataclasses.dataclass(frozen=True)
class CodingOptions:
    """How data are compressed, and how a file is decompressed, beside the model and its parameters: made once by the
    short forms of `compress` and `decompress`, and passed whole. Raises `UserError` for no number of streams or orders.

    Attributes:
      context: of the examples, as for `model.log_prob`; it is not a part of the file. Both calls need the same.
      vocabulary: of the tokens of a text. Both calls need the same.
      streams: examples, or streams of a text, that are coded side by side; 0: as many as suit the data, and to
        decompress, those of the file.
      end: to compress: the token that ends an example, which holds nothing else behind it; -1: there is none.
      num_orders: to compress with a model of several orders: those of which the best one is taken.
      verify: to compress: whether to decode the file and to compare.
      about: to compress: notes that `decompress` returns, in types of JSON.
      find_context: to decompress: finds the context by the notes of a file, where none is given.
      tell: is called when all is checked and the work begins.
    """

    context: Any = None
    vocabulary: Vocabulary | None = None
    streams: int = 0
    end: int = -1
    num_orders: int = 1
    verify: bool = True
    about: Mapping[str, Any] | None = None
    find_context: Callable[[Mapping[str, Any]], Any] | None = None
    tell: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        for name, least in (("streams", 0), ("num_orders", 1)):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= MOST_STREAMS:
                raise UserError(f"{name} must be a whole number from {least} to {MOST_STREAMS}, not {number!r}")

    @classmethod
    def of(cls, function: str, options: CodingOptions | None, short: Mapping[str, Any]) -> CodingOptions:
        """The options of a call, given as one value or one by one; raises `UserError` for both, and for other names."""
        check_names(function, short, {field.name for field in dataclasses.fields(cls)})
        if options is not None and short:
            raise UserError(f"the options of {function} are one value or keyword arguments, not both")
        return cls(**short) if options is None else options

    def begin(self) -> None:
        """Tells that the work begins."""
        if self.tell is not None:
            self.tell()
