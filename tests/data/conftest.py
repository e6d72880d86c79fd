"""What tests of data share."""

import pytest


@pytest.fixture
def write(tmp_path):
    """Writes text to a file and returns its path."""

    def to(text: str, name: str = "mine.csv") -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return to
