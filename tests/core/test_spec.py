"""Sizes and types of events and contexts, and the events that cannot be."""

import dataclasses

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec, check_spec, class_label, vector


def test_sizes_and_words_of_events():
    event = EventSpec((4, 5), (3, 2), "levels", 7)
    assert (event.num_sites, event.value_size, event.num_dims, event.shape) == (20, 6, 120, (4, 5, 3, 2))
    assert event.in_words == "4 x 5 sites of 3 x 2 scalars, 7 levels"
    event = EventSpec((9,))
    assert (event.num_sites, event.value_size, event.num_dims, event.shape) == (9, 1, 9, (9,))
    assert (event.kind, event.num_levels, event.in_words) == ("binary", 2, "9 sites, binary")
    assert {event: 1}[EventSpec((9,))] == 1 and event != EventSpec((4,))
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.kind = "real"


@pytest.mark.parametrize("kind", ["binary", "levels", "tokens", "real"])
def test_integers_or_real_numbers(kind):
    event = EventSpec((3,), (), kind, {"levels": 256, "tokens": 9}.get(kind))
    assert event.is_discrete is (kind != "real") and event.dtype == (np.float32 if kind == "real" else np.int32)


LEVELS = [("binary", 3), ("binary", 0), ("levels", 1), ("tokens", 0), ("tokens", -2), ("real", 2)]
NO_NUMBERS = [(kind, levels) for kind in ("levels", "real", "binary") for levels in ("5", 5.0, True, (5,))]
NO_SITES = [((), ()), ((0,), ()), ((3, -1), ()), ((3,), (0,))]
#: The arguments of an event that cannot be, and what the sentence says.
EVENTS = [
    *(((3,), (), *each, rf"^{each[0]} data cannot have {each[1]} levels(: leave num_levels out)?$") for each in LEVELS),
    *(((3,), (), *each, r"^num_levels must be a whole number, not") for each in NO_NUMBERS),
    *(((3,), (), kind, rf"^{kind} data needs num_levels, the number of") for kind in ("levels", "tokens")),
    *((grid, "grid_shape must be a tuple of whole numbers") for grid in ([4], 4, (4.0,), ("4",), (True,))),
    *((*shapes, "has no sites or an empty dimension") for shapes in NO_SITES),
    ((3,), (), "colour", r"^unknown data kind 'colour' \(there are: binary, levels, tokens, real, columns\)$"),
]


@pytest.mark.parametrize("case", EVENTS)
def test_events_that_cannot_be(case):
    *arguments, sentence = case
    with pytest.raises(UserError, match=sentence):
        check_spec(EventSpec(*arguments), EventSpec)


def test_contexts():
    assert not NO_CONTEXT and NO_CONTEXT.parts == () and ContextSpec() == NO_CONTEXT
    assert ContextSpec("label", 10) == ContextSpec(label=class_label(10)) != ContextSpec(style=class_label(10))
    assert ContextSpec("vector", 3) == ContextSpec(vector=vector(3))
    tokens, frames = ContextSpec("sequence", 9, 4), ContextSpec("frames", 9, 4)
    (_, token_part), (_, frame_part) = tokens.parts + frames.parts
    assert (token_part.shape, token_part.dtype) == ((4,), np.int32)
    assert (frame_part.shape, frame_part.dtype) == ((4, 9), np.float32)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        *(((kind, size), f"cannot have size {size}$") for kind, size in [("none", 3), ("label", 0), ("vector", -1)]),
        (("label", True), "cannot have size True"),
        (("sequence", 9), r"^a context of kind 'sequence' cannot have length 0$"),
        (("label", 9, 4), r"^a context of kind 'label' cannot have length 4$"),
        (("image", 3), r"^unknown context kind 'image' \(there are: none, label, vector, sequence, frames\)$"),
    ],
)
def test_contexts_that_cannot_be(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        ContextSpec(*arguments)


def test_another_thing_in_the_place_of_a_spec_is_named():
    check_spec(EventSpec((3,)), EventSpec)
    with pytest.raises(UserError, match=r"^an EventSpec such as EventSpec\(\(28, 28\)\) belongs here, not \(5,\)$"):
        check_spec((5,), EventSpec)
    with pytest.raises(UserError, match=r"^a ContextSpec such as .* belongs here, not 'label'$"):
        check_spec("label", ContextSpec)


def test_contexts_of_several_parts():
    spec = ContextSpec(z=vector(2), image=EventSpec((4, 4), (3,), "levels", 8), style=class_label(5))
    assert [name for name, _ in spec.parts] == ["image", "style", "z"] and hash(spec) == hash(eval(repr(spec)))
    assert [name for name, _ in spec.grids.parts] == ["image"]
    with pytest.raises(UserError, match="a kind or named parts, not both"):
        ContextSpec("label", 3, z=vector(2))
    with pytest.raises(UserError, match="the part 'z' of a context must be an EventSpec, not 3"):
        ContextSpec(z=3)


def test_local_parts_of_a_context():
    coarse = EventSpec((2, 2), (), "levels", 4)
    spec, local = ContextSpec(coarse=coarse, label=class_label(3), local=("coarse",)), {"local": ("coarse",)}
    assert spec.at_sites == ContextSpec(coarse=coarse, **local) == NO_CONTEXT.with_part("coarse", coarse, local=True)
    assert spec.as_whole == ContextSpec("label", 3) and spec.grids == spec.at_sites
    assert spec != ContextSpec(coarse=coarse, label=class_label(3)) and eval(repr(spec)) == spec
    with pytest.raises(UserError, match="'label' of a context cannot be local"):
        ContextSpec(label=class_label(3), local=("label",))
