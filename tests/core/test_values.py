"""Values of JSON are read as declared types, and anything else is refused in one sentence that names the place."""

import dataclasses
import json
from typing import Any, TypedDict

import pytest

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.core.values import largest_sizes, read_one_of, read_typed


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
