"""The page of an audit: the verdict, the witness, the table and its pictures in one HTML file."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

STYLE = """body { font: 15px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
td, th { text-align: left; vertical-align: top; padding: .3em 1em .3em 0; border-top: 1px solid #ddd }
.passed, .valid { color: #2e7d32 } .failed, .invalid { color: #b3261e } .warned { color: #b26a00 }
pre { background: #f4f4f4; padding: 1em; overflow-x: auto } figure { display: inline-block; margin: 1em 2em 1em 0 }"""
#: The size of a picture, and the classes of a histogram.
PICTURE, CLASSES = (300, 140), 30


def page_of(report: Mapping[str, Any]) -> str:
    """Returns the HTML of a report in types of JSON."""
    rows, pictures = [], []
    for name, finding in report["findings"].items():
        lists = {key: value for key, value in finding["numbers"].items() if isinstance(value, list)}
        small = "; ".join(f"{key} {value}" for key, value in finding["numbers"].items() if key not in lists)
        cells = (name, f'<b class="{finding["status"]}">{finding["status"]}</b>', html.escape(finding["words"]), small)
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        pictures += [_picture(f"{name}: {key}", value) for key, value in lists.items()]
    witness = f"<h2>Witness</h2><pre>{html.escape(json.dumps(report['witness']))}</pre>" if report["witness"] else ""
    return f"""<!doctype html><meta charset="utf-8"><title>audit of {html.escape(report["name"])}</title>
<style>{STYLE}</style>
<h1>{html.escape(report["name"])}: <span class="{report["verdict"]}">{report["verdict"]}</span></h1>
<p>{html.escape(report["why"])}</p>{witness}
<h2>Tests</h2><table>{"".join(rows)}</table>
<div>{"".join(pictures)}</div>
"""


def _picture(title: str, values: Sequence[float]) -> str:
    """Bars of few values, such as the mass over sizes; of many their histogram."""
    (width, height), counts = PICTURE, np.array(values, float)
    low, high = 1, len(counts)
    if len(counts) > CLASSES:
        counts, edges = np.histogram(counts, CLASSES)
        low, high = edges[[0, -1]]
    tall, step = max(float(counts.max(initial=0)), 1e-300), width / max(len(counts), 1)
    bars = "".join(
        f'<rect x="{i * step:.1f}" y="{height - tall_i:.1f}" width="{0.9 * step:.1f}" height="{tall_i:.1f}"/>'
        for i, tall_i in enumerate(height * np.maximum(counts, 0) / tall)
    )
    ends = f'<text y="{height + 16}">{low:.3g}</text><text x="{width - 40}" y="{height + 16}">{high:.3g}</text>'
    svg = f'<svg width="{width}" height="{height + 20}" fill="#2b5f91" font-size="12">{bars}{ends}</svg>'
    return f"<figure><figcaption>{html.escape(title)} (to {tall:.4g})</figcaption>{svg}</figure>"
