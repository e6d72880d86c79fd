"""What is compressed comes back: each network in several orders and partitions, mixtures, contexts, and texts."""

import signal
import zlib

import jax
import law_cases as cases
import numpy as np
import pytest
from choice import some
from refusals import refusal
from test_law4_samplers import check_follows

import arjax
from arjax.coding import CodingOptions, coder, compress, decompress
from arjax.coding.entropy import Decoder
from arjax.coding.examples import choices, code_examples
from arjax.coding.texts import num_streams, to_bytes, to_tokens
from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.data import from_arrays
from arjax.data.vocabulary import make_vocabulary
from arjax.models import KINDS, ModelChoice, make_model
from arjax.samplers.stepwise import Asked, OutsideSteps
from arjax.testing.examples import random_like
from arjax.testing.models import autoregressive_networks

#: Networks without and with a carry. Texts have a state and a window, and a test below a cache that grows.
FEW = ("made", "pixelcnn")
ORDERS = ("raster", "random(seed=1)", "random(seed=2)", "reversed", "boustrophedon")


def round_trip(model, params, x, context=None, **options):
    """Compresses examples, compares, and returns the file; its size is that of the score."""
    coded = compress(model, params, x, CodingOptions(context=context, verify=False, **options))
    found = decompress(model, params, coded.data, CodingOptions(context=context)).x
    assert found.dtype == x.dtype and np.array_equal(found, x)
    assert 8 * len(coded.data) <= 1.001 * coded.bits + 8 * (512 + 8)
    return coded


def bits_of(model, params, x, **options):
    return -float(np.asarray(model.log_prob(params, x, **options), np.float64).sum()) / np.log(2)


def models_of(network, events, orders, partitions):
    found = (
        cases.supported_model(network, cases.EVENTS[event], order, partition)
        for event in events
        for order in orders
        for partition in partitions
    )
    return list({id(model): model for model in found if not isinstance(model, str)}.values())


def check_models(models):
    assert models
    for model in models:
        params, x = cases.gentle_params_of(model), np.asarray(cases.random_x(model.event, 3), np.uint8)
        coded = round_trip(model, params, x, streams=2)  # the last batch has a row too many
        assert coded.bits == pytest.approx(bits_of(model, params, x), rel=1e-4)


@pytest.mark.parametrize("network", FEW)
def test_every_value_comes_back(network):
    check_models(models_of(network, ["tokens"], ["random(seed=1)", "raster"], ["sites"])[:1])


@pytest.mark.slow
@pytest.mark.parametrize("network", autoregressive_networks())
def test_every_value_of_every_network_comes_back(network):
    check_models(models_of(network, ["tokens", "levels_vector", "binary"], ORDERS, ["sites"]))
    check_models(models_of(network, ["tokens"], some(ORDERS, network), cases.PARTITION_CALLS))


@pytest.mark.slow
def test_a_cache_that_grows_keeps_its_past(monkeypatch):
    model = make_model(EventSpec((12,), (), "tokens", 3), "transformer", num_layers=1, width=8, num_heads=2)
    monkeypatch.setattr(type(model.network), "FIRST_LOOP", 4)
    params, x = cases.gentle_params_of(model), np.asarray(cases.random_x(model.event, 2))
    assert round_trip(model, params, x).bits == pytest.approx(bits_of(model, params, x), rel=1e-5)


def test_steps_of_several_sites_of_different_sizes():
    event = cases.EVENTS["levels_vector"]
    model = cases.supported_model("made", event, "random(seed=1)", "sizes(sizes=(1, 3, 2))")
    params, x = cases.params_of(model), np.asarray(cases.random_x(event, 5))
    assert round_trip(model, params, x, streams=2).bits == pytest.approx(bits_of(model, params, x), rel=1e-5)


def test_a_context_is_given_on_both_sides():
    model = cases.model_in_context("made", "several")
    params, x = cases.gentle_params_of(model), np.asarray(cases.random_x(model.event, 5))
    context = jax.tree.map(np.asarray, dict(cases.random_context(model.context_spec, 5)))
    coded = round_trip(model, params, x, context, streams=2)
    assert coded.bits == pytest.approx(bits_of(model, params, x, context=context), rel=1e-5)
    other = CodingOptions(context=context | {"style": (context["style"] + 1) % 3})
    assert "another context" in refusal(decompress, model, params, coded.data, other)


def mixture(*orders, partition="sites"):
    choices = [{"ordering": order, "partition": partition} for order in orders]
    members = [ModelChoice("autoregressive", choice, "made", {"hidden_sizes": (6,)}) for choice in choices]
    parts = {str(k): member for k, member in enumerate(members)}
    model = make_model(cases.EVENTS["tokens"], kind="mixture", parts=parts)
    return model, random_like(model.param_shapes)


