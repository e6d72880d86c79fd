"""Components by name: what call strings mean, what options allow, and the one sentence that answers each mistake."""

import dataclasses
import inspect
import runpy

import flax.linen as nn
import pytest
from refusals import refusal

from arjax.core.errors import UserError, did_you_mean
from arjax.core.options import LARGEST, opt, seed_option, typed_fields
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
    assert "needs the option 'weight'" in refusal(tools.call, "hammer", "pine")


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
    *("", "   ", "3", "a b", "'f'", "f)", "a\x00b", "a.b(c=1)", "lambda: 0", "f(*a)", "f(**{'a': 1})", "f(g=h())"),
    *("random(3)", "random(seed=)", "random(seed=x)", "random(seed=1+y)"),
    *("f(x=1", "f(x=1)(y=2)", "f(x=1, x=2)", "f(x={[]: 0})"),
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
    assert "registered twice" in refusal(_cell, text.format(3), 40, program)


def test_a_module_that_is_reloaded_after_an_edit_replaces_its_own(tools):
    variables, text = {"__name__": "mine", "tools": tools}, "tools.register('chisel')(lambda: {})\n"
    for before, value in (("", 1), ("# more\n", 2)):
        variables["__spec__"] = object()  # as importlib.reload does
        exec(compile(before + text.format(value), "mine.py", "exec"), variables)
        assert tools.get("chisel")() == value
    variables["__spec__"] = object()
    with pytest.raises(UserError, match=r"registered twice: by 'mine' in .*mine\.py, line 1 and by 'mine' in .*line 2"):
        exec(compile(text + text, "mine.py", "exec"), variables)


def test_it_lists_names_and_knows_those_of_its_components(tools):
    assert list(tools) == ["hammer", "layer", "saw"] and "saw" in tools and "swa" not in tools
    assert tools.name_of(tools.get("saw")) == "saw" and tools.name_of(print) == ""
    with pytest.raises(UserError, match="unknown tool 'swa', did you mean 'saw'"):
        tools.get("swa")


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


@pytest.fixture
def measured() -> Registry:
    registry = Registry("tool", hidden=("material",))

    @registry.register("saw")
    @dataclasses.dataclass(frozen=True)
    class Saw:
        teeth: int = 20
        rust: int = 0
        angle: float = opt(0.5, least=0, below=1)
        sizes: tuple[int, ...] = opt((3, 4), least=2, fewest=1)
        steel: str = opt("hard", choices=("hard", "soft"))
        turn: int = -1

    @registry.register("drill")
    def drill(material, speed: float = opt(1.0, above=0), *, seed: int = seed_option(), bits: int = opt(8, most=20)):
        return material, speed, seed, bits

    @registry.register("nails")
    def nails(material, length: int, *, sizes: tuple[float, ...] = opt(above=0, fewest=2)):
        return material, length, sizes

    @registry.register("layer")
    class Layer(nn.Module):
        width: int = opt(4, most=9)

    return registry


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("saw(teeth=0)", "'teeth' of the tool 'saw' must be at least 1, not 0"),
        ("saw(rust=-1)", "'rust' of the tool 'saw' must be at least 0, not -1"),
        (f"saw(teeth={LARGEST + 1})", f"must be at most {LARGEST}, not {LARGEST + 1}"),
        ("saw(turn=-99999999999)", f"must be at least -{LARGEST}, not -99999999999"),
        ("saw(angle=1)", r"must be at least 0 and below 1, not 1\.0"),
        ("saw(angle=-0.5)", r"must be at least 0 and below 1, not -0\.5"),
        ("saw(sizes=(3, 1))", "must be at least 2, not 1"),
        ("saw(sizes=())", "must have at least 1"),
        ("saw(steel='softt')", "cannot be 'softt', did you mean 'soft'. It must be one of hard, soft"),
        ("drill(speed=0.0)", r"must be above 0, not 0\.0"),
        ("drill(seed=4294967296)", "must be at most 4294967295, not 4294967296"),
        ("drill(bits=21)", "must be at most 20, not 21"),
        ("layer(width=10)", "must be at most 9, not 10"),
        ("layer(width='wide')", "must be an integer, not 'wide'"),
        ("nails(length=0, sizes=(1, 2))", "'length' of the tool 'nails' must be at least 1, not 0"),
        ("nails(length=2.5, sizes=(1, 2))", "must be an integer, not 2.5"),
        ("nails(length=2, sizes=(1, 0))", "must be above 0, not 0"),
        ("nails(length=2, sizes=(1,))", r"must have at least 2 elements, not \(1,\)"),
        ("nails(length=2, sizes='ab')", r"must be a tuple such as \(0\.5, 0\.5\), not 'ab'"),
        ("nails(sizes=(1, 2))", "needs the option 'length'"),
    ],
)
def test_a_value_out_of_range_is_refused_in_one_sentence(measured, call, words):
    with pytest.raises(UserError, match=words):
        measured.read(call)


