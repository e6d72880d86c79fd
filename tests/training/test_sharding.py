import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P
from loop_helpers import finish, run_python

from arjax.core.errors import UserError
from arjax.parallel.sharding import check_batch_size, make_mesh, param_shardings

PLACEMENT = """
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import PartitionSpec as P
from arjax.training.optimizer import make_optimizer
from arjax.parallel.sharding import make_mesh, param_shardings
from arjax.training.state import StepSpec
from arjax.training.state import TrainState, eval_params, state_shardings

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
spec = StepSpec(None, None, optimizer, total_steps=10)
placed = state_shardings(state, spec, mesh)
assert jax.tree.structure(placed) == jax.tree.structure(state)
adam = next(s for s in placed.opt_state if isinstance(s, optax.ScaleByAdamState))
assert adam.mu == adam.nu == placed.params == placed.ema and adam.count.spec == P()

optimizer = make_optimizer("muon", 1e-3, 10)
state = TrainState(step=array(), params=params, opt_state=jax.eval_shape(optimizer.init, params), ema={})
placed = state_shardings(state, StepSpec(None, None, optimizer, total_steps=10), mesh)
muon = placed.opt_state[0].inner_states["muon"].inner_state[0]
assert muon.mu["layers"]["down"]["kernel"] == placed.params["layers"]["down"]["kernel"] and muon.count.spec == P()

optimizer = make_optimizer("optax.adafactor", 1e-3, 10, min_dim_size_to_factor=2)
state = TrainState(step=array(), params=params, opt_state=jax.eval_shape(optimizer.init, params), ema={})
placed = state_shardings(state, StepSpec(None, None, optimizer, total_steps=10), mesh)
assert placed.opt_state[0][0].v_row["out"]["kernel"].spec == P(), "of another shape than the parameter"

# Steps on the mesh are those on one device.
shapes, rng = {k: v for k, v in params.items() if k != "table"}, np.random.default_rng(0)
params = jax.tree.map(lambda a: np.float32(rng.normal(size=a.shape)), shapes)
for name in ("muon", "schedule_free_adamw"):
    optimizer = make_optimizer(name, 0.1, 10, weight_decay=0.1, cautious_decay=True)
    spec = StepSpec(None, None, optimizer, total_steps=10)

    def stepped(state):
        updates, opt_state = optimizer.update(jax.tree.map(jnp.sin, state.params), state.opt_state, state.params)
        state = state.replace(params=optax.apply_updates(state.params, updates), opt_state=opt_state)
        return state, eval_params(state)

    state = TrainState(jnp.int32(0), params, jax.jit(optimizer.init)(params), {})
    right = jax.tree.map(np.asarray, jax.jit(stepped)(state))
    placed = state_shardings(state, spec, mesh)
    found = jax.jit(stepped, out_shardings=(placed, placed.params))(jax.device_put(state, placed))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-5), right, jax.tree.map(np.asarray, found))
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
