"""Components by name: what call strings mean, and the one sentence that answers each mistake in them."""

import dataclasses
import inspect
import runpy

import flax.linen as nn
import pytest

from arjax.core.errors import UserError, did_you_mean
from arjax.core.registry import Registry
from arjax.core.values import parse_call


@pytest.fixture
def tools() -> Registry:
    registry = Registry("tool")

    @registry.register("hammer")
    def hammer(material, weight: int, colour: str = "grey"):
        return material, weight, colour

    @registry.register("saw")
    @dataclasses.dataclass(frozen=True)
    class Saw:
        teeth: int
        blade: str = "steel"

    @registry.register("layer")
    class Layer(nn.Module):
        size: int = 3

    return registry


def test_a_name_is_taken_once(tools):
    with pytest.raises(UserError, match=r"tool 'saw' is registered twice: .*test_registry\.py, line \d+ and .*, line"):
        tools.register("saw")(print)
    assert tools.get("saw") is not print
    for _ in range(2):  # a function that registers may be called again
        tools.register("chisel")(print)
    assert tools.get("chisel") is print


def test_a_file_that_runs_again_replaces_its_own_components_and_no_others(tools, tmp_path):
    """As a config file does, which everything that reads the config runs."""
    text = "\n\n@tools.register('chisel')\ndef mine(size=1):\n    return {}\n"
    mine, other = tmp_path / "mine.py", tmp_path / "other.py"
    mine.write_text(text.format(1))
    other.write_text(text.format(3))

    def run(path):
        runpy.run_path(str(path), {"tools": tools})

    run(mine)
    run(mine)
    assert tools.get("chisel")() == 1
    mine.write_text("# edited\n" + text.format(2))  # the definition has moved down
    run(mine)
    assert tools.get("chisel")() == 2
    with pytest.raises(UserError, match=r"registered twice: .*mine\.py, line 4 and .*other\.py, line 3"):
        run(other)
    mine.write_text(text.format(1) + text.format(2))  # twice in one file
    with pytest.raises(UserError, match=r"mine\.py, line 3 and .*mine\.py, line 8"):
        run(mine)


def test_unknown_name_suggests_the_nearest(tools):
    with pytest.raises(UserError, match=r"^unknown tool 'hamer', did you mean 'hammer'\?$"):
        tools.get("hamer")
    with pytest.raises(UserError, match=r"^unknown tool 'xyz' \(there are: hammer, layer, saw\)$"):
        tools.get("xyz")


def test_options_of_functions_dataclasses_and_modules(tools):
    empty = inspect.Parameter.empty
    assert tools.options("hammer") == {"material": empty, "weight": empty, "colour": "grey"}
    assert tools.options("hammer", hidden=("material",)) == {"weight": empty, "colour": "grey"}
    assert tools.options("saw") == {"teeth": empty, "blade": "steel"}
    assert tools.options("layer") == {"size": 3}  # the fields that flax adds are no options


def test_a_default_that_is_made_anew_is_an_option_to_be_given(tools):
    @tools.register("box")
    @dataclasses.dataclass
    class Box:
        nails: list = dataclasses.field(default_factory=list)
        lid: int = dataclasses.field(default=1, init=False)

    assert tools.options("box") == {"nails": inspect.Parameter.empty}


def test_check_options_names_the_mistake(tools):
    tools.check_options("saw", {"teeth": 20})
    with pytest.raises(UserError, match=r"tool 'saw' has no option 'teth', did you mean 'teeth'\?.*: teeth, blade$"):
        tools.check_options("saw", {"teth": 20})
    with pytest.raises(UserError, match=r"^tool 'saw' has no option 'handle'; its options are: teeth, blade$"):
        tools.check_options("saw", {"handle": "oak"})
    with pytest.raises(UserError, match=r"^tool 'saw' needs the option 'teeth'$"):
        tools.check_options("saw", {"blade": "tin"})


def test_call_puts_the_arguments_first_and_the_options_after(tools):
    assert tools.call("hammer(weight=3)", "pine") == ("pine", 3, "grey")
    assert tools.call("hammer(colour='red', weight=1)", "pine") == ("pine", 1, "red")
    with pytest.raises(UserError, match="no option 'material'"):  # it is not the caller's to choose
        tools.call("hammer(material='oak', weight=1)", "pine")
    with pytest.raises(UserError, match="needs the option 'weight'"):
        tools.call("hammer", "pine")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("raster", ("raster", {})),
        (" raster ", ("raster", {})),
        ("raster()", ("raster", {})),
        ("random(seed=3)", ("random", {"seed": 3})),
        ("list(order=(2, 0, 1))", ("list", {"order": (2, 0, 1)})),
        ("f(a=-1, b='x', c=[1.5, None], d=True)", ("f", {"a": -1, "b": "x", "c": [1.5, None], "d": True})),
    ],
)
def test_call_strings(text, expected):
    assert parse_call(text) == expected