@pytest.mark.parametrize("partition", ["sites", pytest.param("sizes(sizes=(1, 3, 2))", marks=pytest.mark.slow)])
def test_a_mixture_in_one_order_is_coded_by_the_weights_of_bayes(partition):
    """The file has the size of the mixture, which is smaller than that of any member."""
    model, params = mixture("raster", "raster", partition=partition)
    x = np.asarray(cases.random_x(model.event, 40))
    coded = round_trip(model, params, x)
    assert coded.bits == pytest.approx(bits_of(model, params, x), rel=1e-5) and not coded.choice


@pytest.mark.slow
def test_a_mixture_of_orders_is_coded_by_the_best_of_them():
    model, params = mixture("raster", "random(seed=1)")
    x = np.asarray(cases.random_x(model.event, 40))
    own = [bits_of(member, params[str(k)], x) for k, member in enumerate(model.members)]
    coded = round_trip(model, params, x)
    assert coded.bits == pytest.approx(min(own), rel=1e-5) and coded.choice == f"member {int(np.argmin(own))} of 2"
    several = make_model(cases.EVENTS["tokens"], "masked_transformer", orders="pool(num=3)", num_layers=1, width=8)
    params = random_like(several.param_shapes)
    coded = round_trip(several, params, x[:8], num_orders=3)
    own = [bits_of(several, params, x[:8], factorization=order) for order in several.orders.members(3)]
    assert coded.bits == pytest.approx(min(own), rel=1e-5) and coded.choice.endswith("of 3")


def test_columns_without_reals_come_back_and_others_are_refused():
    columns = (EventSpec((), (), "tokens", 3), EventSpec((), (), "binary"), EventSpec((), (), "levels", 7))
    event = EventSpec((3,), (), "columns", columns=columns)
    model = make_model(event, "made", hidden_sizes=(5,), ordering="random(seed=1)")
    params, rng = random_like(model.param_shapes), np.random.default_rng(0)
    x = np.stack([rng.integers(0, column.num_levels, 20) for column in columns], 1).astype(np.float64)
    assert round_trip(model, params, x).bits == pytest.approx(bits_of(model, params, x), rel=1e-5)
    x[0, 0] = -0.0
    assert np.array_equal(decompress(model, params, compress(model, params, x).data).x, x)
    x[0, 0] = np.nan
    assert "a missing value has no probability" in refusal(compress, model, params, x)
    real = make_model(EventSpec((3,), (), "columns", columns=(*columns[:2], EventSpec((), (), "real"))), "made")
    with pytest.raises(UserError, match="has no table of the probabilities of a step: they are real"):
        compress(real, random_like(real.param_shapes), np.zeros((2, 3)))


@pytest.mark.parametrize("kind", ["latent", "flow"])
def test_kinds_without_tables_are_refused_in_one_sentence(kind):
    example = next(iter(KINDS.get(kind).EXAMPLES.values()))
    model = make_model(example.event, example.choice, context=example.context)
    x = np.zeros((2, *model.event.shape), model.event.dtype)
    assert "gives no probabilities of the values of its steps" in refusal(compress, model, {}, x)


def test_behind_the_end_of_a_string_nothing_is_coded():
    event = EventSpec((5,), (), "tokens", 4)
    model = make_model(event, "gru", hidden_size=4)
    params = random_like(model.param_shapes)
    x = np.array([[1, 3, 3, 3, 3], [0, 1, 2, 0, 1], [3, 3, 3, 3, 3]])
    mask = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])
    coded = round_trip(model, params, x, end=3)
    assert coded.bits == pytest.approx(bits_of(model, params, x, mask=mask), rel=1e-5) and coded.num_values == 8
    x[0, 3] = 0  # something stands behind the end
    assert round_trip(model, params, x, end=3).num_values == 15


def test_words_that_are_noise_draw_from_the_model():
    """Decoding is a sampler whose noise is the file."""
    event = EventSpec((3,), (), "tokens", 3)
    model = make_model(event, "made", hidden_sizes=(4,), ordering="random(seed=1)")
    params = jax.tree.map(lambda leaf: 2 * leaf + 0.5, model.init(jax.random.key(0)))
    words = np.random.default_rng(0).integers(0, 2**32, 4000, dtype=np.uint32)
    drawn = code_examples(choices(model, params)[0], Decoder(words), 512, 4096, {}, -1)
    possible = cases.all_values(event)
    check_follows(drawn, event, cases.log_prob(model, possible, params))


@pytest.fixture(scope="module")
def small_steps():
    model = make_model(EventSpec((4,), (), "tokens", 3), "made", hidden_sizes=(4,))
    return OutsideSteps(choices(model, random_like(model.param_shapes))[0].members, 2)


def test_what_is_raised_while_values_are_chosen_is_raised_by_the_walk(small_steps):
    """The loop is compiled: what Python raises inside it does not end the process, and the next walk works."""
    steps, seen = small_steps, []

    def choose(table, t, j):
        seen.append(t)
        if t == 2:
            raise UserError("no value for step 2")
        return np.ones((2, 1), np.int32)

    steps.begin()
    assert "no value for step 2" in refusal(steps.run, choose)
    assert seen == [0, 1, 2]
    steps.begin()
    steps.run(lambda table, t, j: np.ones((2, 1), np.int32))
    assert steps.t == 4


