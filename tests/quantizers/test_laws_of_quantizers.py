"""The laws of every registered quantizer."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from arjax.core.errors import UserError
from arjax.quantizers import QUANTIZERS, make_quantizer
from arjax.quantizers.base import Quantizer
from arjax.quantizers.scalar import Fsq
from arjax.testing import check_quantizer
from arjax.testing.laws import LawBroken, as_test
from arjax.testing.quantizer import quantizer_laws

#: Small ones of every name, and options with a way of their own, which are slow.
CALLS = {
    "fsq": ("fsq(levels=(8, 6, 5))", "fsq(levels=(2, 3, 4), digits=True)", "fsq(levels=(9,))"),
    "vq": ("vq(codes=300, dims=3)",),
    "lfq": ("lfq(bits=10)",),
    "residual": (
        "residual(scales=(1, 2, 4), of='vq(codes=16, dims=3)')",
        "residual(scales=(1, 4), of='fsq(levels=(5, 5), digits=True)', convolutions=0)",
    ),
}


def test_every_quantizer_has_its_laws():
    assert set(CALLS) == set(QUANTIZERS.names())


def laws(some: slice):
    """The laws of the first call of each name, or of the others."""
    for call in [call for calls in CALLS.values() for call in calls[some]]:
        for law in quantizer_laws.of(call):
            yield dataclasses.replace(law, name=f"{call}-{law.name}")


test_quantizer = as_test(laws(slice(1)))
test_slow_laws_of_quantizer = pytest.mark.slow(as_test(laws(slice(1, None))))


@pytest.mark.slow
def test_a_quantizer_that_loses_a_code_is_noticed(monkeypatch):
    """Digits that are clipped too early, and numbers in bfloat16."""
    digits = Fsq._digits
    monkeypatch.setattr(Fsq, "_digits", lambda self, numbers: jnp.minimum(digits(self, numbers), 3))
    with pytest.raises(LawBroken, match="have another code"):
        check_quantizer("fsq(levels=(5, 3))")
    monkeypatch.undo()
    assign = Fsq.assign

    def rounded(self, params, h):
        found = assign(self, params, h)
        return found._replace(numbers=found.numbers.astype(jnp.bfloat16).astype(jnp.int32))

    monkeypatch.setattr(Fsq, "assign", rounded)
    with pytest.raises(LawBroken):
        check_quantizer("fsq(levels=(8, 6, 7))")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("fsq(levels=(4096, 4096, 2))", "make more than 16777216 codes"),
        ("residual(scales=(2, 2))", "must grow"),
        ("residual(of='residual')", "which is no residual one"),
        ("vqq", "did you mean 'vq'"),
    ],
)
def test_options_out_of_range_are_refused_in_a_sentence(call, words):
    with pytest.raises(UserError, match=words):
        make_quantizer(call)


def test_a_grid_must_be_the_last_scale():
    with pytest.raises(UserError, match="end with a grid of 4 x 4 vectors, not 3 x 4"):
        make_quantizer("residual(scales=(1, 2, 4))").check_grid((3, 4))


@pytest.mark.slow
def test_a_quantizer_with_one_method_more_than_the_contract_is_enough():
    """Signs of one scalar: a quantizer of another package needs five members."""

    @dataclasses.dataclass(frozen=True)
    class Sign(Quantizer):
        num_codes = 2
        width = 1

        def assign(self, params, h):
            return quantizers_assigned(h.reshape(len(h), -1, 1), (h.reshape(len(h), -1) > 0).astype(jnp.int32))

        def lookup(self, params, numbers, grid):
            return (2.0 * numbers - 1).reshape(len(numbers), *grid, 1)

    from arjax.quantizers import Assigned as quantizers_assigned

    with QUANTIZERS.scope():
        QUANTIZERS.register("sign")(Sign)
        assert check_quantizer("sign")["reach"] == "kept"
    assert jax.tree.leaves(Sign().init(jax.random.key(0))) == []
