"""Laws: properties of all components of a kind; checked one by one, or as the items of a pytest test."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable


class LawBroken(AssertionError):
    """A component breaks a law; the message says which one, where and by how much."""


class NotSupported(Exception):
    """The component does not support the case of the law; the message is its refusal."""


@dataclasses.dataclass(frozen=True)
class Law:
    """A check of one component.

    Attributes:
      name: such as `autoregressive-binary`.
      check: raises `LawBroken`, or `NotSupported` where the component refuses the case.
    """

    name: str
    check: Callable[[], object]


def check_laws(laws: Iterable[Law]) -> dict[str, str]:
    """Checks all laws, without pytest; returns "kept", or the sentence of the refusal, for each.

    Raises:
      LawBroken: a law is broken (the first of them), or every case is refused: then nothing was checked.
    """
    found = {}
    for law in laws:
        try:
            law.check()
            found[law.name] = "kept"
        except NotSupported as refusal:
            found[law.name] = str(refusal)
    if "kept" not in found.values():
        raise LawBroken(f"everything is refused: {next(iter(found.values()), 'there is nothing to check')}")
    return found


def as_test(laws: Iterable[Law]) -> Callable[[Law], None]:
    """A pytest test with one item for each law; refused cases are skipped, with the refusal as the reason."""
    import pytest

    @pytest.mark.parametrize("law", [pytest.param(law, id=law.name) for law in laws])
    def test(law: Law) -> None:
        try:
            law.check()
        except NotSupported as refusal:
            pytest.skip(str(refusal))

    return test


def require(holds: object, message: str) -> None:
    """Raises `LawBroken` with the message unless something holds."""
    if not holds:
        raise LawBroken(message)
