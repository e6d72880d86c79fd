"""Ways to code examples and which is taken, digests that files keep, and sizes of other formats."""

import gzip
import types

import jax
import numpy as np
import pytest
from refusals import refusal

from arjax.coding import CodingOptions, Restored, coder, compress, examples
from arjax.coding.classical import COMPRESSORS, image_sizes, packed, sizes
from arjax.coding.container import digest, digest_of_arrays
from arjax.coding.entropy import Decoder
from arjax.coding.examples import Choice, choices
from arjax.core.arrays import fingerprint_of_arrays
from arjax.core.files import fingerprint_of
from arjax.core.spec import ContextSpec, EventSpec
from arjax.data.vocabulary import make_vocabulary
from arjax.interop.model_file import _checksum
from arjax.models import ModelChoice, make_model
from arjax.models.extras import StepMember

TOKENS = EventSpec((3,), (), "tokens", 3)


def of_orders():
    return make_model(TOKENS, "masked_transformer", orders="pool(num=3)", num_layers=1, width=8)


def order_of(choice):
    return np.asarray(choice.members[0].model.factorization.order).tolist()


def test_a_model_of_several_orders_has_a_way_for_each():
    model = of_orders()
    (one,), three = choices(model, {}), choices(model, {}, 3)
    assert one.name == "order 0 of 1" and order_of(one) == np.asarray(model.factorization.order).tolist()
    assert [choice.name for choice in three] == ["order 0 of 3", "order 1 of 3", "order 2 of 3"]
    members = model.orders.members(3)
    assert list(map(order_of, three)) == [np.asarray(member.order).tolist() for member in members]
    assert all(choice.members[0].model.orders is None for choice in (one, *three))


def test_a_mixture_has_one_way_in_one_order_and_else_one_for_each_member():
    def names(*orders):
        parts = {
            str(k): ModelChoice(options={"ordering": order}, network="independent") for k, order in enumerate(orders)
        }
        model = make_model(TOKENS, kind="mixture", parts=parts)
        params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), model.param_shapes)
        return [(choice.name, len(choice.members)) for choice in choices(model, params)]

    assert names("raster", "raster") == [("", 2)]
    assert names("raster", "reversed") == [("member 0 of 2", 1), ("member 1 of 2", 1)]


def test_members_of_several_orders_are_taken_in_the_order_of_their_draws(monkeypatch):
    members = (StepMember(of_orders(), {}, 0.0),) * 2
    monkeypatch.setattr(examples, "step_members", lambda model, params: members)
    (choice,) = choices(None, {})
    assert [member.model.orders for member in choice.members] == [None, None] and choice.name == ""


def test_the_best_way_is_that_of_the_fewest_nats_of_some_examples(monkeypatch):
    seen, x = [], np.arange(300)[:, None]

    def way(nats):
        return types.SimpleNamespace(nats=lambda x, context: seen.append((x[:, 0], context["label"])) or nats)

    assert coder._best([way(3.0), way(1.0), way(2.0)], x, {"label": x[:, 0]}) == 1
    assert len(seen) == 3 and all((rows == labels).all() for rows, labels in seen)
    assert seen[0][0][[0, -1]].tolist() == [0, 299] and len(seen[0][0]) == 128
    assert coder._best([way(3.0), way(1.0)], x[:2], {"label": x[:2, 0]}) == 1 and seen[-1][0].tolist() == [0, 1]
    monkeypatch.setattr(examples, "_log_prob", lambda model, params, batch: model * params * batch.x.sum())
    assert Choice("", (StepMember(2, 5, 0.0), StepMember(0, 0, 0.0))).nats(x[:3], None) == -30.0


def test_a_machine_that_does_not_repeat_its_computation_writes_no_file(monkeypatch):
    model = make_model(TOKENS, "independent")
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), model.param_shapes)
    monkeypatch.setattr(coder, "_probe", lambda *args: "")
    monkeypatch.setattr(coder, "_code", lambda *args: None)
    monkeypatch.setattr(coder, "decompress", lambda *args: Restored(np.ones((2, 3), int), {}))
    assert "does not repeat its own computation" in refusal(compress, model, params, np.zeros((2, 3), int))
    assert compress(model, params, np.ones((2, 3), int)).num_exceptions == 0


def test_texts_are_refused_before_the_work_is_announced():
    vocabulary = make_vocabulary("abc")
    options = CodingOptions(vocabulary=vocabulary, tell=lambda: pytest.fail("it was announced"))
    for more, sentence in (({"ordering": "reversed"}, "raster"), ({"context": ContextSpec("label", 2)}, "a context")):
        assert sentence in refusal(compress, make_model(TOKENS, "made", **more), {}, b"abc", options)


def test_tables_that_are_not_finite_decode_nothing():
    decoder, coded = Decoder(np.zeros(4, np.uint32)), np.ones((1, 1), bool)
    table = np.full((1, 1, 2), np.nan, np.float32)
    assert "probabilities that are not finite" in refusal(decoder, table, coded, np.zeros((1, 1), np.int32))


def test_digests_in_files_keep_their_form():
    """Files that were written before name these."""
    tree = {"a": np.arange(3, dtype=np.int32), "b": np.float32(1)}
    assert (digest(b"a", b"bc"), digest_of_arrays(tree)) == ("9a8acca1b6c6c0be", "dc02f456a427e2f9")
    assert (fingerprint_of_arrays(tree), fingerprint_of([b"a", b"b"])) == ("d8f5abd2709d98d1", "fb8e20fc2e4c3f24")
    tensors = {"y": np.arange(3, dtype=np.int32), "x": np.ones(2, np.float32)}
    expected = "cf43ae7a70e66b6eb1846ec3a30bf58c27a69894614c8af434d355df360f9652"
    assert _checksum({"b": 1, "a": [2]}, tensors) == expected


def test_sizes_of_other_formats():
    x = np.arange(16).reshape(2, 8) % 2
    assert packed(x, 2) == bytes([0b01010101] * 2) and packed(x, 256) == x.astype(np.uint8).tobytes()
    assert [len(packed(x, num)) for num in (3, 257, 2**16, 2**16 + 1)] == [16, 32, 32, 64]
    content = b"abc" * 50
    assert list(COMPRESSORS) == list(sizes(content)) == ["gzip", "bz2", "xz"]
    assert sizes(content)["gzip"] == len(gzip.compress(content, 9, mtime=0)) > sizes(content, content)["gzip"] >= 0


@pytest.mark.parametrize(
    ("event", "found"),
    [
        (EventSpec((8,)), False),
        (EventSpec((2, 2), kind="real"), False),
        (EventSpec((2, 2), (), "levels", 257), False),
        (EventSpec((2, 2), (2,), "levels", 9), False),
        (EventSpec((2, 2)), True),
        (EventSpec((2, 2), (), "levels", 256), True),
        (EventSpec((2, 2), (3,), "levels", 9), True),
    ],
)
def test_sizes_of_pictures(event, found):
    pytest.importorskip("PIL")
    one, two = (image_sizes(np.zeros((num, *event.shape), event.dtype), event) for num in (1, 2))
    assert bool(one) == found and two == {name: 2 * size for name, size in one.items()}
    assert not found or (one.keys() == {"PNG", "WebP"} and min(one.values()) > 20)
