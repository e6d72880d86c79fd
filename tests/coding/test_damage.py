"""Files that cannot be decoded are refused in one sentence, before anything is decoded."""

import sys

import jax
import numpy as np
import pytest
from refusals import refusal

from arjax.coding import CodingOptions, coder, compress, container, decompress
from arjax.coding.entropy import Encoder
from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.testing.examples import random_like


@pytest.fixture(scope="module")
def model():
    return make_model(EventSpec((2, 3), (), "tokens", 5), "made", hidden_sizes=(4,))


@pytest.fixture(scope="module")
def params(model):
    return random_like(model.param_shapes)


@pytest.fixture(scope="module")
def data(model, params):
    x = np.random.default_rng(0).integers(0, 5, (9, 2, 3))
    return compress(model, params, x, CodingOptions(verify=False)).data


@pytest.fixture
def refused(model, params, monkeypatch):
    """A function that decompresses bytes which must be refused before anything is decoded; returns the sentence."""

    def call(data, use_model=model, use_params=params, **options):
        monkeypatch.setattr(coder, "_code", lambda *args: pytest.fail("it was decoded"))
        sentence = refusal(decompress, use_model, use_params, data, CodingOptions(**options))
        assert sentence and "\n" not in sentence
        return sentence

    return call


def test_each_flipped_bit_is_noticed(refused, data):
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        refused(bytes(changed))


def test_each_file_that_is_cut_off_or_longer_is_noticed(refused, data):
    for size in range(len(data)):
        assert "cut off" in refused(data[:size]) or size < len(container.MAGIC)
    assert "2 bytes stand behind its end" in refused(data + b"ab")
    assert "no file that arjax has compressed" in refused(b"\x1f\x8b" + bytes(40))
    assert "compressed data are bytes" in refused("letter.arjax")
    assert "has format 3" in refused(data[:6] + b"\x03" + data[7:])


@pytest.mark.parametrize(
    "forged",
    [
        *({"place": 3}, {"job": [1, 2]}, {"job": [-1, 2, -1, False]}, {"job": [9, 2**30, -1, False]}, {"choice": 9}),
        *({"choice": "0"}, {"probe": None}, {"orders": 10**9}, {"orders": "2"}, {"about": []}, {"dtype": "|O"}),
        *(
            {"dtype": None},
            {"job": None},
            {"dtype": "<b8"},
            {"dtype": "|f1"},
            {"choice": False},
            {"place": {"jax": []}},
        ),
        *({"job": [9, 0, -1, False]}, {"job": [True, True, -1, False]}, {"job": [10**30, 9, -1, False]}),
    ],
    ids=str,
)
def test_forged_headers_with_right_checksums_are_refused(forged, refused, data):
    """Anyone can write a checksum."""
    file = container.read_container(data)
    assert "header that arjax does not write" in refused(file._replace(header=file.header | forged).pack())


@pytest.mark.parametrize("name", ["place", "job", "choice", "probe", "dtype", "context"])
def test_headers_that_lack_a_part_or_are_no_object_are_refused(name, refused, data):
    file = container.read_container(data)
    without = {key: value for key, value in file.header.items() if key != name}
    assert refused(file._replace(header=without).pack())
    for header in ([1], {"place": "x" * 2**21}):
        assert "header that arjax does not write" in refused(file._replace(header=header).pack())


def test_words_that_no_encoder_writes_are_refused(model, params, data):
    words = np.full(50, 2**32 - 1, np.uint32)
    file = container.read_container(data)._replace(words=words).pack()
    assert "words that arjax does not write" in refusal(decompress, model, params, file)


def test_a_refusal_has_no_characters_that_a_terminal_obeys(refused, data):
    file = container.read_container(data)
    forged = {"place": file.header["place"] | {"jax": "\x1b[2J"}}
    assert "with jax '\\x1b[2J', and" in refused(file._replace(header=file.header | forged).pack())


def test_another_model_or_other_parameters_are_refused(refused, data, model, params):
    other = make_model(model.event, "made", hidden_sizes=(4,), ordering="reversed")
    assert "with another model" in refused(data, other)
    changed = jax.tree.map(lambda leaf: leaf * 1.0000002, params)
    assert "with other parameters" in refused(data, use_params=changed)
    assert "has 9 streams side by side, not 3" in refused(data, streams=3)


@pytest.mark.parametrize("name", [name for name in container.REFUSALS if name not in ("model", "params")])
def test_another_place_is_refused(name, refused, data, monkeypatch):
    """Versions, platform, processor, cores, flags."""
    here = coder.describe_place
    monkeypatch.setattr(coder, "describe_place", lambda *args: here(*args) | {name: "another"})
    assert refused(data).startswith("the file was compressed ")


def test_other_probabilities_are_noticed_before_and_other_values_behind(refused, data, model, params, monkeypatch):
    """What no version tells: the tables of some steps are compared first, and a checksum of the data last."""
    right = coder._probe
    monkeypatch.setattr(coder, "_probe", lambda *args: "another")
    assert "computes other probabilities" in refused(data)
    monkeypatch.setattr(coder, "_probe", right)
    monkeypatch.setattr(coder, "_code", lambda choice, chooser, job, *rest: np.zeros((job.num, 2, 3), np.int32))
    assert "decoding gave other data" in refusal(decompress, model, params, data)
    assert "decoding gave other data" in refusal(compress, model, params, np.ones((3, 2, 3), int))


def test_what_a_probe_computes_depends_on_the_bits_of_the_tables(model, params):
    probe = lambda params: coder._probe(coder.choices(model, params)[0], 4)  # noqa: E731
    changed = jax.tree.map(lambda leaf: leaf * 1.000001, params)
    assert probe(params) == probe(params) != probe(changed)


def test_chunks_have_checksums_of_their_own(monkeypatch):
    monkeypatch.setattr(container, "CHUNK", 4)
    words = np.arange(10, dtype=np.uint32)
    packed = container.Container({"a": 1}, b"side", words).pack()
    found = container.read_container(packed)
    assert found.header == {"a": 1} and found.side == b"side" and np.array_equal(found.words, words)
    at = packed.index(np.uint32(8).tobytes())
    damaged = packed[:at] + b"\x09" + packed[at + 1 :]
    assert "chunk 2 is not as it was written" in refusal(container.read_container, damaged)


def test_the_library_is_an_extra(model, params, monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    assert "pip install 'arjax[coding]'" in refusal(compress, model, params, np.zeros((2, 2, 3), int))


def test_data_that_cannot_be_coded_are_refused(model, params):
    for x, sentence in (
        (np.zeros((0, 2, 3), int), "there are no examples to compress"),
        (np.full((1, 2, 3), 5), "must be 0 to 4, not 5"),
        (np.zeros((2, 3), int), "x has shape"),
        (np.zeros((2, 2, 3)), "must be integers"),
    ):
        assert sentence in refusal(compress, model, params, x)
    broken = jax.tree.map(lambda leaf: leaf * np.nan, params)
    assert "probabilities that are not finite" in refusal(compress, model, broken, np.zeros((2, 2, 3), int))


def test_improbable_values_cost_24_bits_at_most():
    encoder = Encoder()
    encoder(np.array([[[1.0, 0.0]]], np.float32), np.ones((1, 1), bool), np.ones((1, 1), np.int32))
    assert encoder.bits == 24.0
