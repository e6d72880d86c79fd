"""The laws of every registered kind of model, on the small models that it was registered with."""

import dataclasses

import pytest

from arjax.models import KINDS
from arjax.testing.laws import LawBroken, as_test
from arjax.testing.model import model_laws

#: Small models of kinds that have another one.
OTHERS = {
    "block_diffusion": ("blocks",),
    "cascade": ("digits", "subsampled", "haar", "shared"),
    "discrete_chain": ("uniform",),
    "flow": ("real",),
    "gaussian_chain": ("real",),
    "latent": ("real",),
    "tokens": ("vq",),
}
#: Kinds whose gradients and terms are those of formulas in tests/models.
KNOWN = ("cascade", "discrete_chain", "flow", "gaussian_chain", "gaussian_mixture", "latent", "mixture", "tokens")
#: The program of these gradients takes longer to compile than those of all other laws of a kind.
DEAR = ("block_diffusion", "gradients")


def laws(slow: bool):
    """The laws of all kinds that are slow, as they are held elsewhere or on another small model; or the others."""
    for kind in KINDS.names():
        for law in model_laws.of(kind):
            name, _, small = law.name.partition("-")
            known = (kind in KNOWN and name in ("gradients", "terms")) or (kind, name) == DEAR
            if (known or small in OTHERS.get(kind, ())) == slow:
                yield dataclasses.replace(law, name=f"{kind}-{law.name}")


test_model = as_test(laws(slow=False))
test_slow_laws_of_model = pytest.mark.slow(as_test(laws(slow=True)))


@pytest.mark.parametrize("kind", ["autoregressive", "flow"])
def test_draws_of_another_distribution_are_noticed(kind, monkeypatch):
    """Of an exact kind, and of one with bounds."""
    family = KINDS.get(kind)
    draw = family.draw

    def one_value(*args, **kwargs):
        found = draw(*args, **kwargs)
        return found._replace(x=0 * found.x)

    monkeypatch.setattr(family, "draw", one_value)
    (law,) = (each for each in model_laws.of(kind) if each.name == "samples-binary")
    with pytest.raises(LawBroken, match=r"samples do not follow|less often than its bound"):
        law.check()
