"""What tests of data share."""

import pytest


@pytest.fixture
def write(tmp_path):
    """Writes text or bytes to a file and returns its path."""

    def to(content: str | bytes, name: str = "mine.csv") -> str:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(tmp_path / name)

    return to
