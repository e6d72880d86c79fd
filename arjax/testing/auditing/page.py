"""The page of an audit: the verdict, the witness, the table and its pictures in one HTML file."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

COLOURS = {"valid": "#2e7d32", "passed": "#2e7d32", "invalid": "#b3261e", "failed": "#b3261e", "warned": "#b26a00"}
STYLE = """body { font: 15px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
td, th { text-align: left; vertical-align: top; padding: .3em 1em .3em 0; border-top: 1px solid #ddd }
pre { background: #f4f4f4; padding: 1em; overflow-x: auto } figure { display: inline-block; margin: 1em 2em 1em 0 }"""
#: The size of a picture, and the classes of a histogram.
PICTURE, CLASSES = (300, 140), 30


def page_of(report: Mapping[str, Any]) -> str:
    """Returns the HTML of a report in types of JSON."""
    rows, pictures = [], []
    for name, finding in report["findings"].items():
        numbers = finding["numbers"]
        small = "; ".join(f"{key} {_number(value)}" for key, value in numbers.items() if not isinstance(value, list))
        status = _coloured(finding["status"])
        rows.append(
            f"<tr><td>{name}</td><td>{status}</td><td>{html.escape(finding['words'])}</td><td>{small}</td></tr>"
        )
        pictures += [_picture(f"{name}: {key}", value) for key, value in numbers.items() if isinstance(value, list)]
    witness = f"<h2>Witness</h2><pre>{html.escape(json.dumps(report['witness']))}</pre>" if report["witness"] else ""
    head = "".join(f"<th>{each}</th>" for each in ("test", "finding", "", "numbers"))
    return f"""<!doctype html><meta charset="utf-8"><title>audit of {html.escape(report["name"])}</title>
<style>{STYLE}</style>
<h1>{html.escape(report["name"])}: {_coloured(report["verdict"])}</h1>
<p>{html.escape(report["why"])}</p>{witness}
<h2>Tests</h2><table><tr>{head}</tr>{"".join(rows)}</table>
<div>{"".join(pictures)}</div>
"""


def _coloured(status: str) -> str:
    return f'<b style="color: {COLOURS.get(status, "#555")}">{status}</b>'


def _number(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else html.escape(str(value))


def _picture(title: str, values: Sequence[float]) -> str:
    """Bars of few values, such as the mass over sizes; of many their histogram."""
    width, height = PICTURE
    finite = np.array([value for value in values if isinstance(value, int | float)], float)
    if not len(finite):
        return ""
    counts, low, high = finite, "1", str(len(finite))
    if len(finite) > CLASSES:
        bars, edges = np.histogram(finite, CLASSES)
        counts, low, high = bars, f"{edges[0]:.3g}", f"{edges[-1]:.3g}"
    tall, step = max(float(np.max(counts)), 1e-300), width / len(counts)
    bars_svg = "".join(
        f'<rect x="{i * step:.1f}" y="{height * (1 - max(count, 0) / tall):.1f}" width="{0.9 * step:.1f}" '
        f'height="{height * max(count, 0) / tall:.1f}" fill="#2b5f91"/>'
        for i, count in enumerate(counts.tolist())
    )
    labels = (
        f'<text x="0" y="{height + 16}">{low}</text><text x="{width}" y="{height + 16}" text-anchor="end">{high}</text>'
    )
    size = f'width="{width}" height="{height + 20}" font-size="12"'
    caption = f"<figcaption>{html.escape(title)} (to {tall:.4g})</figcaption>"
    return f"<figure>{caption}<svg {size}>{bars_svg}{labels}</svg></figure>"
