"""The file of a page, and the models that have none."""

import dataclasses
import html
import json
import re

import numpy as np
import page_cases
import pytest

from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.data.vocabulary import Vocabulary
from arjax.models import make_model
from arjax.page import make_page
from arjax.page.contents import check


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


def test_weights_are_exact_or_in_half_precision():
    model, params = page_cases.small("deep_nade", page_cases.grid_event())
    data = page_cases.data_of(model.event)
    exact, half = (make_page(model, params, data, precision=name) for name in ("float32", "float16"))
    assert not exact.half and exact.params["mlp"]["in_kernel"] is not None
    np.testing.assert_array_equal(exact.params["mlp"]["in_kernel"], params["mlp"]["in_kernel"])
    np.testing.assert_array_equal(half.params["mlp"]["in_kernel"], params["mlp"]["in_kernel"].astype(np.float16))
    assert len(half.html) < len(exact.html) and "rounded to half precision" in half.html
    params["mlp"]["in_bias"] = params["mlp"]["in_bias"] + np.float32(1e5)
    with pytest.raises(UserError, match="do not fit half precision"):
        make_page(model, params, data, precision="float16")
    with pytest.raises(UserError, match="not all finite"):
        make_page(model, {"mlp": params["mlp"] | {"in_bias": params["mlp"]["in_bias"] * np.nan}}, data)
    with pytest.raises(UserError, match="precision must be auto, float32 or float16"):
        make_page(model, params, data, precision="half")


GRID, TEXT = EventSpec((4, 4), (), "levels", 5), EventSpec((6,), (), "tokens", 3)


@pytest.mark.parametrize(
    ("event", "network", "options", "sentence"),
    [
        (EventSpec((3,), (), "real"), "made", {}, "sites of one whole number below 256, not"),
        (EventSpec((4, 4), (3,), "levels", 5), "made", {}, "sites of one whole number below 256, not"),
        (EventSpec((50, 50), (), "binary"), "gru", {}, "a grid of at most 1600 sites, not 50 x 50 sites"),
        (GRID, "lstm", {"context": ContextSpec("vector", 3)}, "a context that is a class, and for no other"),
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
    with pytest.raises(UserError, match=sentence):
        check(model, page_cases.data_of(event, vocabulary))


def test_bytes_and_other_kinds_of_models_are_refused():
    model = make_model(EventSpec((6,), (), "tokens", 256), "gru")
    with pytest.raises(UserError, match="texts of characters"):
        check(model, page_cases.data_of(model.event, Vocabulary(tuple(map(chr, range(256))), unit="byte")))
    event = EventSpec((3,), kind="real")
    other = make_model(event, kind="gaussian_mixture", components=2, start="random")
    with pytest.raises(UserError, match="a page needs the conditionals of an autoregressive model"):
        make_page(other, {}, page_cases.data_of(event))
