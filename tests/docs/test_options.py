"""docs/options.md has all options with their defaults and ranges: runs that leave an option out depend on them."""

from __future__ import annotations

import inspect
import os

from arjax.cli.listing import REGISTRIES, options_text, ranges_text

HEAD = """# Options

This page lists every component with its options and their defaults, as `arjax --mode=list` prints them. You must give
an option that has no default. If a default changes in a new version, the results of runs that leave this option out
change. A whole number is at least 1, or at least 0 where its default is 0, unless another range is given; the limits of
a tuple are those of its numbers.
"""


def page() -> str:
    """The page as it should be; of the components of arjax alone."""
    parts = [HEAD]
    for kind, registry in REGISTRIES.items():
        rows = [
            f"| `{name}` | {f'`{text}`' if text else ''} | {ranges_text(registry.declarations(name))} |"
            for name in registry
            if (inspect.getmodule(registry[name]) or inspect).__name__.startswith("arjax.")
            for text in [options_text(registry.options(name)).replace("|", "\\|")]
        ]
        title = kind.replace("_", " ").capitalize()
        parts.append("\n".join([f"## {title}\n", "| name | options | ranges |", "|--|--|--|", *rows, ""]))
    return "\n".join(parts)


def test_the_page_has_all_options_and_their_defaults(repository):
    """ARJAX_WRITE_OPTIONS=1 writes it anew; tell users of defaults that have changed in CHANGELOG.md."""
    path, expected = repository / "docs" / "options.md", page()
    if os.environ.get("ARJAX_WRITE_OPTIONS"):
        path.write_text(expected)
    assert path.read_text() == expected
