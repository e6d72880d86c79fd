"""What all chains share, apart from their noise: bounds of a report, pictures of paths, frames, and the process."""

import types

import numpy as np
import pytest

from arjax.core.batch import Batch
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import chains, extras, make_model
from arjax.models.chains import PATH, Process, frame_places
from arjax.models.discrete_chain import Rounds
from arjax.samplers import Draw, example_keys

SIZES = {"width": 8, "num_layers": 1, "num_heads": 2}


def chain(grid=(4,), **options):
    return make_model(EventSpec(grid), "denoising_transformer", kind="discrete_chain", num_steps=4, **SIZES, **options)


@pytest.mark.parametrize(("samples", "steps", "score_steps"), [(3, 3, 3), (4, 4, 0), (9, 4, 0)])
def test_the_bound_of_a_report_takes_some_or_all_steps(samples, steps, score_steps, capsys):
    model = chain(score_steps=1)
    bound = extras.sampled_bound(model, samples)
    assert (bound.name, bound.options, bound.entries) == ("chain_bound", (), {"chain_bound_steps": steps})
    assert bound.model.score_steps == score_steps and bound.model.train_steps == model.train_steps
    remark = f"config.evaluate.samples={samples} is more than the steps of the chain: all 4 are taken"
    assert (remark in capsys.readouterr().err) == (samples > 4)


def test_the_bound_is_a_score_under_its_key(monkeypatch):
    asked = []

    def score(model, *args, **how):
        asked.append((args, how))
        return types.SimpleNamespace(log_prob=3)

    monkeypatch.setattr(chains.Chain, "score", score)
    assert extras.sampled_bound(chain(), 2).log_prob(chain(), "params", "batch", "key") == 3
    assert asked == [(("params", "batch"), {"key": "key"})]


@pytest.mark.parametrize("labels", [None, np.arange(3, dtype=np.int32)])
def test_the_picture_of_a_path_has_a_word_for_each_frame(labels, monkeypatch):
    asked = []

    def draw(model, params, keys, *, frames, context):
        asked.append((params, keys, frames, context))
        return Draw(None, {PATH: np.zeros((len(keys), 5, 2, 2))})

    monkeypatch.setattr(chains.Chain, "draw", draw)
    context = {} if labels is None else {"context": ContextSpec("label", 3)}
    model, key = chain((2, 2), **context), example_keys(np.zeros(2, np.uint32), 1)[0]
    batch = Batch(np.zeros((9, 2, 2), int), {} if labels is None else {"label": labels})
    ((name, picture),) = extras.pictures(model, "params", batch, key)
    num = 6 if labels is None else 3
    assert name == "reverse_process" and picture.frames.shape == (num, 5, 2, 2)
    assert picture.labels == ("0/4", "1/4", "2/4", "3/4", "4/4")
    ((params, keys, frames, given),) = asked
    assert (params, len(keys), frames) == ("params", num, 10) and (keys == example_keys(key, num)).all()
    assert given is None if labels is None else given["label"].tolist() == [0, 1, 2]
    assert not list(extras.pictures(chain(), None, batch, key)), "bits on a line are no picture"


def test_frames_lie_at_equal_distances():
    assert frame_places(0, 5) == () and frame_places(2, 5) == (0, 5) and frame_places(3, 5) == (0, 2, 5)
    assert frame_places(9, 3) == (0, 1, 2, 3)


def test_a_process_has_nothing_of_its_own_by_default():
    process = Process(EventSpec((2,)), 3)
    assert process.init(None) == {} and process.prior_log_prob(np.zeros((4, 2))).tolist() == [0] * 4
    assert process.as_data(np.ones((1, 2), np.float32)).dtype == EventSpec((2,)).dtype
    bound = process.bind("params", "blocks", "key")
    assert (bound.params, bound.blocks, bound.dropout) == ("params", "blocks", "key")


@pytest.mark.parametrize(
    ("visited", "t", "counts"), [((1, 2, 3), [3, 2, 1], [1, 2, 2]), ((3,), [3], [5]), ((1, 3), [3, 1], [3, 2])]
)
def test_rounds_reveal_what_lies_between_the_steps_that_are_visited(visited, t, counts):
    """Of five sites, 2, 4 and 5 are masked after one, two and three steps."""
    found_t, found = Rounds(EventSpec((5,)), 3, None).reverse_steps(visited, 1.0)
    assert found_t.tolist() == t and found.tolist() == counts
