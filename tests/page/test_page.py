"""The file of a page, the models that have none, and numbers that are those of Python: node runs the scripts."""

import dataclasses
import html
import json
import re

import numpy as np
import page_cases
import pytest
from refusals import refusal

from arjax.core.errors import UserError, say_once
from arjax.core.spec import ContextSpec, EventSpec, class_label
from arjax.data.vocabulary import UNKNOWN, Vocabulary, make_vocabulary
from arjax.models import make_model
from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.page import make_page
from arjax.page import page as pages
from arjax.page.contents import about, check
from arjax.testing.models import autoregressive_networks


@pytest.fixture(scope="module")
def page():
    model, params = page_cases.small("gru", page_cases.text_event())
    data = page_cases.data_of(model.event, page_cases.TEXT)
    return make_page(model, params, dataclasses.replace(data, name="a </script> b"))


def test_a_page_asks_for_nothing_and_no_text_of_the_data_ends_its_scripts(page):
    assert not re.search(r"https?://|\bfetch\(|XMLHttpRequest|import\(|@import|url\(", page.html)
    assert re.findall(r' (?:src|href)="([^"]*)"', page.html) == ["data:,"]
    assert page.html.count("<script") == page.html.count("</script>") == 4
    model = json.loads(re.search(r'id="model">(.*?)</script>', page.html, flags=re.S)[1])
    assert tuple(model["symbols"]) == page_cases.SYMBOLS and model["title"] == "a </script> b · gru"


def test_a_notebook_shows_the_page_itself(page):
    frame = page._repr_html_()
    assert "\n" not in frame and "$" not in frame and "`" not in frame  # Markdown and formulas leave it alone
    assert html.unescape(re.search(r'srcdoc="([^"]*)"', frame)[1]) == page.html


