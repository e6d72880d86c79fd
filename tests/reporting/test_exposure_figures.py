"""Pictures of exposure bias: a panel for each kind of curves, and what is drawn is what was given."""

import json
import shutil

import numpy as np

from arjax.reporting.plots import Z, exposure_figure

RNG = np.random.default_rng(0)


def curves(length, *names):
    found = {name: RNG.random(length) for name in names}
    return found | {f"{name}_stderr": 0.1 * RNG.random(length) for name in names}


def edges(band):
    """Lowest and highest value of a band at each place."""
    vertices = band.get_paths()[0].vertices
    return [(vertices[vertices[:, 0] == x, 1].min(), vertices[vertices[:, 0] == x, 1].max()) for x in range(1, 7)]


def test_errors_and_their_excess_have_bands_of_95_per_cent():
    given = curves(6, "forward_own", "forward_data", "excess")
    errors, excess = exposure_figure(given).axes
    assert [line.get_label() for line in errors.lines] == ["own prefixes", "prefixes of the data"]
    for axis, name in ((errors, "forward_own"), (excess, "excess")):
        line, band = axis.lines[0], axis.collections[0]
        assert line.get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
        np.testing.assert_array_equal(line.get_ydata(), given[name])
        half = Z * given[f"{name}_stderr"]
        np.testing.assert_allclose(edges(band), np.stack([given[name] - half, given[name] + half], 1))


def test_the_study_of_exposure_draws_and_lists_what_is_finished(load_script, run_script, tmp_path):
    names = ("forward_own", "forward_data")
    for i, regime in enumerate(("teacher_forcing", "rollout", "then_teacher_forcing", "then_oracle")):
        folder = tmp_path / f"lstm-gru-{regime}"
        folder.mkdir()
        np.savez(folder / "exposure.npz", excess=np.linspace(0, 20, 256), excess_stderr=np.ones(256))
        scores = {f"exposure_{name}_nats": 20.0 + i for name in names} | {"nll_nats": 500.0 + i}
        scores |= {f"exposure_{name}_stderr": 0.5 for name in names}
        (folder / "results.json").write_text(json.dumps(scores))
    page, measured_rows = tmp_path / "README.md", load_script("scripts/measured.py").measured_rows
    page.write_text("<!-- measured -->\n<!-- end measured -->\n")
    study = load_script("experiments/exposure_bias/draw.py")
    assert study.main([str(tmp_path), f"--out={tmp_path}"]) == 0
    for picture in ("exposure.png", "second_stage.png"):
        assert (tmp_path / picture).stat().st_size > 1000
    head = [cell.strip() for cell in page.read_text().splitlines()[1].strip("|").split("|")]
    first, second, control, last = measured_rows(page, head)
    assert first[:3] == ["LSTM of Shakespeare", "GRU", "teacher forcing"] and first[5:7] == ["", ""]
    assert second[3:7] == ["21.00 ± 0.98", "21.00 ± 0.98", "+1.00 ± 1.39", "+0.20 %"]
    assert second[-1] == "20.0 ± 2.0"
    beside = [*["23.00 ± 0.98"] * 2, "+1.00 ± 1.39", "+0.20 %"]
    assert control[5:7] == ["", ""] and last[2:7] == ["then rollout, oracle", *beside]
    shutil.rmtree(tmp_path / "lstm-gru-then_oracle")
    assert study.main([str(tmp_path), f"--out={tmp_path}"]) == 0
    assert measured_rows(page, head) == [first, second, control, last]  # keeps its line
    kept = np.load(tmp_path / "curves.npz")["lstm-gru-then_oracle"]  # and its curve
    np.testing.assert_allclose(kept, [np.linspace(0, 20, 256), np.ones(256)], rtol=1e-6)
    done = run_script("experiments/exposure_bias/draw.py", tmp_path / "none")
    assert done.returncode == 2 and "has no finished run" in done.stderr
