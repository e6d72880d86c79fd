"""Sizes and types of events and contexts, those that cannot be, and values of JSON as declared types."""

import dataclasses
import json
from typing import Any, TypedDict

import numpy as np
import pytest
from refusals import refusal

from arjax.core.errors import UserError
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec, check_spec, class_label, vector
from arjax.core.values import largest_sizes, read_one_of, read_typed


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


def test_contexts_of_several_parts():
    spec = ContextSpec(z=vector(2), image=EventSpec((4, 4), (3,), "levels", 8), style=class_label(5))
    assert [name for name, _ in spec.parts] == ["image", "style", "z"] and hash(spec) == hash(eval(repr(spec)))
    assert [name for name, _ in spec.grids.parts] == ["image"]
    assert "a kind or named parts, not both" in refusal(ContextSpec, "label", 3, z=vector(2))
    assert "the part 'z' of a context must be an EventSpec, not 3" in refusal(ContextSpec, z=3)


def test_local_parts_of_a_context():
    coarse = EventSpec((2, 2), (), "levels", 4)
    spec, local = ContextSpec(coarse=coarse, label=class_label(3), local=("coarse",)), {"local": ("coarse",)}
    assert spec.at_sites == ContextSpec(coarse=coarse, **local) == NO_CONTEXT.with_part("coarse", coarse, local=True)
    assert spec.as_whole == ContextSpec("label", 3) and spec.grids == spec.at_sites
    assert spec != ContextSpec(coarse=coarse, label=class_label(3)) and eval(repr(spec)) == spec
    assert "'label' of a context cannot be local" in refusal(ContextSpec, label=class_label(3), local=("label",))


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    names: tuple[str | bool, ...] = ()


class Tree(TypedDict):
    point: Point | None
    more: dict[str, tuple[int, ...]]
    anything: Any


def test_values_have_the_declared_types():
    tree = {"point": {"x": 1, "names": ["a", True]}, "more": {"k": [1, 2]}, "anything": [[1], {"a": [2]}]}
    found = read_typed(Tree, tree, "tree")
    assert found == {"point": Point(1.0, ("a", True)), "more": {"k": (1, 2)}, "anything": ((1,), {"a": (2,)})}
    assert isinstance(found["point"].x, float)
    event = EventSpec((2,), (), "columns", columns=(EventSpec((), (), "real"), EventSpec((), (), "tokens", 3)))
    assert read_typed(EventSpec, json.loads(json.dumps(dataclasses.asdict(event))), "e") == event
    assert read_one_of({"point": Point}, {"kind": "point", "x": 0.5}, "it") == ("point", Point(0.5))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"point": {}}, "^tree/point lacks 'x'$"),
        ({"point": {"x": 1, "y": 2}}, "^tree/point has the unknown entry 'y'$"),
        ({"point": {"x": "1"}}, "^tree/point/x must be a number, not '1'$"),
        ({"point": {"x": True}}, "must be a number, not True"),
        ({"point": {"x": float("nan")}}, "must be a number, not nan"),
        ({"point": {"x": 1, "names": [1]}}, "^tree/point/names/0 must be a text or true or false, not 1$"),
        ({"point": 3}, "^tree/point must be an object, not 3$"),
        ({"more": {"k": [1.0]}}, "^tree/more/k/0 must be a whole number, not 1.0$"),
        ({"more": {"k": "12"}}, "^tree/more/k must be a list, not '12'$"),
        ({"more": None}, "^tree/more must be an object, not None$"),
    ],
)
def test_what_has_another_type_is_one_sentence(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        read_typed(Tree, {"point": None, "more": {}, "anything": 1} | changes, "tree")
    for kind in ("circle", None, 3, []):
        with pytest.raises(UserError, match="it/kind must be one of point, not"):
            read_one_of({"point": Point}, {"kind": kind, "x": 1}, "it")


def test_sizes_in_call_strings_count():
    value = {"width": 3, "conditional": "nested(network='made', hidden_sizes=(7, 90))", "name": "a (b", "on": True}
    sizes = dict(largest_sizes(value))
    assert sizes["width"] == 3 and sizes["hidden_sizes"] == 90 and "on" not in sizes