def test_weights_are_exact_or_in_half_precision(monkeypatch, capsys):
    model, params = page_cases.small("deep_nade", page_cases.grid_event())
    data = page_cases.data_of(model.event)
    exact, half = (make_page(model, params, data, precision=name) for name in ("float32", "float16"))
    assert not exact.half and exact.params["mlp"]["in_kernel"] is not None
    np.testing.assert_array_equal(exact.params["mlp"]["in_kernel"], params["mlp"]["in_kernel"])
    np.testing.assert_array_equal(half.params["mlp"]["in_kernel"], params["mlp"]["in_kernel"].astype(np.float16))
    assert len(half.html) < len(exact.html) and "rounded to half precision" in half.html
    assert not make_page(model, params, data).half
    monkeypatch.setattr(pages, "LARGE", len(exact.html) // 2)
    say_once.cache_clear()
    small = make_page(model, params, data)
    assert small.half and small.html == half.html
    assert re.fullmatch(
        r"arjax: the page .* in half precision: else it would have 0\.[01] MB\n", capsys.readouterr().err
    )
    assert not make_page(model, params, data, precision="float32").half
    params["mlp"]["in_bias"] = params["mlp"]["in_bias"] + np.float32(1e5)
    assert "do not fit half precision" in refusal(make_page, model, params, data, precision="float16")
    assert "precision must be auto, float32 or float16" in refusal(make_page, model, params, data, precision="half")
    params["mlp"]["in_bias"] = params["mlp"]["in_bias"] * np.nan
    assert "not all finite" in refusal(make_page, model, params, data)


GRID, TEXT = EventSpec((4, 4), (), "levels", 5), EventSpec((6,), (), "tokens", 3)


@pytest.mark.parametrize(
    ("event", "network", "options", "sentence"),
    [
        (EventSpec((3,), (), "real"), "made", {}, "sites of one whole number below 256, not"),
        (EventSpec((4, 4), (3,), "levels", 5), "made", {}, "sites of one whole number below 256, not"),
        (EventSpec((50, 50), (), "binary"), "gru", {}, "a grid of at most 1600 sites, not 50 x 50 sites"),
        (EventSpec((2, 2, 2), (), "binary"), "gru", {}, "a vector or a grid of at most 1600 sites, not 2 x 2 x 2"),
        (EventSpec((4,), (), "levels", 257), "gru", {}, "sites of one whole number below 256, not"),
        (GRID, "lstm", {"context": ContextSpec("vector", 3)}, "a context that is a class, and for no other"),
        (GRID, "lstm", {"context": ContextSpec(a=class_label(2), b=class_label(2))}, "a context that is a class, and"),
        (GRID, "made", {"partition": "rows", "conditional": "mixture_of_products"}, "the probability of each value"),
        (GRID, "made", {"partition": "rows"}, "model.partition=sites"),
        (GRID, "lstm", {"dtype": "bfloat16"}, "in float32, and this network in bfloat16"),
        (GRID, "deep_nade", {"hidden_sizes": (9000, 2000)}, "at most 10,000,000 parameters, and this model 1"),
        (TEXT, "gru", {"ordering": "reversed"}, "from left to right: use model.ordering=raster"),
    ],
)
def test_models_without_a_page_are_refused_in_a_sentence(event, network, options, sentence):
    model = make_model(event, network, **options)
    vocabulary = Vocabulary(("a", "b", "c")) if event is TEXT else None
    assert sentence in refusal(check, model, page_cases.data_of(event, vocabulary))


def test_a_page_says_how_much_of_a_text_is_read():
    model = make_model(page_cases.text_event(), "gru")
    endless, ending = (
        page_cases.data_of(model.event, dataclasses.replace(page_cases.TEXT, end=end)) for end in (None, 0)
    )
    read = [about(model, data, None)[-1] for data in (endless, ending)]
    assert read[0].endswith("; of a longer text it reads the last ones, at least half as many.")
    assert read[1].endswith(f"at most {model.event.num_sites} characters.")


def test_a_network_that_no_page_computes_is_named(monkeypatch, tmp_path):
    def fail(*arguments):
        raise UserError("a page does not compute it")

    model, params = page_cases.small("gru", page_cases.text_event())
    data = page_cases.data_of(model.event, page_cases.TEXT)
    monkeypatch.setattr("arjax.page.contents._steps", fail)
    assert refusal(make_page, model, params, data) == "no page of the network 'gru': a page does not compute it"


def test_a_page_has_a_path_and_says_it(page, tmp_path):
    assert repr(page) == f"Page({len(page.html.encode()):,} bytes)"
    for name in ("a.html", "b.HTM"):
        saved = page.saved(tmp_path / name)
        assert saved.path.read_text(encoding="utf-8") == page.html
        assert repr(saved) == f"Page({str(tmp_path / name)!r}; {len(page.html.encode()):,} bytes)"
    half = repr(dataclasses.replace(page, half=True))
    assert half.endswith("bytes; weights in half precision)")
    assert "a page is a file such as page.html, not" in refusal(page.saved, tmp_path / "a.pdf")


def test_bytes_and_other_kinds_of_models_are_refused():
    model = make_model(EventSpec((6,), (), "tokens", 256), "gru")
    data = page_cases.data_of(model.event, Vocabulary(tuple(map(chr, range(256))), unit="byte"))
    assert "texts of characters" in refusal(check, model, data)
    event = EventSpec((3,), kind="real")
    other = make_model(event, kind="gaussian_mixture", components=2, start="random")
    assert "a page needs the conditionals of an" in refusal(make_page, other, {}, page_cases.data_of(event))


def check_of(network, event, path, vocabulary=None, **options):
    """A request about the page of a small model, and the comparison of its answer with Python."""
    model, params = page_cases.small(network, event, **options)
    page = page_cases.write(model, params, path, vocabulary)
    any_order = vocabulary is None and isinstance(model.network, OrderAgnosticNetwork)
    return (page_cases.check_given if any_order else page_cases.check_steps)(model, page.params, page)


def test_log_probabilities_are_those_of_python_on_20_prefixes(tmp_path):
    grid, text = page_cases.grid_event(), page_cases.text_event()
    cases = [
        check_of("deep_nade", grid, tmp_path / "deep_nade.html", context=page_cases.CLASSES),
        check_of("gru", text, tmp_path / "gru.html", page_cases.TEXT),
        check_of("transformer", text, tmp_path / "gpt.html", page_cases.TEXT, context=page_cases.CLASSES),
        check_of("lstm", grid, tmp_path / "lstm.html", ordering="spiral"),
    ]
    requests, comparisons = zip(*cases, strict=True)
    for answer, compare in zip(page_cases.numbers(requests), comparisons, strict=True):
        compare(answer)


def test_the_tokens_of_a_text_are_those_of_python(tmp_path):
    """Also where the character that stands for unknown ones is in the data itself, with a token of its own."""
    vocabulary = make_vocabulary("aabb" + 2 * UNKNOWN + "c", min_count=2, end=True)
    model, params = page_cases.small("gru", EventSpec((4,), (), "tokens", len(vocabulary)))
    page = page_cases.write(model, params, tmp_path / "text.html", vocabulary)
    texts = ["abba", f"a{UNKNOWN}b", "c<end>", ""]
    (found,) = page_cases.numbers([{"page": str(page.path), "texts": texts}])
    assert found == [vocabulary.encode(text).tolist() for text in texts] and found[1] == [0, 2, 1]


def test_weights_in_half_precision_are_those_that_the_page_names(tmp_path):
    model, params = page_cases.small("deep_nade", page_cases.grid_event())
    page = page_cases.write(model, params, tmp_path / "half.html", precision="float16")
    assert page.half
    request, compare = page_cases.check_given(model, page.params, page)
    compare(page_cases.numbers([request])[0])


@pytest.mark.slow
@pytest.mark.parametrize("network", autoregressive_networks())
def test_all_networks_have_a_page_with_the_numbers_of_python_or_a_refusal(network, tmp_path):
    page_cases.need_node()
    for event, vocabulary in ((page_cases.grid_event(), None), (page_cases.text_event(), page_cases.TEXT)):
        try:
            request, compare = check_of(network, event, tmp_path / "page.html", vocabulary)
        except UserError as error:  # of the event or of its usual order, before the page
            assert "page" not in str(error)
            continue
        compare(page_cases.numbers([request])[0])
