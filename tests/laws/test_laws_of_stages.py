"""The laws of all registered stages, with their usual options and with others."""

import dataclasses

import jax
import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.stages import STAGES, Digits, Haar, make_stages
from arjax.testing import check_stages
from arjax.testing.laws import LawBroken, NotSupported, as_test
from arjax.testing.stages import STAGED_EVENTS, check_limits, stages_laws

OTHERS = {
    "digits": ("(base=2)", "(base=3)"),
    "subsampled": ("(apart=True)", "(levels=2)"),
    "haar": ("(levels=2)",),
    "averaged": ("(levels=2)",),
}


def laws(slow: bool):
    """Of each with its defaults and with other options, on one event that it does not refuse; or on all others."""
    for name in STAGES.names():
        for call in (name, *(name + more for more in OTHERS.get(name, ()))):
            events = [event for event in STAGED_EVENTS if _has(call, event)]
            assert events, f"no event has the stages {call}"
            for law in stages_laws.of(call, events=events[1:] if slow else events[:1]):
                yield dataclasses.replace(law, name=f"{call}-{law.name}")


def _has(call, event):
    try:
        make_stages(call, event)
    except UserError:
        return False
    return True


test_stages = as_test(laws(slow=False))
test_slow_laws_of_stages = pytest.mark.slow(as_test(laws(slow=True)))


def split(call, event, x):
    """The parts of x, by one compiled program."""
    return [np.asarray(part) for part in jax.jit(make_stages(call, event).split)(x)]


def test_parts_of_known_examples():
    """Written out by hand."""
    x = np.arange(16).reshape(1, 4, 4)
    levels = EventSpec((4, 4), (), "levels", 16)
    first, second = split("digits(base=4)", levels, x)
    np.testing.assert_array_equal(first[0, :, 0], [0, 1, 2, 3])
    np.testing.assert_array_equal(second[0, 0], [0, 1, 2, 3])
    coarse, finer = split("subsampled", levels, x)
    np.testing.assert_array_equal(coarse[0], [[0, 2], [8, 10]])
    np.testing.assert_array_equal(finer[0, 0, 1], [3, 6, 7])
    apart = [part[0, 0, 1] for part in split("subsampled(apart=True)", levels, x)]
    np.testing.assert_array_equal(apart, [2, 3, 6, 7])
    coarse, down, across = split("haar", levels, x)
    np.testing.assert_array_equal(coarse[0], [[2, 4], [10, 12]])  # floor((floor(0.5) + floor(4.5)) / 2), ...
    np.testing.assert_array_equal(down[0] - 15, [[-4, -4], [-4, -4]])
    np.testing.assert_array_equal(across[0] - 15, np.full((4, 2), -1))
    for call in ("haar", "haar(levels=2)", "digits(base=4)", "subsampled"):  # the laws of a grid of two axes are slow
        stages = make_stages(call, levels)
        np.testing.assert_array_equal(jax.jit(stages.join)(stages.split(x)), x)
    means, _ = split("averaged", levels, x)
    np.testing.assert_array_equal(means[0], [[3, 5], [11, 13]])  # of 2.5, 4.5, ...
    means, _ = split("averaged(factor=3)", EventSpec((3, 3), (), "levels", 16), x[:, :3, :3])
    np.testing.assert_array_equal(means[0], [[5]])


def test_contexts_hold_the_earlier_parts():
    x = np.arange(16).reshape(1, 4, 4)
    levels = EventSpec((4, 4), (), "levels", 16)
    for call, k, wanted in (
        ("digits(base=2)", 2, [0, 0]),
        ("subsampled(levels=2)", 2, 2),
        ("haar", 2, 2),
        ("averaged", 1, 5),
    ):
        stages = make_stages(call, levels)
        found = jax.jit(lambda x, of=stages, k=k: of.context(k, of.split(x)[:k])["coarse"])(x)[0]
        assert found[0, 1].tolist() == wanted, call


def test_one_model_for_all_stages_is_told_the_stage_and_the_known_parts():
    stages = make_stages("digits(base=2)", EventSpec((2,), (), "levels", 8))
    parts = split("digits(base=2)", stages.event, np.array([[5, 2]]))
    assert dict(stages.shared_context.parts)["coarse"] == EventSpec((2,), (2,), "levels", 3)
    for k, wanted in enumerate(([[2, 2], [2, 2]], [[1, 2], [0, 2]], [[1, 0], [0, 1]])):
        found = stages.context_of_shared(k, parts[:k], 1)
        assert found["coarse"][0].tolist() == wanted and found["stage"].tolist() == [k]
    with pytest.raises(UserError, match="one model for all stages needs parts that are alike"):
        make_stages("haar", EventSpec((4, 4), (), "levels", 8)).shared_context  # noqa: B018  a property


@pytest.mark.parametrize(
    ("call", "event", "message"),
    [
        ("digit", EventSpec((4,), (), "levels", 20), "unknown stages 'digit', did you mean 'digits'"),
        ("digits", EventSpec((4,), (), "levels", 16), "16 values have one digit of base 16"),
        ("digits", EventSpec((4,), (), "real"), "levels and tokens, not real"),
        ("subsampled", EventSpec((3, 4)), r"a grid of \(3, 4\) cannot be"),
        ("subsampled", EventSpec((4, 2, 2)), r"on a grid of 3 axes take subsampled\(apart=True\), or on a line the"),
        ("subsampled(factor=3)", EventSpec((9,)), "are the channels of an image: on a grid of 1 axes take"),
        ("haar(levels=3)", EventSpec((4, 4)), "3 times smaller by the factor 2"),
        ("haar(levels=100000)", EventSpec((4, 4)), "cannot be|at most"),
        ("haar", EventSpec((4,), (), "tokens", 4), "levels and binary, not tokens"),
        ("averaged", EventSpec((4,), (), "real"), "levels and binary, not real"),
    ],
)
def test_data_without_such_stages_end_in_one_sentence(call, event, message):
    with pytest.raises(UserError, match=message):
        make_stages(call, event)


def test_laws_find_broken_stages(monkeypatch):
    event = EventSpec((4,), (), "levels", 6)
    assert check_stages("haar", events=(event,))["limits-4 sites, 6 levels"] == "kept"
    limits = Haar.limits
    monkeypatch.setattr(
        Haar,
        "limits",
        lambda self, k, before, num: (lambda f: f and (f[0], f[1] + 0 * f[0] - (f[1] > f[0])))(
            limits(self, k, before, num)
        ),
    )
    with pytest.raises(LawBroken, match="outside of its limits"):
        check_stages("haar", events=(event,))
    monkeypatch.setattr(Digits, "limited", lambda self, k: False)
    with pytest.raises(LawBroken, match="and its limits"):
        check_limits(make_stages("digits(base=4)", event), np.indices((6,) * 4).reshape(4, -1).T)
    with pytest.raises(NotSupported, match="real values"):
        check_limits(make_stages("subsampled", EventSpec((4,), (), "real")), np.zeros((1, 4)))