NO_CALLS = [
    *(
        "",
        "   ",
        "3",
        "a b",
        "random(3)",
        "random(seed=)",
        "random(seed=x)",
        "random(seed=1+y)",
        "a.b(c=1)",
        "f(g=h())",
    ),
    *(
        "f(x=1",
        "f)",
        "lambda: 0",
        "f(*a)",
        "f(x=1)(y=2)",
        "'f'",
        "f(x=1, x=2)",
        "f(**{'a': 1})",
        "a\x00b",
        "f(x={[]: 0})",
    ),
]


@pytest.mark.parametrize("text", NO_CALLS)
def test_other_text_is_one_sentence(text):
    with pytest.raises(UserError, match=r"^cannot read .*: write a name, or name\(option=value, \.\.\.\)"):
        parse_call(text)


def test_did_you_mean_of_nothing():
    assert did_you_mean("x", []) == ""
    assert did_you_mean("x", {"abc": 1}) == " (there are: abc)"
    assert did_you_mean("seeed", ["seed", "order"]) == ", did you mean 'seed'?"


def _cell(text: str, number: int, session: dict) -> None:
    """A cell of a notebook: its file is named by what it says, its variables are those of all cells."""
    exec(compile(text, f"ipykernel_1/{number}.py", "exec"), session)


def test_a_cell_of_a_notebook_replaces_what_the_notebook_registered(tools, tmp_path):
    session, text = {"__name__": "__main__", "tools": tools}, "tools.register('chisel')(lambda: {})"
    _cell(text.format(1), 10, session)
    _cell("\n" + text.format(2), 20, session)  # edited
    assert tools.get("chisel")() == 2
    with pytest.raises(UserError, match=r"tool 'saw' is registered twice: by .*test_registry\.py.* and .*ipykernel"):
        _cell("tools.register('saw')(print)", 30, session)
    program = {"__name__": "__main__", "__file__": "program.py", "tools": tools}
    with pytest.raises(UserError, match="registered twice"):
        _cell(text.format(3), 40, program)


def test_a_module_that_is_reloaded_after_an_edit_replaces_its_own(tools):
    variables, text = {"__name__": "mine", "tools": tools}, "tools.register('chisel')(lambda: {})\n"
    for before, value in (("", 1), ("# more\n", 2)):
        variables["__spec__"] = object()  # as importlib.reload does
        exec(compile(before + text.format(value), "mine.py", "exec"), variables)
        assert tools.get("chisel")() == value
    variables["__spec__"] = object()
    with pytest.raises(UserError, match=r"registered twice: by 'mine' in .*mine\.py, line 1 and by 'mine' in .*line 2"):
        exec(compile(text + text, "mine.py", "exec"), variables)


def test_it_is_read_as_a_dict_is(tools):
    assert list(tools) == ["hammer", "layer", "saw"] and len(tools) == 3
    assert tools["saw"] is tools.get("saw") and "saw" in tools and "swa" not in tools
    assert tools.name_of(tools["saw"]) == "saw" and tools.name_of(print) == ""
    assert repr(tools) == "<registry of the kind 'tool': hammer, layer, saw>"
    assert repr(Registry("tool")) == "<registry of the kind 'tool': empty>"
    with pytest.raises(UserError, match="unknown tool 'swa', did you mean 'saw'"):
        _ = tools["swa"]


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("Cuts. And more.", "Cuts"),
        ("Saws of Gauss et al. 1809, with teeth: two\n    lines (Germain et al. 2015). More.", None),
        ("p(x) = 1.5 x, independently.\n\n    Another paragraph", "p(x) = 1.5 x, independently"),
        ("Fallows:\n\n    x", "Fallows"),
    ],
)
def test_the_first_sentence_tells_what_a_component_is(tools, text, about):
    def saw():
        pass

    saw.__doc__ = text
    tools.register("new saw")(saw)
    assert tools.about("new saw") == (about or "Saws of Gauss et al. 1809, with teeth: two lines (Germain et al. 2015)")
