"""`page` of trained models, and the mode `page`, write pages; `tests/page` tests pages themselves."""

import pytest

import arjax
from arjax.cli.main import main


def test_a_trained_model_has_a_page(fitted, tmp_path):
    page = fitted.page(tmp_path / "own.html", precision="float16")
    assert page.path == tmp_path / "own.html" and page.path.read_text() == page.html
    assert page.half and repr(page).endswith("weights in half precision)")
    assert "test: " in page.html and fitted.page().path is None
    with pytest.raises(arjax.UserError, match=r"a page is a file such as page.html, not '.*page.txt'"):
        fitted.page(tmp_path / "page.txt")


def test_the_mode_page_writes_the_page_of_a_run(run, fitted, tmp_path, capsys, monkeypatch):
    command = ["--mode=page", f"--workdir={run.workdir}", f"--output={tmp_path / 'page.html'}"]
    assert main(command) == 2  # its values are real
    assert capsys.readouterr().err.splitlines() == [
        "arjax: a page shows sites of one whole number below 256, not 3 sites, real"
    ]
    monkeypatch.setattr(arjax.Run, "page", lambda self, path: fitted.page(path))
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "page.html")]
    assert "test: " in (tmp_path / "page.html").read_text()
