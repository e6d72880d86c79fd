"""Texts of any bytes, streams and windows."""

import zlib

import numpy as np
import pytest

from arjax.coding import CodingOptions, compress, decompress
from arjax.coding.texts import num_streams, to_bytes, to_tokens
from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.data.vocabulary import make_vocabulary
from arjax.models import make_model
from arjax.testing.examples import random_like

LETTERS = make_vocabulary("abcdefgh \n")
BYTES = make_vocabulary("", "bytes")
#: No text, one of known characters, line ends of other systems, other characters, bytes that are no UTF-8, a mark of
#: the byte order, half of a pair of surrogates, all bytes.
CONTENTS = [
    *(b"", b"a bad cafe\n" * 3, b"a\r\nb\rc\n", "naïve \U0001f600 \ufffd abc".encode(), b"ab\xffcd\xc3"),
    *(b"\xef\xbb\xbfabc", b"\xed\xa0\x80", bytes(range(256))),
]


def model_of(vocabulary, network="gru", length=6, **options):
    event = EventSpec((length,), (), "tokens", len(vocabulary))
    model = make_model(event, network, **(options or {"hidden_size": 4}))
    return model, random_like(model.param_shapes)


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("vocabulary", [LETTERS, BYTES, make_vocabulary("aabbccd", min_count=2)])
def test_tokens_and_exceptions_are_the_file(content, vocabulary):
    tokens, exceptions = to_tokens(vocabulary, content)
    assert to_bytes(vocabulary, tokens, exceptions) == content
    if vocabulary is BYTES:
        assert not exceptions and len(tokens) == len(content)


def test_files_of_any_bytes_come_back():
    model, params = model_of(LETTERS)
    for content in CONTENTS:
        coded = compress(model, params, content, CodingOptions(vocabulary=LETTERS, verify=False))
        assert decompress(model, params, coded.data, CodingOptions(vocabulary=LETTERS)).x == content
        assert bool(coded.num_exceptions) == bool(set(content) - set(b"abcdefgh \n"))
        assert 8 * len(coded.data) <= 1.001 * coded.bits + 8 * (512 + 8 + coded.num_exceptions)


@pytest.mark.parametrize(
    "exceptions",
    [
        *(b"no deflated numbers", zlib.compress(b"\x00\x00\x00"), zlib.compress(b"\x7f\x01")),
        *(zlib.compress(b"\xff\xff\xff\xff\x7f\x01"), zlib.compress(b"\xff" * 40 + b"\x01\x01")),
        *(zlib.compress(b"\x00\x80\xb0\x03"), zlib.compress(b"\x00\xff\xff\xff\x0f")),
    ],
    ids=["not deflated", "odd", "behind the end", "far behind", "huge", "a surrogate", "no character"],
)
def test_forged_exceptions_are_refused(exceptions):
    """Their checksum is no proof of who wrote them."""
    with pytest.raises(UserError, match="side information that arjax does not write"):
        to_bytes(LETTERS, LETTERS.encode("abc"), exceptions)


def text(num):
    return bytes(np.random.default_rng(0).choice(list(b"abcdefgh \n"), num).astype(np.uint8))


@pytest.mark.slow
def test_streams_go_on_as_one_long_sequence():
    """A stream has the score of the model over a sequence of its length: no window, no second beginning."""
    model, params = model_of(LETTERS)
    content = text(150)
    coded = compress(model, params, content, CodingOptions(vocabulary=LETTERS, streams=2))
    longer, _ = model_of(LETTERS, length=75)
    x = LETTERS.encode(content.decode()).reshape(2, 75)
    nats = -float(longer.log_prob(params, x).sum())
    assert coded.bits == pytest.approx(nats / np.log(2), rel=1e-5) and coded.streams == 2
    ragged = compress(model, params, content[:-3], CodingOptions(vocabulary=LETTERS, streams=4))
    assert decompress(model, params, ragged.data, CodingOptions(vocabulary=LETTERS, streams=4)).x == content[:-3]


def test_a_window_slides_and_begins_with_the_tokens_before():
    """A Transformer codes each token given at least half a window, but for those of the first window."""
    model, params = model_of(LETTERS, "transformer", 6, num_layers=1, width=8, num_heads=1)
    content = text(40)
    coded = compress(model, params, content, CodingOptions(vocabulary=LETTERS, streams=2, verify=False))
    assert decompress(model, params, coded.data, CodingOptions(vocabulary=LETTERS)).x == content
    x = LETTERS.encode(content.decode()).reshape(2, 20)
    nats = 0.0
    for start in range(0, 18, 3):  # the last window ends with the text
        window = np.pad(x[:, start : start + 6], [(0, 0), (0, max(0, start - 14))])
        nats -= float(model.log_prob_per_site(params, window)[:, 3 if start else 0 : 20 - start].sum())
    assert coded.bits == pytest.approx(nats / np.log(2), rel=1e-5)


@pytest.mark.slow
def test_a_model_of_several_orders_codes_texts_in_its_own():
    options = {"num_layers": 1, "width": 8, "num_heads": 1, "orders": "uniform"}
    model, params = model_of(LETTERS, "masked_transformer", 6, **options)
    content = text(20)
    found = [compress(model, params, content, CodingOptions(vocabulary=LETTERS, num_orders=num)) for num in (1, 4)]
    assert found[0].data == found[1].data and found[0].choice == ""


def test_the_number_of_streams_suits_the_text():
    assert [num_streams(num, 0) for num in (0, 5, 512, 1024, 10**6)] == [1, 1, 1, 2, 16]
    assert [num_streams(num, 8) for num in (0, 5, 100)] == [1, 5, 8]


def test_models_of_other_data_code_no_text():
    model, params = model_of(LETTERS)
    with pytest.raises(UserError, match="this model was not trained on one"):
        compress(model, params, b"abc")
    pixels = make_model(EventSpec((2, 3)), "made", hidden_sizes=(3,))
    with pytest.raises(UserError, match="examples of this model are 2 x 3 sites, binary"):
        compress(pixels, random_like(pixels.param_shapes), b"abc", CodingOptions(vocabulary=LETTERS))
    given = make_model(model.event, "gru", hidden_size=4, context=ContextSpec("label", 2))
    with pytest.raises(UserError, match="without a context"):
        compress(given, random_like(given.param_shapes), b"abc", CodingOptions(vocabulary=LETTERS))
    backwards = make_model(model.event, "made", hidden_sizes=(3,), ordering="reversed")
    with pytest.raises(UserError, match="raster"):
        compress(backwards, random_like(backwards.param_shapes), b"abc", CodingOptions(vocabulary=LETTERS))
