"""Text of a user: vocabularies, files in windows, strings and their labels, and fragments to be restored."""

import itertools

import jax
import numpy as np
import pytest
from refusals import refusal

from arjax.core.arrays import up_to_end
from arjax.core.errors import UserError, say_once
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
    assert "cannot be written in bytes" in refusal(vocabulary.encode, "\ud800")


def test_rare_characters_share_a_token_or_are_told():
    common = make_vocabulary("aabbc", min_count=2)
    np.testing.assert_array_equal(common.encode("abcz"), [0, 1, 2, 2])
    assert common.decode(common.encode("abcz")) == "ab\ufffd\ufffd" and common.missing("zca") == ["c", "z"]
    with pytest.raises(UserError, match="no token stands for the character 'z'; there are those of 'abc'"):
        make_vocabulary("abc").encode("abz")
    assert "a text is a string of characters, not 7" in refusal(common.encode, 7)


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
    assert dataset.decode(read_all(dataset.splits["train"]).x[3]) == "b\na"
    assert len(read_all(dataset.splits["test"]).x) == 1
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
    ("text", {"file": "words", "splits": (0.8, 0.1, 0.2)}, "three parts above 0 that add up to 1"),
    ("text", {"file": "words", "validation": "words"}, "give both or neither"),
    ("text", dict.fromkeys(("file", "validation", "test"), "words") | {"splits": (0.5, 0.25, 0.25)}, "leave it out"),
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


def test_splits_that_cannot_be_used():
    for validation, sentence in (([], "no fragment of at most 6 characters"), (["ac"], "'c', which train lacks")):
        with pytest.raises(UserError, match=f"validation split of 'toy' has .*{sentence}"):
            restoration("toy", {"train": ["ab"], "validation": validation}, 6)


def test_parts_of_a_file():
    assert ends_of_parts((0.5, 0.25, 0.25), 8, "lines") == (4, 6)
    assert ends_of_parts((0.4, 0.3, 0.3), 3, "lines") == (1, 2)
    for wrong in ((0.5, 0.5), (1.0, 0.0, 0.0), (0.5, 0.3, 0.3), (0.5, 0.6, -0.1), (0.5, 0.25, 0.2501)):
        assert "three parts above 0" in refusal(ends_of_parts, wrong, 100, "lines")
    for num in (0, 1, 2):
        with pytest.raises(UserError, match=f"^{num} lines are too few for train"):
            ends_of_parts((0.5, 0.25, 0.25), num, "lines")


PAIRS = [("it", "anna"), ("de", "hans"), ("it", "lu, a"), ("de", "otto"), ("fr", "an"), ("it", "nula"), ("fr", "tu")]
PAIRS *= 5


@pytest.fixture
def write_rows(write):
    def to(rows, name: str = "names.csv", header=("language", "text")) -> str:
        mark = "\t" if name.endswith(".tsv") else ","
        lines = [mark.join(f'"{cell}"' if mark in cell else cell for cell in row) for row in (header, *rows)]
        return write("\n".join(lines) + "\n", name)

    return to


def pairs_of(dataset, split: str) -> list[tuple[str, str]]:
    rows = read_all(dataset.splits[split])
    labels = np.asarray(rows.context["label"])
    return [(dataset.classes[c], dataset.decode(x)) for c, x in zip(labels, rows.x, strict=True)]


def test_labels_stay_beside_their_strings(write_rows, capsys):
    dataset = make_dataset("strings", file=write_rows(PAIRS), labels="language")
    assert dataset.classes == ("de", "fr", "it") and dict(dataset.context.parts)["label"].num_levels == 3
    every = [pair for split in dataset.splits for pair in pairs_of(dataset, split)]
    assert sorted(every) == sorted(PAIRS)
    plain = make_dataset("strings", file=write_rows([("1", text) for _, text in PAIRS], "x.csv"))
    assert not plain.classes and not plain.context
    tabs = make_dataset("strings", file=write_rows(PAIRS, "names.tsv"), labels="language")
    assert pairs_of(tabs, "test") == pairs_of(dataset, "test")
    say_once.cache_clear()
    short = make_dataset("strings", file=write_rows(PAIRS), labels="language", max_length=4)
    said = "5 of 28 strings of the train split of 'strings/names' are longer than max_length=4, and left out"
    assert f"arjax: {said}\n" in capsys.readouterr().err
    every = [pair for split in short.splits for pair in pairs_of(short, split)]
    assert sorted(every) == sorted(pair for pair in PAIRS if len(pair[1]) <= 4)
    gaps = make_dataset("strings", file=write_rows([*PAIRS, ("it", ""), ("fr", "")]), labels="language")
    assert sorted(pair for split in gaps.splits for pair in pairs_of(gaps, split)) == sorted(PAIRS)
    say_once.cache_clear()
    make_dataset("strings", file=write_rows(PAIRS), column="text", splits=(0.5, 0.25, 0.25))
    assert not capsys.readouterr().err
    make_dataset("strings", file=write_rows(PAIRS), column="name")
    assert "column='name' of strings has no effect without labels: each line is a string" in capsys.readouterr().err
    numbers = make_dataset("strings", file=write_rows([(str(len(a) * 5), a) for _, a in PAIRS]), labels="language")
    assert numbers.classes == ("10", "20", "25")


