"""Figures: made without pyplot, shown by notebooks, written to files. The first one imports matplotlib."""

from __future__ import annotations

import functools
import importlib.util
import io
import os
from collections.abc import Sequence
from typing import Any

from arjax.core.errors import refuse
from arjax.core.files import writing

INK, ACCENT, SOFT = "#2b5f91", "#d9722c", "#9a9a9a"
#: The number of the first step of an order in every plot, as in p(x_1) p(x_2 | x_1).
FIRST_STEP = 1


def has_matplotlib() -> bool:
    """Whether plots can be drawn: matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def check_matplotlib() -> None:
    """Raises `UserError` when plots cannot be drawn."""
    refuse((not has_matplotlib(), "pictures need matplotlib: pip install 'arjax[plots]'"))


@functools.cache
def _figure_class() -> type:
    """Matplotlib's figure with a display form: IPython shows plain figures by itself only if pyplot is in use."""
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        """A figure that a notebook shows."""

        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png", dpi=100, bbox_inches="tight")
            return buffer.getvalue()

    return ShownFigure


def new_figure(width: float, height: float) -> Any:
    """An empty figure drawn by Agg, without pyplot: no window, no state kept between figures."""
    check_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = _figure_class()(figsize=(width, height), dpi=160, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def row_of_axes(figure: Any, count: int, widths: Sequence[float] | None = None) -> list[Any]:
    """Panels beside one another."""
    return list(figure.subplots(1, count, squeeze=False, width_ratios=widths)[0])


def label_axes(axis: Any, xlabel: str, ylabel: str, title: str) -> None:
    """Labels, title and a light grid."""
    axis.set_xlabel(xlabel)
    axis.set_ylabel(ylabel)
    axis.set_title(title, fontsize=11, parse_math=False)
    axis.grid(alpha=0.25, linewidth=0.6)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def arrow(axis: Any, start: tuple[float, float], end: tuple[float, float], color: str, **style: Any) -> None:
    """An arrow between two nodes, whose ends keep away from their centres."""
    ends = {"arrowstyle": "-|>", "color": color, "shrinkA": 15, "shrinkB": 15}
    axis.annotate("", end, start, arrowprops=ends | style)


def whole_ticks(axis: Any) -> None:
    """Numbers such as 5,000 at 1, 2 and 5 times the powers of ten of a logarithmic axis."""
    from matplotlib import ticker

    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.set_minor_formatter(ticker.NullFormatter())
    axis.set_tick_params(labelsize=8)


def save_figure(figure: Any, path: str | os.PathLike) -> None:
    """Writes a figure, and the folder for it."""
    with writing(path):
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        draw_into(figure, path)


def draw_into(figure: Any, path: str | os.PathLike) -> None:
    """Draws a figure into a file, once: `bbox_inches="tight"` would draw it twice, first to find its parts."""
    layout = figure.get_layout_engine()
    if layout is not None:  # that of a kind of model of one's own may have none
        layout.execute(figure)
    figure.set_layout_engine(None)
    try:
        figure.savefig(path, bbox_inches=figure.get_tightbbox().padded(0.06))
    finally:
        figure.set_layout_engine(layout)
