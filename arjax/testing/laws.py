"""Laws: properties of all components of a kind; checked one by one, or as the items of a pytest test. A law is a
function `check_...`, whose docstring states the property; it raises `LawBroken` with the place and the size of a
difference.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, ParamSpec

from arjax.core.errors import UserError

P = ParamSpec("P")
Check = Callable[..., Any]


class LawBroken(AssertionError):
    """A component breaks a law; the message says which one, where and by how much."""


class NotSupported(Exception):
    """The component does not support the case of the law; the message is its refusal."""


@dataclasses.dataclass(frozen=True)
class Law:
    """A check of one component."""

    name: str  # such as `autoregressive-binary`
    check: Callable[[], object]  # raises `LawBroken`, or `NotSupported` where the component refuses the case


def by_name(*checks: Check) -> dict[str, Check]:
    """Checks by the names of their laws: that of `check_local_context` is `local-context`."""
    return {check.__name__.lstrip("_").removeprefix("check_").replace("_", "-"): check for check in checks}


def in_cases(checks: Mapping[str, Check], cases: Iterable[str], run: Callable[[Check, str], object]) -> list[Law]:
    """A law for each of the checks by name in each of the cases: `run(check, case)`."""
    pairs = itertools.product(cases, checks.items())
    return [Law(f"{name}-{case}", functools.partial(run, check, case)) for case, (name, check) in pairs]


def check_laws(laws: Iterable[Law]) -> dict[str, str]:
    """Checks all laws, without pytest; returns "kept", or the sentence of the refusal, for each, and prints it as soon
    as the law is checked. Raises `LawBroken` for the first broken law, or if every case is refused: then nothing was
    checked.
    """
    laws, outcomes = list(laws), {}
    for number, law in enumerate(laws, start=1):
        try:
            law.check()
            outcomes[law.name] = "kept"
        except NotSupported as refusal:
            outcomes[law.name] = str(refusal)
        print(f"[{number}/{len(laws)}] {law.name}: {outcomes[law.name]}", flush=True)
    if "kept" not in outcomes.values():
        raise LawBroken(f"everything is refused: {next(iter(outcomes.values()), 'there is nothing to check')}")
    return outcomes


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


class LawTest(Generic[P]):
    """Decorates the function `of` that lists the laws of a component: a call makes a pytest test of them. `check` takes
    the same arguments, without pytest; see `check_laws`.
    """

    def __init__(self, of: Callable[P, Iterable[Law]]):
        functools.update_wrapper(self, of)
        self.of = of

        @functools.wraps(of)
        def check(*args: P.args, **kwargs: P.kwargs) -> dict[str, str]:
            return check_laws(of(*args, **kwargs))

        self.check: Callable[P, dict[str, str]] = check

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Callable[[Law], None]:
        """The test, to be given a name that begins with `test_`."""
        return as_test(self.of(*args, **kwargs))


def require(holds: object, message: str) -> None:
    """Raises `LawBroken` with the message unless something holds."""
    if not holds:
        raise LawBroken(message)


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """A refusal of the component, a `UserError` in the body, is `NotSupported` outside."""
    try:
        yield
    except UserError as refusal:
        raise NotSupported(str(refusal)) from refusal


def require_some(cases: Iterable[Callable[[], object]], message: str) -> None:
    """Raises `LawBroken` where all cases are refused: else the laws would check nothing."""
    reasons = []
    for case in cases:
        try:
            case()
            return
        except NotSupported as refusal:
            reasons.append(str(refusal))
    raise LawBroken(f"{message}: {reasons[0]}")
