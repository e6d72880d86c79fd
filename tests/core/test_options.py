"""Options: what a declaration allows, in fields of dataclasses and in arguments of functions."""

import dataclasses

import flax.linen as nn
import pytest

from arjax.core.errors import UserError
from arjax.core.options import LARGEST, opt, seed_option
from arjax.core.registry import Registry


@pytest.fixture
def tools() -> Registry:
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
        ("saw(steel='softt')", "must be one of hard, soft, not 'softt', did you mean 'soft'"),
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
def test_a_value_out_of_range_is_refused_in_one_sentence(tools, call, words):
    with pytest.raises(UserError, match=words):
        tools.read(call)


def test_values_at_the_ends_of_a_range_pass(tools):
    saw = tools.read("saw(teeth=1, rust=0, angle=0, sizes=(2,), steel='soft', turn=-5)")
    assert dict(saw) == {"teeth": 1, "rust": 0, "angle": 0.0, "sizes": (2,), "steel": "soft", "turn": -5}
    assert tools.read("drill(seed=4294967295, bits=20)")["seed"] == 2**32 - 1


def test_a_function_with_declarations_is_called_directly_with_its_plain_defaults(tools):
    assert tools.get("drill")("oak") == ("oak", 1.0, 0, 8)
    assert tools.options("drill") == {"speed": 1.0, "seed": 0, "bits": 8}
    assert tools.call("nails(length=3, sizes=(1, 2))", "oak") == ("oak", 3, (1, 2))
    assert tools.get("saw")().angle == 0.5 and tools.get("layer")().width == 4


def test_infinite_and_undefined_numbers_are_in_no_range(tools):
    for number in ("inf", "nan"):
        with pytest.raises(UserError, match="must be"):
            tools.resolve("saw", {"angle": float(number)})
        with pytest.raises(UserError, match="must be above 0, not"):
            tools.resolve("drill", {"speed": float(number)})


def test_a_component_that_is_built_already_is_checked_by_its_declarations(tools):
    saw = tools.get("saw")
    assert tools.checked(saw()) == saw()
    with pytest.raises(UserError, match="'angle' of the tool 'saw'"):
        tools.checked(saw(angle=2.0))


def test_in_a_config_the_field_is_named(tools):
    with pytest.raises(UserError, match=r"^config\.tool\.teeth must be at least 1, not 0$"):
        tools.typed("saw", {"teeth": 0}, "config.tool")
