"""A law: something that every component of a kind must keep; checked one by one, or as the items of a pytest test."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable


class LawBroken(AssertionError):
    """A component breaks a law; the message says which one, where and by how much."""


class NotServed(Exception):
    """The component refuses what the law asks for; the message is its sentence."""


@dataclasses.dataclass(frozen=True)
class Law:
    """A check of one component.

    Attributes:
      name: such as `autoregressive-binary`.
      check: raises `LawBroken`, or `NotServed` where the law asks for a combination that is refused.
    """

    name: str
    check: Callable[[], None]


def check_laws(laws: Iterable[Law]) -> dict[str, str]:
    """Checks all laws, without pytest; returns "kept", or the sentence of the refusal, for each.

    Raises:
      LawBroken: the first law that is broken, or that nothing was served: then nothing was checked.
    """
    found = {}
    for law in laws:
        try:
            law.check()
            found[law.name] = "kept"
        except NotServed as refusal:
            found[law.name] = str(refusal)
    if "kept" not in found.values():
        raise LawBroken(f"everything is refused: {next(iter(found.values()), 'there is nothing to check')}")
    return found


def as_test(laws: Iterable[Law]) -> Callable[[Law], None]:
    """A pytest test of which each law is an item; what is refused is skipped, with the sentence."""
    import pytest

    @pytest.mark.parametrize("law", [pytest.param(law, id=law.name) for law in laws])
    def test(law: Law) -> None:
        try:
            law.check()
        except NotServed as refusal:
            pytest.skip(str(refusal))

    return test


def require(holds: object, message: str) -> None:
    """Raises `LawBroken` with the message unless something holds."""
    if not holds:
        raise LawBroken(message)
