"""The numbers of a page are those of Python: the scripts of the file, run by node."""

import page_cases
import pytest

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.data.vocabulary import UNKNOWN, make_vocabulary
from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.testing.models import autoregressive_networks


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
