"""Everything that a figure shows is as recorded: texts, sizes, limits, colours, lines, points and images.

    ARJAX_WRITE_GOLDEN=1 pytest tests/reporting/test_figures.py

writes the record, `figures.json`, anew. Change it only after looking at the pictures.
"""

import functools
import json
import os
import pathlib
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from arjax.factorization import make_factorization
from arjax.reporting import diagrams, figures, plots
from arjax.sweep import plots as of_sweeps

FILE = pathlib.Path(__file__).with_name("figures.json")


def numbers(values) -> list:
    """Nested lists of six significant digits."""
    rounded = np.vectorize(lambda value: float(f"{value:.6g}"), otypes=[float])
    values = np.asarray(values, float)
    return (rounded(values) if values.size else values).tolist()


def of_text(text) -> list:
    about = text.get_fontsize(), to_hex(text.get_color()), text.get_ha(), text.get_va(), text.get_parse_math()
    return [text.get_text(), numbers(text.get_position()), *about]


def of_line(line) -> dict:
    style = line.get_linestyle(), line.get_linewidth(), line.get_marker(), line.get_markersize(), line.get_fillstyle()
    about = to_hex(line.get_color()), line.get_alpha(), line.get_label().removeprefix("_"), line.get_zorder()
    return {"xy": numbers([line.get_xdata(), line.get_ydata()]), "style": [*style, *about]}


def of_collection(drawn) -> dict:
    paths = [numbers(path.vertices) for path in drawn.get_paths()[:8] if len(path.vertices) < 40]
    colours = [to_hex(colour, True) for colour in drawn.get_facecolors()]
    sizes = numbers(getattr(drawn, "get_sizes", lambda: [])())
    return {"paths": paths, "at": numbers(drawn.get_offsets()), "colours": colours, "sizes": sizes}


def of_image(image) -> list:
    pixels = np.asarray(image.get_array(), float)
    weights = np.arange(pixels.size) % 97
    sums = numbers([pixels.sum(), (pixels.ravel() * weights).sum()])
    return [*pixels.shape, *sums, image.get_cmap().name, *numbers(image.get_clim()), image.get_interpolation()]


def of_arrow(arrow) -> list:
    return [*map(str, (arrow.shrinkA, arrow.shrinkB, arrow.get_connectionstyle().__dict__))]


def of_axis(axis) -> dict:
    ticks = [[of_text(label) for label in each.get_ticklabels()] for each in (axis.xaxis, axis.yaxis)]
    legend = axis.get_legend()
    return {
        "texts": [of_text(text) for text in (axis.title, axis.xaxis.label, axis.yaxis.label, *axis.texts)],
        "limits": numbers([axis.get_xlim(), axis.get_ylim()]),
        "scale": [axis.get_xscale(), axis.get_yscale(), axis.axison],
        "ticks": ticks if axis.axison else [],
        "lines": [of_line(line) for line in axis.lines],
        "bars": [numbers([*bar.get_xy(), bar.get_width(), bar.get_height()]) for bar in axis.patches],
        "collections": [of_collection(drawn) for drawn in axis.collections],
        "images": [of_image(image) for image in axis.images],
        "arrows": [of_arrow(text.arrow_patch) for text in axis.texts if getattr(text, "arrow_patch", None)],
        "legend": [of_text(text) for text in legend.get_texts()] if legend else [],
        "spines": [side for side in axis.spines if axis.spines[side].get_visible()],
        "share": numbers(spec.get_gridspec().get_height_ratios()) if (spec := axis.get_subplotspec()) else [],
    }


def shown(figure) -> dict:
    figure.canvas.draw()
    below = [[text.get_text(), text.get_fontsize()] for legend in figure.legends for text in legend.get_texts()]
    return {"inches": numbers(figure.get_size_inches()), "axes": list(map(of_axis, figure.axes)), "legends": below}