def test_values_at_the_ends_of_a_range_pass(measured):
    saw = measured.read("saw(teeth=1, rust=0, angle=0, sizes=(2,), steel='soft', turn=-5)")
    assert dict(saw) == {"teeth": 1, "rust": 0, "angle": 0.0, "sizes": (2,), "steel": "soft", "turn": -5}
    assert measured.read("drill(seed=4294967295, bits=20)")["seed"] == 2**32 - 1


def test_a_function_with_declarations_is_called_directly_with_its_plain_defaults(measured):
    assert measured.get("drill")("oak") == ("oak", 1.0, 0, 8)
    assert measured.options("drill") == {"speed": 1.0, "seed": 0, "bits": 8}
    assert measured.call("nails(length=3, sizes=(1, 2))", "oak") == ("oak", 3, (1, 2))
    assert measured.get("saw")().angle == 0.5 and measured.get("layer")().width == 4


def test_infinite_and_undefined_numbers_are_in_no_range(measured):
    for number in ("inf", "nan"):
        assert "must be" in refusal(measured.resolve, "saw", {"angle": float(number)})
        assert "must be above 0, not" in refusal(measured.resolve, "drill", {"speed": float(number)})


def test_a_component_that_is_built_already_is_checked_by_its_declarations(measured):
    saw = measured.get("saw")
    assert measured.checked(saw()) == saw()
    assert "'angle' of the tool 'saw'" in refusal(measured.checked, saw(angle=2.0))


def test_in_a_config_the_field_is_named(measured):
    with pytest.raises(UserError, match=r"^config\.tool\.teeth must be at least 1, not 0$"):
        measured.typed("saw", {"teeth": 0}, "config.tool")


def test_a_component_is_a_mapping_of_its_options_and_a_call_of_those_that_are_literals(measured):
    saw = measured.component("saw", {"teeth": 3, "sizes": [2, 5]})
    assert len(saw) == 6 and saw["sizes"] == (2, 5) and saw.function is measured.get("saw")
    assert saw.as_call == "saw(teeth=3, rust=0, angle=0.5, sizes=(2, 5), steel='hard', turn=-1)"
    measured.register("file")(lambda material, edge=float("inf"), handle=print: material)
    assert measured.read("file").as_call == "file" and measured.read("file").build("oak") == "oak"


@dataclasses.dataclass
class Section:
    steps: int = 3
    rate: float = opt(0.5, least=0, below=1)


def test_fields_of_a_section_are_typed(measured):
    assert typed_fields(Section, {"rate": 0, "steps": 5}) == {"rate": 0.0, "steps": 5}
    for values, sentence in (
        ({"stepz": 1}, "there is no option train.stepz, did you mean 'steps'?"),
        ({"rate": 1}, "train.rate must be at least 0 and below 1, not 1.0"),
        ({"steps": 0}, "train.steps must be at least 1, not 0"),
        ({"steps": "3"}, "train.steps must be an integer, not '3'"),
    ):
        assert refusal(typed_fields, Section, values, "train.") == sentence
