"""The last values that options of samplers take, and the first that they refuse; small parts of draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.factorization import make_factorization
from arjax.models import make_model
from arjax.samplers import Beam, Cached, Parallel, Resources, Speculative, make_sampler, parallel
from arjax.samplers.loops import Ends
from arjax.samplers.rounds import make_sizes


@pytest.mark.parametrize("wrong", [Beam(width=0), Cached(chunk=-1), Parallel(choose="luck"), Speculative(window=1)])
def test_a_sampler_that_is_built_already_is_checked(wrong):
    with pytest.raises(UserError, match=r"of the sampler '\w+' must be"):
        make_sampler(wrong)


TOKENS = EventSpec((6,), (), "tokens", 5)


@pytest.mark.slow
def test_ends_along_an_order():
    """Sites 2, 0, 3, 1: after two steps the line is known up to site 0, after three too, after four whole."""
    ends = Ends(make_factorization((4,), "list(order=(2, 0, 3, 1))"), 7)
    assert ends and not Ends(make_factorization((4,)), None)
    assert np.asarray(ends.visited).tolist() == [0, 0, 1, 1, 4]
    x = jnp.array([[7, 0, 7, 0], [0, 0, 7, 0], [0, 0, 0, 0]])
    assert np.asarray(ends.ended(x, 1)).tolist() == [False] * 3  # site 2 alone is known
    assert np.asarray(ends.ended(x, 2)).tolist() == [True, False, False]
    assert np.asarray(ends.ended(x, 4)).tolist() == [True, True, False]
    counts = [[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    np.testing.assert_array_equal(ends.counts(x), np.array(counts, bool))
    np.testing.assert_array_equal(ends.filled(x, None), [[7, 7, 7, 7], [0, 0, 7, 7], [0, 0, 0, 0]])
    observed = np.array([False, True, False, True])
    np.testing.assert_array_equal(ends.filled(x, observed), [[7, 0, 7, 0], [0, 0, 7, 0], [0, 0, 0, 0]])
    without = Ends(make_factorization((4,)), None)
    assert without.filled(x, None) is x and not hasattr(without, "visited")


@pytest.mark.slow
def test_values_that_complete_an_example():
    ends = Ends(make_factorization((3,), "list(order=(1, 0, 2))"), 2)
    completes = ends.completes(4)
    x = jnp.array([0, 2, 0])
    assert np.asarray(completes(x, jnp.int32(0))).tolist() == [False] * 4  # site 0 is still unknown
    assert np.asarray(completes(x, jnp.int32(1))).tolist() == [True] * 4  # whatever it is, site 1 ends
    without = jnp.array([0, 1, 0])
    assert np.asarray(completes(without, jnp.int32(1))).tolist() == [False, False, True, False]
    assert jax.eval_shape(completes, x, 0).shape == (4,)


def test_the_best_of_a_source_is_prepared_with_it():
    model = make_model(TOKENS, "made", hidden_sizes=(2,))
    rows = Resources(lambda split, num: Batch(np.arange(24).reshape(4, 6) % 5), None)
    best = make_sampler("best(of=2, sampler='speculative(draft=\"counts(order=1)\")')")
    assert best.has_arrays
    prepared = best.prepare(model, None, rows)
    expected = jax.tree.leaves(best.source.prepare(model, None, rows))
    assert expected and prepared.of == 2
    for leaf, wanted in zip(jax.tree.leaves(prepared), expected, strict=True):
        np.testing.assert_array_equal(leaf, wanted)


def test_the_best_is_of_a_source_that_fits():
    with pytest.raises(UserError, match="single sites"):
        make_sampler("best(of=2, sampler='parallel')").check(
            make_model(TOKENS, "masked_transformer", orders="uniform", partition="blocks(size=2)")
        )


def test_rounds_are_measured_for_the_optimal_schedule_alone(monkeypatch):
    """Losses that fall in the first two steps: more rounds are there."""
    model = make_model(TOKENS, "masked_transformer", orders="uniform")
    losses, asked = np.array([3.0, 1.0, 0.1, 0.1, 0.1, 0.1]), []
    monkeypatch.setattr(parallel, "measure_losses", lambda *arguments: asked.append(arguments) or losses)
    rows = Resources(lambda split, num: (split, num), None)
    sizes = {}
    for schedule in ("uniform", "cosine", "optimal"):
        sampler = make_sampler(f"parallel(steps=3, schedule={schedule!r})")
        assert sampler.has_arrays == (schedule == "optimal")
        prepared = sampler.prepare(model, "params", rows)
        assert prepared == make_sampler(f"parallel(sizes={prepared.sizes})")
        assert prepared.prepare(model, "params", None) is prepared
        sizes[schedule] = prepared.sizes
    assert asked == [(model, "params", ("validation", 256))]
    assert sizes == {"uniform": (2, 2, 2), "cosine": make_sizes("cosine", 6, 3), "optimal": (1, 1, 4)}
    assert len(make_sampler("parallel").prepare(model, None, None).sizes) == 6
