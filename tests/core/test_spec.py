"""Sizes and types of events and contexts, and the events that cannot be."""

import dataclasses

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec, check_spec, class_label, vector


def test_sizes_of_a_vector_valued_grid():
    event = EventSpec((4, 5), (3, 2), "levels", 7)
    assert (event.num_sites, event.value_size, event.num_dims) == (20, 6, 120)
    assert event.shape == (4, 5, 3, 2)


def test_an_event_in_words():
    assert EventSpec((4, 5), (3, 2), "levels", 7).in_words == "4 x 5 sites of 3 x 2 scalars, 7 levels"
    assert EventSpec((9,)).in_words == "9 sites, binary" and EventSpec((9,), kind="real").in_words == "9 sites, real"


def test_sizes_of_scalar_values():
    event = EventSpec((9,))
    assert (event.num_sites, event.value_size, event.num_dims, event.shape) == (9, 1, 9, (9,))
    assert (event.kind, event.num_levels) == ("binary", 2)


@pytest.mark.parametrize(
    ("kind", "levels", "discrete", "dtype"),
    [
        ("binary", 2, True, np.int32),
        ("levels", 256, True, np.int32),
        ("tokens", 9, True, np.int32),
        ("real", 0, False, np.float32),
    ],
)
def test_types(kind, levels, discrete, dtype):
    event = EventSpec((3,), (), kind, levels)
    assert event.is_discrete is discrete
    assert event.dtype == dtype


@pytest.mark.parametrize(
    ("kind", "levels"),
    [("binary", 3), ("binary", 0), ("levels", 1), ("tokens", 0), ("tokens", -2), ("real", 2)],
)
def test_levels_that_do_not_fit_the_kind(kind, levels):
    with pytest.raises(UserError, match=rf"^{kind} data cannot have {levels} levels(: leave num_levels out)?$"):
        EventSpec((3,), (), kind, levels)


def test_unknown_kind_lists_the_kinds():
    with pytest.raises(
        UserError, match=r"^unknown data kind 'colour' \(there are: binary, levels, tokens, real, columns\)$"
    ):
        EventSpec((3,), (), "colour")


@pytest.mark.parametrize(("grid", "value"), [((), ()), ((0,), ()), ((3, -1), ()), ((3,), (0,))])
def test_events_without_sites(grid, value):
    with pytest.raises(UserError, match="has no sites or an empty dimension"):
        check_spec(EventSpec(grid, value), EventSpec)


def test_contexts():
    assert not NO_CONTEXT and NO_CONTEXT.parts == () and ContextSpec() == NO_CONTEXT
    assert ContextSpec("label", 10) == ContextSpec(label=class_label(10)) != ContextSpec(style=class_label(10))
    assert ContextSpec("vector", 3) == ContextSpec(vector=vector(3))
    kinds = "none, label, vector, sequence, frames"
    with pytest.raises(UserError, match=rf"^unknown context kind 'image' \(there are: {kinds}\)$"):
        ContextSpec("image", 3)


@pytest.mark.parametrize(("kind", "size"), [("none", 3), ("label", 0), ("vector", 0), ("label", -1)])
def test_context_sizes_that_do_not_fit_the_kind(kind, size):
    with pytest.raises(UserError, match=rf"^a context of kind '{kind}' cannot have size {size}$"):
        ContextSpec(kind, size)


def test_specs_are_hashable_values():
    assert {EventSpec((3,)): 1}[EventSpec((3,))] == 1
    assert EventSpec((3,)) != EventSpec((4,))
    with pytest.raises(dataclasses.FrozenInstanceError):
        EventSpec((3,)).kind = "real"


@pytest.mark.parametrize("grid", [[4], 4, (4.0,), ("4",), (True,)])
def test_shapes_are_tuples_of_whole_numbers(grid):
    with pytest.raises(UserError, match="grid_shape must be a tuple of whole numbers"):
        EventSpec(grid)


def test_numbers_of_levels_and_classes_are_whole():
    with pytest.raises(UserError, match=r"num_levels must be a whole number, not 2\.5"):
        EventSpec((4,), (), "levels", 2.5)
    with pytest.raises(UserError, match="cannot have size True"):
        ContextSpec("label", True)


def test_contexts_with_a_time_axis():
    tokens, frames = ContextSpec("sequence", 9, 4), ContextSpec("frames", 9, 4)
    (_, token_part), (_, frame_part) = tokens.parts + frames.parts
    assert (token_part.shape, token_part.dtype) == ((4,), np.int32)
    assert (frame_part.shape, frame_part.dtype) == ((4, 9), np.float32)
    with pytest.raises(UserError, match=r"^a context of kind 'sequence' cannot have length 0$"):
        ContextSpec("sequence", 9)
    with pytest.raises(UserError, match=r"^a context of kind 'label' cannot have length 4$"):
        ContextSpec("label", 9, 4)


def test_levels_may_be_left_out_where_the_kind_says_them():
    assert EventSpec((3,), kind="real").num_levels == 0 and EventSpec((3,), kind="binary").num_levels == 2
    assert EventSpec((3,), kind="real") == EventSpec((3,), (), "real", 0)
    for kind in ("levels", "tokens"):
        with pytest.raises(UserError, match=rf"^{kind} data needs num_levels, the number of different values$"):
            EventSpec((3,), kind=kind)


@pytest.mark.parametrize("levels", ["5", 5.0, True, (5,)])
@pytest.mark.parametrize("kind", ["levels", "real", "binary"])
def test_numbers_of_levels_are_whole_numbers(kind, levels):
    with pytest.raises(UserError, match=r"^num_levels must be a whole number, not"):
        EventSpec((3,), kind=kind, num_levels=levels)


def test_another_thing_in_the_place_of_a_spec_is_told():
    check_spec(EventSpec((3,)), EventSpec)
    with pytest.raises(UserError, match=r"^an EventSpec such as EventSpec\(\(28, 28\)\) belongs here, not \(5,\)$"):
        check_spec((5,), EventSpec)
    with pytest.raises(
        UserError, match=r"^a ContextSpec such as ContextSpec\('label', 10\) belongs here, not 'label'$"
    ):
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
    spec = ContextSpec(coarse=coarse, label=class_label(3), local=("coarse",))
    assert (
        spec.at_sites
        == ContextSpec(coarse=coarse, local=("coarse",))
        == ContextSpec().with_part("coarse", coarse, local=True)
    )
    assert spec.as_whole == ContextSpec("label", 3) and spec.grids == spec.at_sites
    assert spec != ContextSpec(coarse=coarse, label=class_label(3)) and eval(repr(spec)) == spec
    with pytest.raises(UserError, match="'label' of a context cannot be local"):
        ContextSpec(label=class_label(3), local=("label",))