@pytest.mark.parametrize("values", [None, np.ones((2, 2), np.int32), np.ones((1, 1), np.int32), np.full((2, 1), 0.5)])
def test_values_of_another_shape_or_type_are_refused(values, small_steps):
    small_steps.begin()
    with pytest.raises(TypeError, match=r"chosen values must be whole numbers \(2, 1\), not"):
        small_steps.run(lambda table, t, j: values)


def test_an_interrupt_inside_of_a_callback_is_raised_when_the_program_has_ended(small_steps, monkeypatch):
    """Python raises it anywhere in the callback, also where no code of arjax could keep it from the program."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # processes of parallel tests ignore it
    values, seen = Asked.values, []

    def interrupted(who, table):
        found = values(who, table)
        if who[1] == 1:
            signal.raise_signal(signal.SIGINT)
        return found

    monkeypatch.setattr(Asked, "values", interrupted)
    try:
        small_steps.begin()
        with pytest.raises(KeyboardInterrupt):
            small_steps.run(lambda table, t, j: seen.append(t) or np.ones((2, 1), np.int32))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler and not Asked._waiting
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen[:2] == [0, 1]


def test_an_interrupt_that_is_only_noted_changes_no_value(small_steps, monkeypatch):
    """As in a program whose own handler asks it to stop later."""
    noted, seen = [], []
    before = signal.signal(signal.SIGINT, lambda number, frame: noted.append(number))

    def choose(table, t, j):
        seen.append(t)
        signal.raise_signal(signal.SIGINT)
        return np.ones((2, 1), np.int32)

    try:
        small_steps.begin()
        small_steps.run(choose)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [0, 1, 2, 3] and set(noted) == {signal.SIGINT}


def test_the_work_is_announced_once():
    model = make_model(EventSpec((2, 3), (), "tokens", 5), "made", hidden_sizes=(4,))
    params, x = random_like(model.param_shapes), np.random.default_rng(0).integers(0, 5, (9, 2, 3))
    announced: list[str] = []
    options = CodingOptions(streams=4, about={"form": "array"}, tell=lambda: announced.append("begins"))
    found = compress(model, params, x, options)
    assert announced == ["begins"] and found.streams == 4  # decoding for the comparison tells nothing
    restored = decompress(model, params, found.data, options)
    assert np.array_equal(restored.x, x) and restored.about == {"form": "array"} and len(announced) == 2


@pytest.mark.parametrize(("option", "least"), [("streams", 0), ("num_orders", 1)])
def test_options_are_checked_when_they_are_made(option, least):
    for value, sentence in ((least - 1, f"at least {least}"), (2**16 + 1, "at most 65536"), (True, "an integer")):
        assert f"{option} must be {sentence}, not" in refusal(CodingOptions, **{option: value})


EVENT = arjax.EventSpec((4,), kind="levels", num_levels=5)


@pytest.fixture
def study(load_script):
    return load_script("experiments/compression/study.py")


def test_a_file_keeps_the_limit_and_comes_back(study):
    x = np.arange(400).reshape(100, 4) % 5
    dataset = from_arrays(EVENT, name="own", train={"x": x}, test={"x": x})
    run = arjax.fit_arrays(arjax.make_model(EVENT, "independent"), train=dataset, steps=2, quiet=True)
    times, found = study.both_ways(run, x, None, None)
    assert times["different"] == 0 and min(times["seconds_in"], times["seconds_out"]) > 0
    bits = -run.log_prob(x).sum() / np.log(2)
    assert study.score(run, x, None, None) == pytest.approx(bits / x.size)
    assert study.allowed(found) == pytest.approx(1.001 * bits / 8 + 512 + 16 * 100 + 8, rel=1e-4)
    assert len(found.data) <= study.allowed(found)


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
    assert "side information that arjax does not write" in refusal(to_bytes, LETTERS, LETTERS.encode("abc"), exceptions)


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
    assert "this model was not trained on one" in refusal(compress, model, params, b"abc")
    for other, sentence in (
        (make_model(EventSpec((2, 3)), "made", hidden_sizes=(3,)), "examples of this model are 2 x 3 sites, binary"),
        (make_model(model.event, "gru", hidden_size=4, context=ContextSpec("label", 2)), "without a context"),
        (make_model(model.event, "made", hidden_sizes=(3,), ordering="reversed"), "raster"),
    ):
        options = CodingOptions(vocabulary=LETTERS)
        assert sentence in refusal(compress, other, random_like(other.param_shapes), b"abc", options)


def test_the_only_way_is_not_compared():
    assert coder._best([object()], np.zeros((2, 3), int), {}) == 0
