"""Text of a user: vocabularies, files in windows, strings, and fragments to be restored."""

import itertools

import jax
import numpy as np
import pytest

from arjax.core.arrays import up_to_end
from arjax.core.errors import UserError
from arjax.data import make_dataset
from arjax.data.sources import read_all
from arjax.data.text import ends_of_parts, fragments, restoration
from arjax.data.vocabulary import Vocabulary, check_same_tokens, make_vocabulary, padded
from arjax.models import make_model

WORDS = ["to", "be", "or", "not", "tobe", "been", "rot", "rob", "net", "bet"]


@pytest.fixture
def write(write):
    return lambda content, name="mine.txt": write(content, name)


def test_texts_and_tokens_are_two_ways_to_write_the_same():
    text = "né, \U0001f600\nno"
    for tokens, size in (("characters", 7), ("bytes", 256)):
        vocabulary = make_vocabulary(text, tokens)
        encoded = vocabulary.encode(text)
        assert len(vocabulary) == size and vocabulary.decode(encoded) == text
        assert len(encoded) == vocabulary.num_tokens(text) == (len(text.encode()) if tokens == "bytes" else len(text))
    np.testing.assert_array_equal(vocabulary.encode(text), list(text.encode()))
    broken = b"\xff\xc3a".decode("utf-8", "surrogateescape")  # no UTF-8, as a command line passes it on
    np.testing.assert_array_equal(vocabulary.encode(broken), [255, 195, 97])
    assert vocabulary.decode(np.array([255, 97])) == "\ufffda"
    with pytest.raises(UserError, match="cannot be written in bytes"):
        vocabulary.encode("\ud800")


def test_rare_characters_share_a_token_or_are_told():
    common = make_vocabulary("aabbc", min_count=2)
    np.testing.assert_array_equal(common.encode("abcz"), [0, 1, 2, 2])
    assert common.decode(common.encode("abcz")) == "ab\ufffd\ufffd" and common.missing("zca") == ["c", "z"]
    with pytest.raises(UserError, match="no token stands for the character 'z'; there are those of 'abc'"):
        make_vocabulary("abc").encode("abz")
    with pytest.raises(UserError, match="a text is a string of characters, not 7"):
        common.encode(7)


def test_an_end_is_not_the_token_of_unknown_characters():
    """Where both are the last one: parameters of one run would get another meaning in the other."""
    text, strings = make_vocabulary("aabbc", min_count=1), make_vocabulary("aabbc", end=True)
    check_same_tokens(text, make_vocabulary("abc", min_count=1), "the judge")
    check_same_tokens(strings, None, "the judge")
    wanted = "the judge knows the tokens 'abc' and an end, and this run 'abc' and one for unknown characters"
    assert len(text) == len(strings)
    with pytest.raises(UserError, match=wanted):
        check_same_tokens(text, strings, "the judge")


def test_a_string_ends_at_its_first_end():
    vocabulary = make_vocabulary("abc", end=True)
    assert vocabulary.symbols == ("a", "b", "c", "<end>") and vocabulary.end == 3
    assert vocabulary.decode(np.array([0, 1, 3, 2, 3])) == "ab" and vocabulary.decode(np.array([2, 2])) == "cc"
    x = padded(vocabulary, ["ab", "", "c"], 3, fill=3)
    np.testing.assert_array_equal(x, [[0, 1, 3], [3, 3, 3], [2, 3, 3]])
    newline = Vocabulary(("\n", "a"), end=0)  # an end that is a character is none of the text
    assert newline.missing("a\n") == ["\n"]


def test_a_file_is_cut_where_it_stands(write):
    text = "".join(itertools.islice(itertools.cycle("abcdefg "), 100))
    dataset = make_dataset("text", file=write(text), length=4, splits=(0.5, 0.2, 0.3), eval_stride=2)
    assert dataset.name == "text/mine" and dataset.event.grid_shape == (4,) and dataset.event.num_levels == 8
    assert len(dataset.splits["train"]) == 50 - 4 + 1
    train = read_all(dataset.splits["train"]).x
    assert train.dtype == np.int32 and dataset.decode(train[3]) == text[3:7]
    for split, part in (("validation", text[50:70]), ("test", text[70:])):
        batch = read_all(dataset.splits[split])
        scored = [dataset.decode(x[mask > 0]) for x, mask in zip(batch.x, batch.mask, strict=True)]
        assert "".join(scored) == part
    assert dataset.decode(dataset.encode("bad cafe")) == "bad cafe" and dataset.text_unit == "char"


