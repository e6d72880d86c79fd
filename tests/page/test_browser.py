"""The pages in a browser: headless Chromium, with every button and key, on a small screen, without a network."""

import shutil

import numpy as np
import page_cases
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} is there")
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[browser]'")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Small models with their pages, by the form of the page."""
    folder = tmp_path_factory.mktemp("pages")
    grid, text = page_cases.grid_event(), page_cases.text_event(length=6)
    cases = {
        "any_order": (page_cases.small("deep_nade", grid), None),
        "in_order": (page_cases.small("lstm", grid, ordering="snake", context=page_cases.CLASSES), None),
        "text": (page_cases.small("gru", text), page_cases.TEXT),
    }
    return {
        form: (*made, page_cases.write(*made, folder / f"{form}.html", vocabulary))
        for form, (made, vocabulary) in cases.items()
    }


@pytest.fixture(scope="module")
def opened(browser, models):
    """Opens a page of a form from disk, on a screen of 360 x 640; at the end there were no errors and no requests."""
    problems, contexts = [], []

    def open_page(form, width=360):
        context = browser.new_context(viewport={"width": width, "height": 640}, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        url = models[form][2].path.as_uri()
        page.on("request", lambda request: request.url == url or problems.append(request.url))
        page.goto(url)
        page.evaluate("(arjaxPage.picture ?? arjaxPage.text).random = randomNumbers(5)")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def text_of(page, selector):
    return page.inner_text(selector)


def idle(page):
    page.wait_for_function("!arjaxPage.work.running")


def test_numbers_are_those_of_python_on_20_prefixes(opened, models):
    pass_of = (
        "({sequences, observed}) => sequences.map((values, i) =>"
        " Array.from(arjaxPage.picture.pass(Int32Array.from(values), Uint8Array.from(observed[i]))))"
    )
    read = (
        "({sequences, label}) => (arjaxPage.%s.reader.restart(label),"
        " sequences.map((values) => arjaxPage.%s.reader.read(values).map((row) => Array.from(row))))"
    )
    scripts = {"any_order": pass_of, "in_order": read.replace("%s", "picture"), "text": read.replace("%s", "text")}
    for form, script in scripts.items():
        check = page_cases.check_given if form == "any_order" else page_cases.check_steps
        request, compare = check(*models[form])
        compare(opened(form).evaluate(script, request))


def test_a_picture_in_any_order(opened):
    page = opened("any_order")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert len(page.query_selector_all(".cell")) == 16 and text_of(page, "#sofar").startswith("Observed 0 of 16: 0.00")
    page.select_option("#pen", "3")
    page.click(".cell >> nth=5")
    assert text_of(page, "#status").startswith("Row 2, column 2 is 3: ")
    assert "observed" in page.get_attribute(".cell >> nth=5", "class")
    page.click(".bar >> nth=2")  # of the site that comes next, the first one
    assert page.evaluate("[...arjaxPage.picture.values].slice(0, 6)") == [2, 0, 0, 0, 0, 3]
    page.select_option("#order", "entropy")
    least = page.evaluate("arjaxPage.picture.next('entropy')")
    page.click("#draw")
    assert page.evaluate("arjaxPage.picture.history.at(-1).site") == least
    page.select_option("#order", "random")
    page.click("#rest")
    idle(page)
    assert text_of(page, "#sofar").startswith("Observed 16 of 16: ") and page.is_disabled("#draw")
    page.click("#compare")
    idle(page)
    totals = {
        name: float(text_of(page, f"#total-{name}").split()[0]) for name in ("own", "raster", "random", "entropy")
    }
    assert len(set(totals.values())) > 2 and all(value > 0 for value in totals.values())
    page.click("#undo")
    assert text_of(page, "#sofar").startswith("Observed 15 of 16: ") and text_of(page, "#total-raster") == "–"
    page.click("#clear")
    assert text_of(page, "#sofar").startswith("Observed 0 of 16: 0.00")


def test_a_picture_by_keys(opened):
    page = opened("any_order", width=900)
    page.focus(".cell >> nth=0")
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "End", "ArrowDown", "Home", "ArrowRight"):
        page.keyboard.press(key)
    page.select_option("#order", "clicks")
    page.focus(".cell >> nth=5")
    page.keyboard.press("Enter")
    assert page.evaluate("arjaxPage.picture.history.map((step) => step.site)") == [5]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("d")
    assert page.evaluate("arjaxPage.picture.history.length") == 2
    page.keyboard.press("Backspace")
    page.keyboard.press("u")
    assert page.is_disabled("#undo")
    page.keyboard.press("r")
    idle(page)
    page.keyboard.press("o")
    idle(page)
    assert text_of(page, "#total-entropy") != "–"
    page.keyboard.press("c")
    assert text_of(page, "#sofar").startswith("Observed 0 of 16")
    page.focus(".bar >> nth=2")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")  # the bar of this value still has the focus
    assert page.evaluate("arjaxPage.picture.history.map((step) => step.value)") == [2, 2]


