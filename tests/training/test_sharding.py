import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P
from loop_helpers import finish, run_python

from arjax.core.errors import UserError
from arjax.parallel.sharding import check_batch_size, make_mesh, param_shardings

PLACEMENT = """
import jax, jax.numpy as jnp, optax
from jax.sharding import PartitionSpec as P
from arjax.training.optimizer import make_optimizer
from arjax.parallel.sharding import make_mesh, param_shardings
from arjax.training.state import Recipe
from arjax.training.state import TrainState, state_shardings

mesh = make_mesh(2, 2, 2)
assert dict(make_mesh().shape) == {"data": 8, "fsdp": 1, "tensor": 1}
assert dict(make_mesh(fsdp=4).shape) == {"data": 2, "fsdp": 4, "tensor": 1}
array = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
params = {
    "layers": {
        "attention": {"query": {"kernel": array(3, 8, 8), "bias": array(3, 8)}, "out": {"kernel": array(3, 8, 8)}},
        "down": {"kernel": array(3, 8, 8)}, "norm": {"scale": array(3, 8)},
    },
    "table": {"embedding": array(17, 8)}, "out": {"kernel": array(8, 17), "bias": array(17)},
}
specs = jax.tree.map(lambda s: s.spec, param_shardings(params, mesh))
both = ("tensor", "fsdp")
assert specs["layers"]["attention"]["query"] == {"kernel": P(None, None, both), "bias": P(None, "tensor")}
assert specs["layers"]["attention"]["out"]["kernel"] == P(None, both, None)
assert specs["layers"]["down"]["kernel"] == P(None, both, None)
assert specs["layers"]["norm"]["scale"] == P(None, None)
assert specs["table"]["embedding"] == P(None, both), "17 rows do not divide by 2: columns instead"
assert specs["out"] == {"kernel": P(both, None), "bias": P(None)}
odd = param_shardings({"a": {"kernel": array(3, 6)}, "b": {"kernel": array(4, 5)}, "c": {"kernel": array(3, 5)}}, mesh)
assert [leaf["kernel"].spec for leaf in odd.values()] == [P(None, "tensor"), P(both, None), P(None, None)]

first = param_shardings(params, mesh, (("out/kernel", ("", ("fsdp", "tensor"))), ("kernel", (("tensor", "data"), ""))))
assert first["layers"]["attention"]["out"]["kernel"].spec == P(None, None, ("fsdp", "tensor")), "the first match wins"
assert first["layers"]["down"]["kernel"].spec == P(None, ("tensor", "data"), None)
assert first["table"]["embedding"].spec == P(None, None), "no rule, replicated"

optimizer = make_optimizer("adamw", 1e-3, 10, weight_decay=0.1, clip_norm=1.0)
opt_state = jax.eval_shape(optimizer.init, params)
state = TrainState(step=array(), params=params, opt_state=opt_state, ema=params)
recipe = Recipe(None, None, optimizer, total_steps=10)
placed = state_shardings(state, recipe, mesh)
assert jax.tree.structure(placed) == jax.tree.structure(state)
adam = next(s for s in placed.opt_state if isinstance(s, optax.ScaleByAdamState))
assert adam.mu == adam.nu == placed.params == placed.ema and adam.count.spec == P()
"""


def test_placement_on_eight_devices():
    finish(run_python(PLACEMENT, devices=8))


@pytest.mark.parametrize(
    "sizes, sentence",
    [
        ((3, 1, 1), "does not multiply up"),
        ((-1, 2, 1), "does not multiply up"),
        ((0, 1, 1), "at least 1"),
        ((1, 1, 0), "at least 1"),
    ],
)
def test_impossible_mesh(sizes, sentence):
    with pytest.raises(UserError, match=sentence):
        make_mesh(*sizes, devices=jax.devices()[:1])


@pytest.mark.parametrize("batch_size", [0, -4])
def test_impossible_batch(batch_size):
    with pytest.raises(UserError, match="positive multiple of 1"):
        check_batch_size(batch_size, make_mesh())


@pytest.mark.parametrize(
    "rule, sentence",
    [
        (("kernel", ("model",)), "names the axis 'model'"),
        (("kernel", ("fsdp", "fsdp")), "uses an axis twice"),
        (("(", ()), "not a regular expression"),
        (("kernel", "fsdp"), "is a pair"),
        ("kernel", "is a pair"),
        ((3, ("fsdp",)), "is a pair"),
        (("kernel", (3,)), "is a pair"),
        (("kernel", (("fsdp", None),)), "is a pair"),
        (("a{99999999999}", ()), "not a regular expression"),
    ],
)
def test_bad_rules(rule, sentence):
    with pytest.raises(UserError, match=sentence):
        param_shardings({"kernel": jnp.zeros((2, 2))}, make_mesh(), (rule,))


def test_axes_of_size_one_leave_arrays_whole():
    assert param_shardings({"kernel": jnp.zeros((2, 2))}, make_mesh())["kernel"].spec == P(None, None)
