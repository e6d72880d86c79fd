"""Config files: their argument, values of the types of fields, and the components that they name."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from arjax.config import base_config, network_config, optimizer_config, parse_arg
from arjax.config.files import load_config_file
from arjax.core.errors import UserError
from arjax.core.files import split_argument
from arjax.core.values import compile_regex, parse_value


def parse(arg):
    return parse_arg(arg, smoke=False, set="dna", units=(500,), seed=1, rate=0.5)


@pytest.mark.parametrize(
    ("arg", "changes"),
    [
        ("", {}),
        ("smoke", {"smoke": True}),
        ("adult", {"set": "adult"}),
        ("adult,smoke", {"set": "adult", "smoke": True}),
        ("smoke=false,set=web", {"set": "web"}),
        ("units=(3,4),seed=1e3,rate=1", {"units": (3, 4), "seed": 1000, "rate": 1.0}),
        ("set=list(order=(2, 0, 1)),seed=7", {"set": "list(order=(2, 0, 1))", "seed": 7}),
        ("random(seed=3)", {"set": "random(seed=3)"}),
    ],
)
def test_config_arguments(arg, changes):
    expected = {"smoke": False, "set": "dna", "units": (500,), "seed": 1, "rate": 0.5} | changes
    found = vars(parse(arg))
    assert found == expected
    assert {k: type(v) for k, v in found.items()} == {k: type(v) for k, v in expected.items()}


@pytest.mark.parametrize(
    ("arg", "sentence"),
    [
        ("smok", "no argument 'smok', did you mean 'smoke'"),
        ("sead=3", "no argument 'sead', did you mean 'seed'"),
        ("seed", "'seed' needs a value"),
        ("seed=x", "'seed' must be an integer, not 'x'"),
        ("seed=1.5", "'seed' must be an integer"),
        ("smoke=maybe", "'smoke' must be true or false"),
        ("units=a", "'units' must be a tuple such as \\(500,\\)"),
        ("units=('a',)", "'units' must be a tuple"),
        ("adult,set=web", "'set' is given twice"),
        ("adult,,smoke", "empty item"),
        (",", "empty item"),
    ],
)
def test_wrong_config_arguments(arg, sentence):
    with pytest.raises(UserError, match=sentence):
        parse(arg)


def test_without_a_string_option_a_bare_word_is_an_option():
    with pytest.raises(UserError, match="no argument 'fast'"):
        parse_arg("fast", smoke=False)


@pytest.mark.parametrize(
    ("text", "like", "value"),
    [
        ("true", False, True),
        ("0", True, False),
        ("3", 1, 3),
        ("2e6", 1, 2000000),
        ("3", 1.0, 3.0),
        ("a=b", "", "a=b"),
        ("b", np.array(["a"])[0], "b"),  # a text of numpy, as from a list of names
        ("3", np.float64(1.0), 3.0),
        ("64", (1, 2), (64,)),
        ("64,64", (1,), (64, 64)),
        ("[1, 2]", (0.5,), (1.0, 2.0)),
        ("()", (1,), ()),
        ("grade:real,zip:tokens", (), ("grade:real", "zip:tokens")),
        ("my_package,", (), ("my_package",)),
        ("(('kernel$', ('fsdp',)),)", (), (("kernel$", ("fsdp",)),)),
    ],
)
def test_values_take_the_type_of_the_field(text, like, value):
    found = parse_value(text, like, "x")
    assert found == value and type(found) is type(value)


def test_scalars_of_numpy_are_numbers_and_too_large_ones_are_refused():
    config = network_config("deep_nade", hidden_sizes=(np.int64(7), np.int32(8)), steps_per_chunk=np.int64(2))
    sizes = *config.hidden_sizes, config.steps_per_chunk
    assert sizes == (7, 8, 2) and all(type(size) is int for size in sizes)
    rate = optimizer_config("adamw", learning_rate=np.float32(0.5), cautious_decay=np.True_)
    assert rate.learning_rate == 0.5 and rate.cautious_decay is True
    with pytest.raises(UserError, match=r"'steps_per_chunk' of the network 'deep_nade' must be an integer, not 2\.0"):
        network_config("deep_nade", steps_per_chunk=np.float32(2))
    with pytest.raises(UserError, match="'learning_rate' of the optimizer 'adamw' must be a number, not 1000"):
        optimizer_config("adamw", learning_rate=10**400)


def test_a_regex_with_brackets_in_a_set_is_read_without_a_warning():
    assert compile_regex("[[a]", "x").search("[")


def test_a_misspelled_field_of_a_config_file_is_an_error():
    config = base_config()
    with pytest.raises(AttributeError):
        config.trian = 1
    with pytest.raises(AttributeError):
        config.train.stps = 1


def test_component_configs_hold_every_option():
    config = network_config("made", hidden_sizes=[7])
    assert config.name == "made" and config.hidden_sizes == (7,)
    assert not {"event", "context_spec", "num_features", "dtype", "parent"} & set(config)
    from arjax.networks import BUILDER_FIELDS, NETWORKS

    assert set(config) == {"name", *NETWORKS.options("made", BUILDER_FIELDS)}


def test_config_files_get_their_argument(tmp_path):
    path = tmp_path / "c.py"
    path.write_text(
        "from ml_collections import ConfigDict\ndef get_config(arg=''):\n    return ConfigDict({'arg': arg})\n"
    )
    config = load_config_file(f"{path}:a=1,b")
    assert isinstance(config, ConfigDict) and config.arg == "a=1,b" and config.is_locked
    assert load_config_file(str(path)).arg == ""


def test_the_colon_that_counts_is_the_one_behind_py():
    assert split_argument("a:b/c.py:d:e") == ("a:b/c.py", "d:e")
    assert split_argument("c.py") == ("c.py", "")