def test_splits_of_their_own_have_the_classes_of_train(write_rows):
    files = {"validation": write_rows(PAIRS[:2], "v.csv"), "test": write_rows(PAIRS[1:3], "t.csv")}
    dataset = make_dataset("strings", file=write_rows(PAIRS), labels="language", **files)
    assert pairs_of(dataset, "test") == [("de", "hans"), ("it", "lu, a")]
    files["test"] = write_rows([("es", "anna")], "t.csv")
    with pytest.raises(UserError, match=r"test split of .*: the label 'es' is none of the 3 classes of the training"):
        make_dataset("strings", file=write_rows(PAIRS), labels="language", **files)


def test_mistakes_of_labels(write_rows):
    for rows, options, sentence in (
        (PAIRS, {"labels": "langage"}, r"has no column 'langage', did you mean 'language'\?"),
        (PAIRS, {"labels": "language", "column": "name"}, "has no column 'name'; there are: language, text"),
        ([*PAIRS, ("", "otto")], {"labels": "language"}, "line 37 of .* has no label in the column 'language'"),
        ([*PAIRS, ("it",)], {"labels": "language"}, "line 37 of .* has 1 cells, but the first has 2"),
        ([("it", text) for _, text in PAIRS], {"labels": "language"}, "has one label in all rows"),
        ([(str(n), "ab") for n in range(30)], {"labels": "language"}, "has another label in each row"),
        ([("it", "a" * 140_000)], {"labels": "language"}, r"^cannot read the table '.*names.csv': field larger than"),
    ):
        with pytest.raises(UserError, match=sentence):
            make_dataset("strings", file=write_rows(rows), **options)


def test_other_strings(write_rows, tmp_path):
    dataset = make_dataset("strings", file=write_rows(PAIRS), labels="language")
    found = dataset.rows.read(write_rows([("tu", "de"), ("anna", "it")], "new.csv", ("text", "language")))
    assert found.arrays["context"].tolist() == [0, 2] and found.numbers.tolist() == [2, 3]
    assert found.arrays["mask"].sum(1).tolist() == [3, 5] and dataset.rows.decode(found.arrays["x"]) == ["tu", "anna"]
    without = dataset.rows.read(write_rows([("tu",)], "new.csv", ("text",)))
    assert "context" not in without.arrays
    np.testing.assert_array_equal(dataset.rows.read(["tu", "anna"]).arrays["x"], found.arrays["x"])
    for rows, sentence in (
        (["annaanna"], "the string of number 0 is longer than the 5 characters of the model"),
        (["xyz"], "no token stands for the character 'x'"),
        ([], "has no string"),
        ({"text": ["tu"]}, "strings are a list of texts, or the path of a file, not a dict"),
        ([{"text": "tu"}], "strings are a list of texts, or the path of a file, not a list with a dict"),
        ("tu", r"there is no text file 'tu'; strings are a list, also a single one: \['tu'\]"),
        (write_rows([("tu", "es")], "es.csv", ("text", "language")), "the label 'es' is none of the 3 classes"),
    ):
        with pytest.raises(UserError, match=sentence):
            dataset.rows.read(rows)
    (tmp_path / "lines.txt").write_text("anna\n\ntu\n" * 9)
    lines = make_dataset("strings", file=str(tmp_path / "lines.txt"))
    (tmp_path / "new.txt").write_text("tu\n\nanna\n")
    assert lines.rows.read(tmp_path / "new.txt").numbers.tolist() == [1, 3]


def test_a_text_in_windows_is_scored_once(tmp_path):
    (tmp_path / "book.txt").write_text("to be or not to be " * 20)
    dataset = make_dataset("text", file=str(tmp_path / "book.txt"), length=8, eval_stride=4)
    (tmp_path / "new.txt").write_text("not to be or be")
    arrays = dataset.rows.read(tmp_path / "new.txt").arrays
    assert arrays["mask"].sum() == 15 and dataset.rows.decode(arrays["x"])[:2] == ["not to b", "to be or"]
    (tmp_path / "new.txt").write_text("not")
    assert "reads the path of a text file, not a list of texts" in refusal(dataset.rows.read, ["not to be or be"])
    assert "has 3 characters, fewer than the 8 of a window" in refusal(dataset.rows.read, tmp_path / "new.txt")


def test_unknown_characters_of_new_strings_are_named(tmp_path, capsys):
    (tmp_path / "dna.txt").write_text("ACGT\nGATTACA\n" * 9)
    dataset = make_dataset("strings", file=str(tmp_path / "dna.txt"), min_count=2)
    dataset.rows.read(["ACGT"])
    assert not capsys.readouterr().err
    dataset.rows.read(["gatt", "AN"])
    assert capsys.readouterr().err.endswith("scored as the unknown token: 'N', 'a', 'g', 't'\n")