def test_files_of_their_own_and_bytes(write):
    paths = {name: write(text, name) for name, text in (("a", "abab\r\nab"), ("b", "ba\n\n"), ("c", "bbb"))}
    given = {"file": paths["a"], "validation": paths["b"], "test": paths["c"]}
    dataset = make_dataset("text", **given, length=3)
    assert (
        dataset.decode(read_all(dataset.splits["train"]).x[3]) == "b\na"
        and len(read_all(dataset.splits["test"]).x) == 1
    )
    raw = make_dataset("text", **given, length=3, tokens="bytes")
    np.testing.assert_array_equal(read_all(raw.splits["train"]).x[3], list(b"b\r\n"))
    assert raw.event.num_levels == 256 and raw.text_unit == "byte"
    assert raw.fingerprint == dataset.fingerprint
    write("abab\r\nba", "a")
    assert make_dataset("text", **given, length=3).fingerprint != dataset.fingerprint


def test_strings_keep_their_lengths(write):
    dataset = make_dataset("strings", file=write("\n".join(WORDS) + "\n\n"), splits=(0.6, 0.2, 0.2), min_count=1)
    batches = {split: read_all(dataset.splits[split]) for split in ("train", "validation", "test")}
    assert [len(batch.x) for batch in batches.values()] == [6, 2, 2]
    found = [dataset.decode(x) for batch in batches.values() for x in batch.x]
    known = [dataset.decode(dataset.encode(word)) for word in WORDS]
    assert sorted(found) == sorted(known) and found != known
    for batch in batches.values():
        assert batch.x.shape[1] == 5
        for x, mask in zip(batch.x, batch.mask, strict=True):
            size = len(dataset.decode(x))
            np.testing.assert_array_equal(mask, np.arange(5) <= size)  # and its end counts
            assert (x[size:] == dataset.vocabulary.end).all()
    short = make_dataset("strings", file=write("\n".join(WORDS)), max_length=3, min_count=1)
    assert short.event.grid_shape == (4,) and sum(len(split) for split in short.splits.values()) == 8
    raw = make_dataset("strings", file=write("né\r\nen\r\nne"), tokens="bytes", splits=(0.34, 0.33, 0.33))
    assert (raw.event.num_levels, raw.vocabulary.end, raw.event.grid_shape) == (257, 256, (4,))
    assert sorted(raw.decode(read_all(raw.splits[split]).x[0]) for split in raw.splits) == ["en", "ne", "né"]


def test_the_likelihood_is_that_of_the_string_with_its_end(write):
    """Over all strings of at most two letters, and what has no end by then, probabilities sum to one."""
    dataset = make_dataset("strings", file=write("a\nb\nab\nba\naa\nbb\n" * 2), splits=(0.8, 0.1, 0.1))
    model = make_model(dataset.event, "made", hidden_sizes=(8,))
    params = jax.tree.map(lambda leaf: 3 * leaf, model.init(jax.random.key(0)))
    texts = ["".join(letters) for n in range(3) for letters in itertools.product("ab", repeat=n)]
    vocabulary = dataset.vocabulary
    x = padded(vocabulary, texts, 3, fill=vocabulary.end)
    endless = np.array([row for row in itertools.product(range(3), repeat=3) if vocabulary.end not in row], np.int32)
    x = np.concatenate([x, endless])
    log_p = np.asarray(jax.jit(model.log_prob)(params, x, mask=up_to_end(x, vocabulary.end)))
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-5)


MISTAKES = [
    ("text", {}, "needs a text file"),
    ("text", {"file": "no/such.txt"}, "cannot read the text file 'no/such.txt': No such file"),
    ("text", {"file": "words", "splits": (0.5, 0.5)}, "three parts above 0 that add up to 1"),
    ("text", {"file": "words", "splits": (0.8, 0.1, 0.2)}, "three parts above 0 that add up to 1"),
    ("text", {"file": "words", "validation": "words"}, "give both or neither"),
    (
        "text",
        {"file": "words", "validation": "words", "test": "words", "splits": (0.5, 0.25, 0.25)},
        "leave it out where validation and test",
    ),
    ("text", {"file": "words", "length": 64, "min_count": 1}, "fewer than length=64"),
    ("text", {"file": "late", "length": 3}, "has the character 'z', which train lacks: give min_count=2"),
    ("text", {"file": "accents", "tokens": "bytes", "length": 65}, "train split of 'text/accents' has 64 bytes, fewer"),
    ("text", {"file": "words", "tokens": "bytes", "min_count": 1}, "min_count must be 0 for bytes"),
    ("text", {"file": "words", "min_count": 1000}, "no character that is seen min_count=1000 times: the most frequent"),
    ("strings", {"file": "words", "min_count": 1000}, "no character that is seen min_count=1000 times: the most"),
    ("text", {"file": "latin"}, "is no UTF-8 text \\(byte 1\\): convert it, or take tokens=bytes"),
    ("strings", {"file": "two"}, "2 strings are too few"),
    ("strings", {"file": "words", "max_length": 1}, "no string of at most 1 characters"),
]