def test_a_picture_in_one_order(opened):
    page = opened("in_order")
    page.click(".cell >> nth=4")  # the snake visits the second row from its end
    assert text_of(page, "#status") == "This network sees the sites in one order: Row 1, column 1 comes next."
    for _ in range(5):
        page.click("#draw")
    assert page.evaluate("arjaxPage.picture.history.map((step) => step.site)") == [0, 1, 2, 3, 7]
    page.click("#undo")
    bits = text_of(page, "#sofar")
    page.select_option("#class", "2")
    assert text_of(page, "#sofar") != bits and text_of(page, "#sofar").startswith("Observed 4 of 16: ")
    assert text_of(page, "#status") == ""  # what it said held for the other class
    page.click(".bar >> nth=4")
    assert page.evaluate("arjaxPage.picture.values[7]") == 4
    page.click("#rest")
    idle(page)
    assert text_of(page, "#sofar").startswith("Observed 16 of 16: ") and not page.is_visible("#totals")
    page.click("#clear")


def test_a_text(opened, models):
    model, params, _ = models["text"]
    page = opened("text")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.fill("#typed", "abz")
    assert text_of(page, "#status") == "The network does not know z: left out." and page.input_value("#typed") == "ab"
    assert len(page.query_selector_all("#bits .char")) == 2
    page.click("#next button >> nth=0")
    page.click("#draw")
    page.click("#rest")
    idle(page)
    values = page.evaluate("arjaxPage.text.values")
    assert len(values) == 204 and text_of(page, "#sofar").startswith("204 characters: ")
    # The first window, and the last one, of which the network has read the first half before it draws the others.
    x = np.array([values[:6], values[198:204]], np.int32)
    bits_of_x = -page_cases.table(model, params, x) / np.log(2)
    bits = page.evaluate("arjaxPage.text.bits")
    np.testing.assert_allclose(bits[:6], [bits_of_x[0, n, x[0, n]] for n in range(6)], atol=1e-4)
    np.testing.assert_allclose(bits[201:204], [bits_of_x[1, n, x[1, n]] for n in range(3, 6)], atol=1e-4)
    page.click("#undo")
    assert text_of(page, "#sofar").startswith("203 characters: ")
    page.click("#clear")
    page.click("#typed")
    page.keyboard.type("abba")
    assert page.evaluate("arjaxPage.text.decode(arjaxPage.text.values)") == "abba"
    assert "bits per character" in text_of(page, "#sofar")
    page.focus("#next button >> nth=1")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")  # the next character in this place
    assert page.evaluate("arjaxPage.text.values.length") == 6
    page.evaluate("arjaxPage.model.unknown = 0")  # a vocabulary in which rare characters share a token
    page.fill("#typed", "z")
    assert text_of(page, "#status") == "The network does not know z: read as “other”."
    assert page.evaluate("arjaxPage.text.values") == [0] and page.input_value("#typed") == "z"
    assert text_of(page, "#sofar").startswith("1 character: ")