def saved(draw, *arguments):
    """The one figure that a function writes to a file."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "save_figure", lambda figure, path: found.append(figure))
        assert draw("none.png", *arguments) in (None, True)
    (figure,) = found
    return figure


RAMP = np.arange(160.0).reshape(2, 5, 4, 4) / 10
STEPS = np.arange(6.0)
CURVES = {
    f"{name}{more}": STEPS / 7 + len(name) / 50
    for name in ("forward_own", "forward_data", "excess")
    for more in ("", "_stderr")
}


def results(dataset, metric, *rows):
    names = "model", "ordering", "seed", "value", "value_stderr", "published"
    return [{"dataset": dataset, "metric": metric, **dict(zip(names, row, strict=True))} for row in rows]


def figure_of_results():
    alone = results("alone", "nll_nats", ("MADE", "raster", 0, "7", "", ""))
    digits = [
        ("MADE", "raster", 0, "1.7", "0.01", "1.75"),
        ("NADE", "raster", 0, "1.8", "0.02", ""),
        ("LSTM", "raster", 0, "1.85", "", ""),
        ("GRU", "raster", 0, "1.9", "", "1.6"),
        ("FVSBN", "raster", 0, "9.0", "", ""),
    ]
    orders = [
        ("MADE", order, seed, str(80 + seed + len(order)), "0.5", "")
        for order in ("raster", "spiral")
        for seed in (0, 1)
    ]
    mixed = results("mixed", "nll_nats", ("A", "raster", 0, "3", "", ""), ("A", "snake", 0, "4", "", ""))
    mixed += results("mixed", "negative_elbo_nats", ("B", "raster", 0, "3.5", "0.1", ""))
    higher = [(name, "raster", 0, value, "", "") for name, value in zip("ABCDE", "87651", strict=True)]
    rows = [
        *alone,
        *results("digits", "bits_per_dim", *digits),
        *results("dna", "nll_nats", *orders),
        *mixed,
        *results("judge", "accuracy", *higher),
        *results("many", "nll_nats", *[("M", "o", 0, "1", "", "")] * 201),
    ]
    assert not of_sweeps.draw_results("none.png", alone)
    return saved(of_sweeps.draw_results, rows)


def figure_of_orders(orders=("raster", "spiral", "snake")):
    def ended(order, seed, value):
        config = {"model": {"ordering": order}, "seed": seed}
        return SimpleNamespace(
            ordering=order,
            config=config,
            run=SimpleNamespace(metric="nll_nats"),
            report={"nll_nats": value, "split": "test"},
            data="dna",
            model="MADE",
        )

    finished = [ended(order, seed, 80.0 + 2 * place + seed) for place, order in enumerate(orders) for seed in (0, 1)]
    return saved(of_sweeps.draw_orders, finished)


def figure_of_curves():
    Curve = of_sweeps.BandedCurve
    many = {f"run {n}": Curve([10, 100, 1000], [9.0 - n / 10, 5.0, 3.0 + n / 20]) for n in range(12)}
    some = {"run 1": Curve([10, 100], [9.0, 8.0], [0.5, 0.25]), "$other": Curve([10, 100], [7.9, 7.95])}
    panels = [("dna", "nll_nats", many), ("digits", "bits_per_dim", some), ("one", "nll_nats", {"a": some["run 1"]})]
    return saved(of_sweeps.learning_curves, panels)


def figure_of_completions():
    hidden = np.arange(16).reshape(4, 4) >= 8
    log_prob = np.array([[-1.25, -2.0], [-3.5, -4.75]])
    arguments = RAMP[:, 0], hidden, RAMP[:, 1:3], log_prob, np.array([-9.25, -8.0]), 12.0
    return saved(plots.draw_completions, *arguments)


def losses(num):
    steps = np.arange(1, num + 1)
    validation = np.array([2.0, 4.0, 6.0]), np.array([3.0, np.nan, 2.5])
    return {"train/bits_per_dim": (steps, 5 / steps), "validation/bits_per_dim": validation}


masked = np.arange(160).reshape(RAMP.shape) % 7 == 0
FIGURES = {
    "samples": lambda: plots.sample_figure(RAMP[0], RAMP[1] / 2),
    "coloured samples": lambda: plots.sample_figure(np.ones((3, 4, 4, 3)) * [0.2, 0.4, 0.6], max_value=0.8),
    "codes": lambda: plots.codes_figure(np.array([3, 0, 5, 1, 0])),
    "entropy": lambda: plots.entropy_figure(STEPS + 1, STEPS / 10),
    "entropy below 0": lambda: plots.entropy_figure(STEPS - 1, STEPS / 10, STEPS**2, np.eye(3)),
    "entropy of many steps": lambda: plots.entropy_figure(np.ones(151), np.ones(151), np.ones(151)),
    "loss": lambda: plots.loss_figure(losses(20)),
    "loss of many steps": lambda: plots.loss_figure(losses(30)),
    "path": lambda: plots.path_figure(RAMP, list("abcde")),
    "masked path": lambda: plots.path_figure(RAMP, list("abcde"), masked, 10.0),
    "exposure": lambda: plots.exposure_figure(CURVES),
    "graph": lambda: diagrams.factorization_figure(make_factorization((5,), "reversed", "sizes(sizes=(1, 3, 1))")),
    "one step": lambda: diagrams.factorization_figure(make_factorization((3,), "raster", "blocks(size=3)")),
    "grid": lambda: diagrams.factorization_figure(make_factorization((4, 5), "snake")),
    "large grid": lambda: diagrams.factorization_figure(make_factorization((2, 3, 17), "raster", "rows")),
    "completions": figure_of_completions,
    "results": figure_of_results,
    "orders": figure_of_orders,
    "curves": figure_of_curves,
    "one curve": lambda: of_sweeps.panels_of_curves([("a", "b", {"c": (STEPS, STEPS)})], "x"),
}  # fmt: skip


@functools.cache
def record() -> dict:
    return json.loads(FILE.read_text())


def differences(found, expected, path="") -> list[str]:
    """Where two values of JSON differ, numbers by more than one in ten thousand."""
    if isinstance(found, dict) and isinstance(expected, dict) and found.keys() == expected.keys():
        return [each for key in found for each in differences(found[key], expected[key], f"{path}.{key}")]
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return [each for i, pair in pairs for each in differences(*pair, f"{path}[{i}]")]
    if isinstance(found, float) and isinstance(expected, float | int):
        same = np.isclose(found, expected, rtol=1e-4, atol=1e-6, equal_nan=True)
    else:
        same = found == expected
    return [] if same else [f"{path}: {found!r}, not {expected!r}"]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_shows_what_is_recorded(name):
    found = json.loads(json.dumps(shown(FIGURES[name]())))
    if os.environ.get("ARJAX_WRITE_GOLDEN"):
        known = record() if FILE.exists() else {}
        known[name] = found
        lines = (f"{json.dumps(key)}: {json.dumps(known[key])}" for key in FIGURES if key in known)
        FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        record.cache_clear()
    assert not differences(found, record()[name])


def test_the_record_has_no_other_figures():
    assert list(record()) == list(FIGURES)
