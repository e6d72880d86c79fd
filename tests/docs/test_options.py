"""docs/options.md has all options with their defaults and ranges: runs that leave an option out depend on them."""

import inspect
import os

from arjax.cli.listing import REGISTRIES, options_text

HEAD = """# Options

This page lists every component with its options and their defaults, as `arjax --mode=list` prints them. You must give
an option that has no default. If a default changes in a new version, the results of runs that leave this option out
change.

Behind a default stand the values that an option takes: `{keys, rejection}` are its choices, and `[0, 1)` are numbers
from 0 to below 1. The range of a tuple is that of its elements. Without a range, whole numbers are at least 1, or at
least 0 where the default is 0.
"""


def page() -> str:
    """The page as it should be; of the components of arjax alone."""
    parts = [HEAD]
    for kind, registry in REGISTRIES.items():
        rows = [
            f"| `{name}` | {f'`{text}`' if text else ''} |"
            for name in registry
            if (inspect.getmodule(registry.get(name)) or inspect).__name__.startswith("arjax.")
            for text in [options_text(registry.declarations(name)).replace("|", "\\|")]
        ]
        title = kind.replace("_", " ").capitalize()
        parts.append("\n".join([f"## {title}\n", "| name | options |", "|--|--|", *rows, ""]))
    return "\n".join(parts)


def test_the_page_has_all_options_and_their_defaults(repository):
    """ARJAX_WRITE_OPTIONS=1 writes it anew; tell users of defaults that have changed in CHANGELOG.md."""
    path, expected = repository / "docs" / "options.md", page()
    if os.environ.get("ARJAX_WRITE_OPTIONS"):
        path.write_text(expected)
    assert path.read_text() == expected