def test_mistakes_are_told_in_one_sentence(write):
    contents = {"words": "\n".join(WORDS), "latin": b"n\xe9", "two": "a\nb", "late": "abc" * 20 + "z"}
    contents["accents"] = "\u00e9" * 40
    paths = {name: write(content, name) for name, content in contents.items()}
    for name, options, sentence in MISTAKES:
        options = {key: paths.get(value, value) for key, value in options.items()}
        with pytest.raises(UserError, match=sentence):
            make_dataset(name, **options)


def test_tokens_that_come_in_pieces_are_the_same_text():
    """A character of two bytes in two pieces; half a character at the end; nothing behind the end of a string."""
    text = make_vocabulary("", "bytes")
    tokens = np.append(text.encode("a\u00e9b"), 0xC3)
    pieces = list(text.decode_pieces([tokens[:2], tokens[2:4], tokens[4:]]))
    assert pieces == ["a", "\u00e9b", "", "\ufffd"] and "".join(pieces) == text.decode(tokens)
    strings = make_vocabulary("abc", end=True)
    drawn = iter([np.array([0, 1]), np.array([2, strings.end, 0]), np.array([1])])
    assert list(strings.decode_pieces(drawn)) == ["ab", "c"] and next(drawn) == 1


TEXT = "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n"


def test_fragments_are_examples_and_their_contexts():
    assert fragments(TEXT, 3, overlap=False) == ["Before we proceed", "any further, hear", "me speak.", "Speak, speak."]
    assert fragments(TEXT, 3, overlap=True)[:2] == ["Before we proceed", "we proceed any"]
    assert fragments(TEXT, 3, overlap=True)[-2:] == ["hear me speak.", "Speak, speak."]
    found = {"train": ["to be", "I"], "validation": ["bet"], "test": ["Ito"]}
    dataset = restoration("toy", found, 6)
    assert dataset.event.grid_shape == (7,) and dataset.context.parts[0][1].shape == (6,)
    batch = dataset.splits["train"].__getitems__(np.arange(2))
    assert [dataset.decode(row) for row in batch.x] == ["to be", "I"]
    t, b = sorted("\n tobeI").index("t"), sorted("\n tobeI").index("b")
    np.testing.assert_array_equal(batch.context["sequence"], [[t, b, -1, -1, -1, -1], [-1] * 6])
    np.testing.assert_array_equal(batch.mask, [[1] * 6 + [0], [1] * 2 + [0] * 5])  # the end is scored
    ends = batch.x[np.arange(2), batch.mask.sum(1).astype(int) - 1]
    np.testing.assert_array_equal(ends, 0)  # "\n" is the first character


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({"train": ["ab"], "validation": []}, "validation split of 'toy' has no fragment of at most 6 characters"),
        ({"train": ["ab"], "validation": ["ac"]}, "validation split of 'toy' has the character 'c', which train lacks"),
    ],
)
def test_splits_that_cannot_be_used(found, sentence):
    with pytest.raises(UserError, match=sentence):
        restoration("toy", found, 6)


def test_parts_of_a_file():
    assert ends_of_parts((0.5, 0.25, 0.25), 8, "lines") == (4, 6)
    assert ends_of_parts((0.4, 0.3, 0.3), 3, "lines") == (1, 2)
    for wrong in ((0.5, 0.5), (1.0, 0.0, 0.0), (0.5, 0.3, 0.3), (0.5, 0.6, -0.1), (0.5, 0.25, 0.2501)):
        with pytest.raises(UserError, match="three parts above 0"):
            ends_of_parts(wrong, 100, "lines")
    for num in (0, 1, 2):
        with pytest.raises(UserError, match=f"^{num} lines are too few for train"):
            ends_of_parts((0.5, 0.25, 0.25), num, "lines")
